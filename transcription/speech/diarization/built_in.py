"""The built-in diarization pipeline: a pyannote pipeline with weights from installed packages, for long recordings.

Segmentation by pyannote/segmentation-3.0 (Plaquet & Bredin 2023) on windows of 10 s with a step of a quarter window;
speaker embeddings by CAM++; agglomerative clustering. The differences from pyannote's own pipeline:

- pyannote spends four fifths of its time on embedding each speaker of each window. Here only every fourth window is
  embedded, so that no speech is embedded twice. In the windows between, a speaker gets the embedding of the speaker
  who is active at the same time in an overlapping embedded window.
- Embeddings are of subsegments of up to two seconds of a single speaker, not of ten seconds with the others masked.
- Segmentation misses some speaker changes. After clustering, each subsegment is reassigned to the speaker whose
  centroid is most similar (measured: confusion of 5 % and more becomes 1 %).
- No step holds the whole waveform: windows are read on demand.
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
    FRAMES_PER_SECOND,
    CampPlus,
    models_folder,
)
from transcription.speech.diarization.voices import Subsegment, active_runs, normalize
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span

STEP = 0.25
"""The step between windows, as a share of a window's length."""
EMBEDDING_STRIDE = 4
"""Every fourth window is embedded; these do not overlap."""
EMBEDDING_BATCH = 3
"""The windows whose subsegments are embedded as one batch; measured as the fastest."""
SEGMENTATION_BATCH = 4
CLUSTERING_THRESHOLD = 0.82
"""The distance of unit embeddings from which they are different speakers'. Tuned on conversations of 2 to 6 people and
on meetings: at 0.75 some have one speaker too many, at 0.9 one too few."""
MIN_ALONE_SECONDS = 0.4
"""With this much speech without overlap, a speaker is embedded from that alone; with less, also from overlap."""
MIN_SHARED_ACTIVITY = 0.3
"""The share of a speaker's activity that must coincide with that of a speaker in an overlapping window, if both are to
be the same person."""
MIN_SUBSEGMENT_SECONDS = 0.3
"""Shorter subsegments have unreliable embeddings, and are used only if a speaker has no others."""
MAX_SUBSEGMENT_SECONDS = 2.0
REASSIGNMENT_MARGIN = 0.1
"""A subsegment is reassigned to another speaker if its cosine similarity to them is higher by this margin; from 0 to
0.2 the errors are the same."""
KMEANS_ROUNDS = 2

