"""A pyannote pipeline from weights that come with the installation, made to read long recordings piece by piece.

Segmentation by pyannote/segmentation-3.0 (Plaquet & Bredin 2023) on windows of 10 s, a quarter of a window apart;
voices by CAM++; agglomerative clustering. What differs from pyannote's own way:

- Four fifths of its time goes into embedding each speaker of each window. Here every fourth window is embedded, so that
  no second of speech is embedded twice; in the windows between, a speaker has the voice of whoever speaks at the same
  time in a neighbour that overlaps.
- A voice is embedded in pieces of up to two seconds of one speaker alone, not as ten seconds with others blanked out.
- Segmentation hears some changes of speaker late or never. Once it is known who there is, each piece goes to the
  speaker whose voice it has (measured: confusion of 5 % and more becomes 1 %).
- No step holds the waveform: windows are read when they are due.
"""

import math
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pyannote.audio import Model
from pyannote.audio.core.plda import PLDA
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.pipelines.clustering import AgglomerativeClustering
from pyannote.core import SlidingWindow, SlidingWindowFeature
from scipy.cluster.hierarchy import fcluster, linkage

from transcription.speech.diarization.base import Samples
from transcription.speech.diarization.campplus import (
    DIMENSION,
    FRAMES_A_SECOND,
    CampPlus,
    models_folder,
)
from transcription.speech.diarization.voices import Piece, runs, unit
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span

STEP = 0.25
"""Of a window's length: how far the next window is."""
EMBEDDED_EVERY = 4
"""Windows: these do not overlap."""
EMBEDDED_TOGETHER = 3
"""Windows: their pieces make a batch of a size that is quickest."""
THRESHOLD = 0.82
"""Distance of two voices (each of length 1) from which on they are two people's. Tuned on conversations of 2 to 6
people and on meetings: at 0.75 some have one speaker too many, at 0.9 one too few."""
BATCH = 4
ENOUGH_ALONE = 0.4
"""Seconds: so much of a voice alone is taken rather than more that is mixed with others."""
SHARED = 0.3
"""Of a speaker's activity in a window: so much must coincide with the neighbour's to be the same person's."""
SHORTEST_PIECE = 0.3
"""Seconds: less says little of a voice. Taken all the same where there is nothing else."""
LONGEST_PIECE = 2.0
MARGIN = 0.1
"""A piece goes to another speaker if its voice is nearer to theirs by so much (cosine similarity); from 0 to 0.2 the
errors are the same."""
ROUNDS = 2