Activity = npt.NDArray[np.float32]
"""The speakers active in a window: shape (n_frames, n_speakers), 0 or 1. Speakers are numbered per window."""
Hook = Callable[..., None]
Item = TypeVar("Item")
Result = TypeVar("Result")
_WindowSpeakers = tuple[int, npt.NDArray[np.bool_]]
"""The index of a window, and a mask of its speakers."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalSubsegment(Subsegment):
    """A subsegment of speaker number `speaker` of window number `window`."""

    window: int
    speaker: int


class BuiltInDiarization(SpeakerDiarization):
    """Call `apply` with a mapping of `uri` and `samples` (a `Samples`) instead of a file.

    Afterwards `subsegments` are those that were embedded.
    """

    def __init__(self, campplus: CampPlus, *, n_threads: int) -> None:
        weights = models_folder() / "pyannote_segmentation_3.0" / "pytorch_model.bin"
        segmentation = Model.from_pretrained(str(weights))
        assert segmentation is not None
        super().__init__(
            segmentation=segmentation,
            segmentation_step=STEP,
            embedding=_NoEmbedding(),
            plda=NoPLDA(),
            clustering="AgglomerativeClustering",
        )
        self.campplus = campplus
        self.n_threads = n_threads
        self.subsegments: list[LocalSubsegment] = []
        self.clustering = _Clustering(metric="cosine")
        self.instantiate(
            {"segmentation": {"min_duration_off": 0.0}, "clustering": _clustering_parameters(0)}
        )
        self._min_speakers = 1

    def apply(
        self,
        file: Any,
        num_speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        hook: Hook | None = None,
        **kwargs: Any,
    ) -> Any:
        self._min_speakers = num_speakers or min_speakers or 1
        return super().apply(file, num_speakers, min_speakers, max_speakers, hook, **kwargs)

    def get_segmentations(
        self, file: MutableMapping[str, Any], hook: Hook | None = None
    ) -> SlidingWindowFeature:
        """The speakers active in each window; shape (n_windows, n_frames, 3)."""
        samples: Samples = file["samples"]
        windows = self._windows(samples)

        def segment(batch: list[Span]) -> npt.NDArray[np.float32]:
            audio = torch.from_numpy(np.stack([_read(samples, span) for span in batch]))
            return np.asarray(self._segmentation.infer(audio[:, None]), np.float32)

        activity = []
        batches = self._batches(windows, SEGMENTATION_BATCH)
        for batch_activity in self._in_threads(segment, batches):
            activity.append(batch_activity)
            if hook is not None:
                hook("segmentation", None, completed=len(activity), total=len(batches))
        duration = self._segmentation.duration
        return SlidingWindowFeature(
            np.concatenate(activity), SlidingWindow(duration=duration, step=STEP * duration)
        )

    def get_embeddings(
        self,
        file: MutableMapping[str, Any],
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,
        hook: Hook | None = None,
    ) -> npt.NDArray[np.float32]:
        """The embedding of each speaker of each window, shape (n_windows, 3, 192); NaN for silent ones."""
        windows = self._windows(file["samples"])
        activity: npt.NDArray[np.float32] = binary_segmentations.data
        embeddings = np.full((*activity[:, 0].shape, DIMENSION), np.nan, np.float32)
        self.subsegments = []

        def embed(speakers: list[_WindowSpeakers]) -> list[LocalSubsegment]:
            return self._embed(file["samples"], windows, activity, speakers)

        def add(subsegments: list[LocalSubsegment]) -> None:
            for (window, speaker), own in groupby(subsegments, key=lambda s: (s.window, s.speaker)):
                embeddings[window, speaker] = _mean_embedding(list(own))
            self.subsegments += subsegments

        embedded = [
            (index, activity[index].any(0)) for index in range(0, len(windows), EMBEDDING_STRIDE)
        ]
        batches = self._batches(embedded, EMBEDDING_BATCH)
        for n_done, subsegments in enumerate(self._in_threads(embed, batches), 1):
            add(subsegments)
            if hook is not None:
                hook("embeddings", None, completed=n_done, total=len(batches))
        for index in range(len(windows)):
            if index % EMBEDDING_STRIDE:
                unmatched = _copy_embeddings(activity, embeddings, index)
                add(embed([(index, unmatched)]))
        return embeddings

    def reconstruct(
        self,
        segmentations: SlidingWindowFeature,
        hard_clusters: npt.NDArray[np.integer],
        count: SlidingWindowFeature,
    ) -> SlidingWindowFeature:
        """The speakers of each frame, shape (n_frames, n_clusters): pyannote's, corrected by the embeddings.

        Frames of a single speaker are reassigned if their subsegment is more similar to another speaker.
        """
        discrete = super().reconstruct(segmentations, hard_clusters, count)
        n_clusters = int(hard_clusters.max()) + 1
        if not self.subsegments or max(n_clusters, self._min_speakers) < 2:
            return discrete
        embeddings = np.stack([each.embedding for each in self.subsegments])
        if n_clusters < self._min_speakers:
            # A short recording may have more speakers than window embeddings: cluster its subsegments instead.
            clusters = _cluster_into(embeddings, self._min_speakers)
            n_clusters = int(clusters.max()) + 1
            similarity = np.eye(n_clusters, dtype=np.float32)[clusters]
        else:
            seconds = np.array([each.end - each.start for each in self.subsegments], np.float32)
            clusters = np.array([hard_clusters[s.window, s.speaker] for s in self.subsegments])
            similarity = _centroid_similarity(embeddings, seconds, clusters, n_clusters)
        frames = discrete.sliding_window
        missing = max(n_clusters - discrete.data.shape[1], 0)
        data = np.pad(discrete.data, ((0, 0), (0, missing)))
        for subsegment, similar in zip(self.subsegments, similarity, strict=True):
            first = max(
                frames.closest_frame(subsegment.start), 0
            )  # -1 before the first frame's middle
            part = data[first : max(frames.closest_frame(subsegment.end), first)]
            alone = np.flatnonzero(part.sum(1) == 1)
            speaker = part[alone].argmax(1)
            best = similar.argmax()
            margins = similar[best] - similar[np.minimum(speaker, n_clusters - 1)]
            wrong = alone[margins > REASSIGNMENT_MARGIN]
            part[wrong] = 0
            part[wrong, best] = 1
        return SlidingWindowFeature(data, frames)

    def _windows(self, samples: Samples) -> list[Span]:
        """The windows that cover the recording; the last one may extend beyond its end."""
        length = self._segmentation.duration
        n_more = max(math.ceil((samples.duration - length) / (STEP * length)), 0)
        starts = [STEP * length * index for index in range(n_more + 1)]
        return [Span(start, start + length) for start in starts]

    def _batches(self, items: list[Item], size: int) -> list[list[Item]]:
        """Split into batches of at most `size`; smaller if there would be fewer batches than threads."""
        size = min(size, math.ceil(len(items) / self.n_threads))
        return [items[first : first + size] for first in range(0, len(items), size)]

    def _in_threads(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Yield the results in order, computed by a pool of threads that use one core each.

        On idle cores this is as fast as PyTorch's own parallelism within each operation. On busy cores that is ten
        times slower, because its threads wait for each other in every operation.
        """
        n_threads = torch.get_num_threads()
        with ThreadPoolExecutor(
            self.n_threads, "diarization", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()
                torch.set_num_threads(n_threads)

    def _embed(
        self,
        samples: Samples,
        windows: list[Span],
        activity: npt.NDArray[np.float32],
        window_speakers: list[_WindowSpeakers],
    ) -> list[LocalSubsegment]:
        """Embed the subsegments of these speakers."""
        cuts: list[tuple[int, int, int, int]] = []
        features = []
        for index, speakers in window_speakers:
            if not speakers.any():
                continue
            window_features = self.campplus.features(_read(samples, windows[index]))
            for speaker in np.flatnonzero(speakers):
                own = _own_frames(activity[index], int(speaker), len(window_features))
                for start, end in _cut_subsegments(own):
                    cuts.append((index, int(speaker), start, end))
                    features.append(window_features[start:end])
        if not cuts:
            return []
        return [
            LocalSubsegment(
                start=windows[index].start + start / FRAMES_PER_SECOND,
                end=windows[index].start + end / FRAMES_PER_SECOND,
                embedding=embedding,
                window=index,
                speaker=speaker,
            )
            for (index, speaker, start, end), embedding in zip(
                cuts, normalize(self.campplus.embed(features)), strict=True
            )
        ]


class _Clustering(AgglomerativeClustering):
    """Clusters only the embedded windows; the embeddings of the others are copies."""

    def filter_embeddings(
        self,
        embeddings: npt.NDArray[np.float32],
        segmentations: SlidingWindowFeature | None = None,
        min_active_ratio: float = 0.2,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        found, windows, speakers = super().filter_embeddings(
            embeddings, segmentations=segmentations, min_active_ratio=min_active_ratio
        )
        embedded = windows % EMBEDDING_STRIDE == 0
        return found[embedded], windows[embedded], speakers[embedded]

    def cluster(
        self,
        embeddings: npt.NDArray[np.float32],
        min_clusters: int | None = None,
        max_clusters: int | None = None,
        num_clusters: int | None = None,
    ) -> Any:
        """Cluster the embeddings. Returns cluster numbers from 0, within the bounds if possible."""
        self.instantiate(_clustering_parameters(len(embeddings)))
        minimum = num_clusters or min_clusters or 1
        clusters = super().cluster(embeddings, 1, num_clusters or max_clusters or len(embeddings))
        if clusters.max() + 1 >= minimum:
            return clusters
        return _cluster_into(normalize(embeddings), minimum)


def _clustering_parameters(n_embeddings: int) -> dict[str, Any]:
    """The parameters of clustering. The minimum size of a cluster grows with the recording's length.

    The longer a recording, the more outlier embeddings it has. The minimum is 2 windows for five minutes, 4 for half
    an hour, 11 for four hours.
    """
    return {
        "method": "centroid",
        "threshold": CLUSTERING_THRESHOLD,
        "min_cluster_size": min(max(2, round(math.sqrt(n_embeddings) / 4)), 20),
    }


class _NoEmbedding(Model):
    """A placeholder for the model that pyannote requires; `get_embeddings` uses CAM++."""

    dimension = DIMENSION

    def __init__(self) -> None:
        super().__init__()
        self.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0
        )

    def forward(self, waveforms: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        raise NotImplementedError


class NoPLDA(PLDA):
    """A placeholder, or pyannote would download a PLDA model from the hub; this clustering uses none."""

    def __init__(self) -> None:
        pass


def _read(samples: Samples, span: Span) -> Audio:
    """Read a window, padded with zeros after the recording's end."""
    audio = samples.read(span)
    return np.pad(audio, (0, round(span.duration * SAMPLE_RATE) - len(audio)))


def _own_frames(activity: Activity, speaker: int, n_features: int) -> npt.NDArray[np.bool_]:
    """The feature frames in which the speaker is active; only those without overlap, if they are enough."""
    frames = activity[:, speaker] > 0
    alone = frames & (activity.sum(1) < 2)
    own, own_alone = (
        mask[np.arange(n_features) * len(mask) // n_features] for mask in (frames, alone)
    )
    return own_alone if own_alone.sum() > MIN_ALONE_SECONDS * FRAMES_PER_SECOND else own


def _cut_subsegments(own: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Cut a speaker's frames into subsegments. Returns the first frame of each, and the one after its last."""
    runs = active_runs(own)
    long = [run for run in runs if run[1] - run[0] >= MIN_SUBSEGMENT_SECONDS * FRAMES_PER_SECOND]
    subsegments: list[tuple[int, int]] = []
    for start, end in long or runs:
        n_parts = math.ceil((end - start) / (MAX_SUBSEGMENT_SECONDS * FRAMES_PER_SECOND))
        edges = [start + (end - start) * n // n_parts for n in range(n_parts + 1)]
        subsegments += pairwise(edges)
    return subsegments


def _mean_embedding(subsegments: list[LocalSubsegment]) -> npt.NDArray[np.float32]:
    seconds = [each.end - each.start for each in subsegments]
    mean = np.average([each.embedding for each in subsegments], axis=0, weights=seconds)
    return np.asarray(mean, np.float32)


def _cluster_into(embeddings: npt.NDArray[np.float32], n_clusters: int) -> npt.NDArray[np.int64]:
    """Cluster the embeddings into `n_clusters`, or fewer if there are fewer embeddings. Returns numbers from 0."""
    if len(embeddings) < 2:
        return np.zeros(len(embeddings), np.int64)
    clusters = fcluster(linkage(embeddings, method="ward"), n_clusters, criterion="maxclust")
    return np.asarray(clusters - 1, np.int64)


def _centroid_similarity(
    embeddings: npt.NDArray[np.float32],
    seconds: npt.NDArray[np.float32],
    clusters: npt.NDArray[np.integer],
    n_clusters: int,
) -> npt.NDArray[np.float32]:
    """The cosine similarity of each embedding to each cluster's centroid, shape (n_embeddings, n_clusters).

    `clusters` are the initial clusters of the embeddings, refined by a few rounds of k-means.
    """
    for _ in range(KMEANS_ROUNDS):
        weights = (clusters == np.arange(n_clusters)[:, None]) * seconds
        similarity: npt.NDArray[np.float32] = embeddings @ normalize(weights @ embeddings).T
        clusters = similarity.argmax(1)
    return similarity


def _copy_embeddings(
    activity: npt.NDArray[np.float32], embeddings: npt.NDArray[np.float32], index: int
) -> npt.NDArray[np.bool_]:
    """Copy to each speaker of a window the embedding of the same speaker in an overlapping embedded window.

    They are the same if they are active in the same frames (MIN_SHARED_ACTIVITY). Returns a mask of the active
    speakers without a match.
    """
    n_active = activity[index].sum(0)
    most = MIN_SHARED_ACTIVITY * n_active
    unmatched: npt.NDArray[np.bool_] = n_active > 0
    before = index - index % EMBEDDING_STRIDE
    for neighbour in (before, before + EMBEDDING_STRIDE):
        if neighbour >= len(activity):
            continue
        shared = _shared_frames(activity, index, neighbour)
        for speaker, theirs in enumerate(shared.argmax(1)):
            if shared[speaker, theirs] > most[speaker]:
                most[speaker] = shared[speaker, theirs]
                embeddings[index, speaker] = embeddings[neighbour, theirs]
                unmatched[speaker] = False
    return unmatched


def _shared_frames(
    activity: npt.NDArray[np.float32], index: int, neighbour: int
) -> npt.NDArray[np.float32]:
    """The number of frames in which both are active, for each pair of speakers of two windows."""
    shift = round((index - neighbour) * STEP * activity.shape[1])
    mine, theirs = activity[index], activity[neighbour]
    if shift > 0:
        mine, theirs = mine[:-shift], theirs[shift:]
    else:
        mine, theirs = mine[-shift:], theirs[:shift]
    return np.asarray(mine.T @ theirs, np.float32)