Activity = npt.NDArray[np.float32]
"""Who is active in a window: shape (n_frames, n_speakers), 0 or 1. Speakers are numbered anew in each window."""
Hook = Callable[..., None]
Item = TypeVar("Item")
Result = TypeVar("Result")
_Wanted = tuple[int, npt.NDArray[np.bool_]]
"""A window, and which of its speakers."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalPiece(Piece):
    """A piece of speaker number `speaker` of window number `window`."""

    window: int
    speaker: int


class BuiltInDiarization(SpeakerDiarization):
    """Call `apply` with a mapping that has `uri` and `samples` (a `Samples`), in place of a file.

    `pieces` are then the pieces of single voices in which the speakers were told apart.
    """

    def __init__(self, campplus: CampPlus, *, n_threads: int) -> None:
        weights = models_folder() / "pyannote_segmentation_3.0" / "pytorch_model.bin"
        segmentation = Model.from_pretrained(str(weights))
        assert segmentation is not None
        super().__init__(
            segmentation=segmentation,
            segmentation_step=STEP,
            embedding=_NoEmbedding(),
            plda=_NoPLDA(),
            clustering="AgglomerativeClustering",
        )
        self.campplus = campplus
        self.n_threads = n_threads
        self.pieces: list[LocalPiece] = []
        self.clustering = _Clustering(metric="cosine")
        self.instantiate(
            {"segmentation": {"min_duration_off": 0.0}, "clustering": _clustering_parameters(0)}
        )
        self._at_least = 1

    def apply(
        self,
        file: Any,
        num_speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        hook: Hook | None = None,
        **kwargs: Any,
    ) -> Any:
        self._at_least = num_speakers or min_speakers or 1
        return super().apply(file, num_speakers, min_speakers, max_speakers, hook, **kwargs)

    def get_segmentations(
        self, file: MutableMapping[str, Any], hook: Hook | None = None
    ) -> SlidingWindowFeature:
        """Who is active in each window; shape (n_windows, n_frames, 3)."""
        samples: Samples = file["samples"]
        windows = self._windows(samples)

        def segment(batch: list[Span]) -> npt.NDArray[np.float32]:
            audio = torch.from_numpy(np.stack([_read(samples, span) for span in batch]))
            return np.asarray(self._segmentation.infer(audio[:, None]), np.float32)

        found = []
        batches = self._batches(windows, BATCH)
        for segmented in self._in_threads(segment, batches):
            found.append(segmented)
            if hook is not None:
                hook("segmentation", None, completed=len(found), total=len(batches))
        duration = self._segmentation.duration
        return SlidingWindowFeature(
            np.concatenate(found), SlidingWindow(duration=duration, step=STEP * duration)
        )

    def get_embeddings(
        self,
        file: MutableMapping[str, Any],
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,
        hook: Hook | None = None,
    ) -> npt.NDArray[np.float32]:
        """The voice of each speaker of each window, shape (n_windows, 3, 192); NaN for those who are silent."""
        windows = self._windows(file["samples"])
        activity: npt.NDArray[np.float32] = binary_segmentations.data
        voices = np.full((*activity[:, 0].shape, DIMENSION), np.nan, np.float32)
        self.pieces = []

        def embed(wanted: list[_Wanted]) -> list[LocalPiece]:
            return self._embed(file["samples"], windows, activity, wanted)

        def keep(pieces: list[LocalPiece]) -> None:
            for (window, speaker), own in groupby(pieces, key=lambda p: (p.window, p.speaker)):
                voices[window, speaker] = _mean(list(own))
            self.pieces += pieces

        embedded = [
            (index, activity[index].any(0)) for index in range(0, len(windows), EMBEDDED_EVERY)
        ]
        batches = self._batches(embedded, EMBEDDED_TOGETHER)
        for n_done, pieces in enumerate(self._in_threads(embed, batches), 1):
            keep(pieces)
            if hook is not None:
                hook("embeddings", None, completed=n_done, total=len(batches))
        for index in range(len(windows)):
            if index % EMBEDDED_EVERY:
                keep(embed([(index, _borrow(activity, voices, index))]))
        return voices

    def reconstruct(
        self,
        segmentations: SlidingWindowFeature,
        hard_clusters: npt.NDArray[np.integer],
        count: SlidingWindowFeature,
    ) -> SlidingWindowFeature:
        """Who speaks in each frame, shape (n_frames, n_clusters): pyannote's, put right by the pieces' voices.

        Where one person is heard and a piece's voice is another's, that one speaks.
        """
        discrete = super().reconstruct(segmentations, hard_clusters, count)
        n_clusters = int(hard_clusters.max()) + 1
        if not self.pieces or max(n_clusters, self._at_least) < 2:
            return discrete
        voices = np.stack([piece.voice for piece in self.pieces])
        if n_clusters < self._at_least:
            # More people than voices of windows, as in a short recording: then the pieces are divided.
            divided = _divide(voices, self._at_least)
            n_clusters = int(divided.max()) + 1
            similarity = np.eye(n_clusters, dtype=np.float32)[divided]
        else:
            seconds = np.array([piece.end - piece.start for piece in self.pieces], np.float32)
            clusters = np.array([hard_clusters[p.window, p.speaker] for p in self.pieces])
            similarity = _similarity(voices, seconds, clusters, n_clusters)
        frames = discrete.sliding_window
        missing = max(n_clusters - discrete.data.shape[1], 0)
        data = np.pad(discrete.data, ((0, 0), (0, missing)))
        for piece, similar in zip(self.pieces, similarity, strict=True):
            first = max(frames.closest_frame(piece.start), 0)  # the first one's midst comes after 0
            part = data[first : max(frames.closest_frame(piece.end), first)]
            alone = np.flatnonzero(part.sum(1) == 1)
            speaker = part[alone].argmax(1)
            best = similar.argmax()
            wrong = alone[similar[best] - similar[np.minimum(speaker, n_clusters - 1)] > MARGIN]
            part[wrong] = 0
            part[wrong, best] = 1
        return SlidingWindowFeature(data, frames)

    def _windows(self, samples: Samples) -> list[Span]:
        """Windows that cover the recording; the last one may go beyond its end."""
        length = self._segmentation.duration
        n_more = max(math.ceil((samples.duration - length) / (STEP * length)), 0)
        starts = [STEP * length * index for index in range(n_more + 1)]
        return [Span(start, start + length) for start in starts]

    def _batches(self, items: list[Item], size: int) -> list[list[Item]]:
        """Of `size` at most; smaller where there would not be one for each thread."""
        size = min(size, math.ceil(len(items) / self.n_threads))
        return [items[first : first + size] for first in range(0, len(items), size)]

    def _in_threads(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """The results in order, each from one of a few threads that keep to one core each.

        So it is as fast as when PyTorch spreads each operation over all cores, as long as these are idle; when they are
        not, its threads wait for each other, and all takes ten times as long.
        """
        n_threads = torch.get_num_threads()
        with ThreadPoolExecutor(
            self.n_threads, "diarization", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            waiting = [pool.submit(work, item) for item in items]
            try:
                for future in waiting:
                    yield future.result()
            finally:
                for future in waiting:
                    future.cancel()
                torch.set_num_threads(n_threads)

    def _embed(
        self,
        samples: Samples,
        windows: list[Span],
        activity: npt.NDArray[np.float32],
        wanted: list[_Wanted],
    ) -> list[LocalPiece]:
        """Embed, in pieces, the speakers that are wanted of each window."""
        cuts: list[tuple[int, int, int, int]] = []
        features = []
        for index, speakers in wanted:
            if not speakers.any():
                continue
            heard = self.campplus.features(_read(samples, windows[index]))
            for speaker in np.flatnonzero(speakers):
                for begin, end in _cut(_own_frames(activity[index], int(speaker), len(heard))):
                    cuts.append((index, int(speaker), begin, end))
                    features.append(heard[begin:end])
        if not cuts:
            return []
        return [
            LocalPiece(
                start=windows[index].start + begin / FRAMES_A_SECOND,
                end=windows[index].start + end / FRAMES_A_SECOND,
                voice=voice,
                window=index,
                speaker=speaker,
            )
            for (index, speaker, begin, end), voice in zip(
                cuts, unit(self.campplus.embed(features)), strict=True
            )
        ]


class _Clustering(AgglomerativeClustering):
    """Clusters the windows that were embedded; the others' voices are copies."""

    def filter_embeddings(
        self,
        embeddings: npt.NDArray[np.float32],
        segmentations: SlidingWindowFeature | None = None,
        min_active_ratio: float = 0.2,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        found, windows, speakers = super().filter_embeddings(
            embeddings, segmentations=segmentations, min_active_ratio=min_active_ratio
        )
        own = windows % EMBEDDED_EVERY == 0
        return found[own], windows[own], speakers[own]

    def cluster(
        self,
        embeddings: npt.NDArray[np.float32],
        min_clusters: int | None = None,
        max_clusters: int | None = None,
        num_clusters: int | None = None,
    ) -> Any:
        """Clusters of the embeddings, 0 and up: as many as they seem to be, within these bounds if that can be."""
        self.instantiate(_clustering_parameters(len(embeddings)))
        at_least = num_clusters or min_clusters or 1
        found = super().cluster(embeddings, 1, num_clusters or max_clusters or len(embeddings))
        return found if found.max() + 1 >= at_least else _divide(unit(embeddings), at_least)


def _clustering_parameters(n_voices: int) -> dict[str, Any]:
    """A speaker must be heard in a few windows, in more of them where the recording is long.

    For in the long run there is always a moment whose voice is like nobody's: 2 windows in five minutes, 4 in half an
    hour, 11 in four hours.
    """
    return {
        "method": "centroid",
        "threshold": THRESHOLD,
        "min_cluster_size": min(max(2, round(math.sqrt(n_voices) / 4)), 20),
    }


class _NoEmbedding(Model):
    """Stands where pyannote wants a model; `get_embeddings` asks CAM++."""

    dimension = DIMENSION

    def __init__(self) -> None:
        super().__init__()
        self.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0
        )

    def forward(self, waveforms: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        raise NotImplementedError


class _NoPLDA(PLDA):
    """pyannote fetches one from the hub unless it is given one; this clustering uses none."""

    def __init__(self) -> None:
        pass


def _read(samples: Samples, span: Span) -> Audio:
    """All of a window, with silence after the recording's end."""
    audio = samples.read(span)
    return np.pad(audio, (0, round(span.duration * SAMPLE_RATE) - len(audio)))


def _own_frames(activity: Activity, speaker: int, n_features: int) -> npt.NDArray[np.bool_]:
    """The frames of features in which this speaker is heard: alone, if that is enough."""
    frames = activity[:, speaker] > 0
    alone = frames & (activity.sum(1) < 2)
    own, own_alone = (
        mask[np.arange(n_features) * len(mask) // n_features] for mask in (frames, alone)
    )
    return own_alone if own_alone.sum() > ENOUGH_ALONE * FRAMES_A_SECOND else own


def _cut(own: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pieces of a speaker's frames: begin and end of each."""
    found = runs(own)
    long = [run for run in found if run[1] - run[0] >= SHORTEST_PIECE * FRAMES_A_SECOND]
    pieces: list[tuple[int, int]] = []
    for begin, end in long or found:
        n_pieces = math.ceil((end - begin) / (LONGEST_PIECE * FRAMES_A_SECOND))
        edges = [begin + (end - begin) * n // n_pieces for n in range(n_pieces + 1)]
        pieces += pairwise(edges)
    return pieces


def _mean(pieces: list[LocalPiece]) -> npt.NDArray[np.float32]:
    seconds = [piece.end - piece.start for piece in pieces]
    mean = np.average([piece.voice for piece in pieces], axis=0, weights=seconds)
    return np.asarray(mean, np.float32)


def _divide(voices: npt.NDArray[np.float32], n_clusters: int) -> npt.NDArray[np.int64]:
    """The cluster of each voice, 0 and up: so many as are asked for, or as there are voices."""
    if len(voices) < 2:
        return np.zeros(len(voices), np.int64)
    clusters = fcluster(linkage(voices, method="ward"), n_clusters, criterion="maxclust")
    return np.asarray(clusters - 1, np.int64)


def _similarity(
    voices: npt.NDArray[np.float32],
    seconds: npt.NDArray[np.float32],
    clusters: npt.NDArray[np.integer],
    n_clusters: int,
) -> npt.NDArray[np.float32]:
    """Cosine similarity of each voice to each cluster's centroid, shape (n_voices, n_clusters).

    `clusters` are those of the voices to begin with; they move to the nearest centroid (k-means, a few rounds).
    """
    for _ in range(ROUNDS):
        of_cluster = (clusters == np.arange(n_clusters)[:, None]) * seconds
        similarity: npt.NDArray[np.float32] = voices @ unit(of_cluster @ voices).T
        clusters = similarity.argmax(1)
    return similarity


def _borrow(
    activity: npt.NDArray[np.float32], voices: npt.NDArray[np.float32], index: int
) -> npt.NDArray[np.bool_]:
    """Give each speaker of a window the voice of who is active with them in a neighbour that was embedded.

    Returns for whom there is none.
    """
    n_active = activity[index].sum(0)
    most = SHARED * n_active
    lonely: npt.NDArray[np.bool_] = n_active > 0
    before = index - index % EMBEDDED_EVERY
    for neighbour in (before, before + EMBEDDED_EVERY):
        if neighbour >= len(activity):
            continue
        shared = _shared_frames(activity, index, neighbour)
        for speaker, theirs in enumerate(shared.argmax(1)):
            if shared[speaker, theirs] > most[speaker]:
                most[speaker] = shared[speaker, theirs]
                voices[index, speaker] = voices[neighbour, theirs]
                lonely[speaker] = False
    return lonely


def _shared_frames(
    activity: npt.NDArray[np.float32], index: int, neighbour: int
) -> npt.NDArray[np.float32]:
    """For each speaker of the one and each of the other window, in how many frames both are active."""
    shift = round((index - neighbour) * STEP * activity.shape[1])
    mine, theirs = activity[index], activity[neighbour]
    if shift > 0:
        mine, theirs = mine[:-shift], theirs[shift:]
    else:
        mine, theirs = mine[-shift:], theirs[:shift]
    return np.asarray(mine.T @ theirs, np.float32)
