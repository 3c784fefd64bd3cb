"""Speaker embeddings of subsegments: centroids of speakers, and the probability that a turn is its speaker's."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transcription.speech.diarization.base import Diarization, Turn

MARGIN_SCALE = 0.125
"""Converts a margin of cosine similarity to a logit. Fitted by logistic regression on annotated conversations."""

Embedding = npt.NDArray[np.float32]
"""A speaker embedding of unit length; shape (dimension,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Subsegment:
    """A second or two of one speaker, with its embedding; times in seconds."""

    start: float
    end: float
    embedding: Embedding


def normalize(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Scale each row to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)


def active_runs(active: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Find runs of consecutive active frames. Returns the first frame of each, and the one after its last."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def build_diarization(
    turns: Sequence[Turn],
    exclusive: Sequence[Turn],
    subsegments: Sequence[Subsegment],
    centroids: Mapping[str, Embedding] | None = None,
) -> Diarization:
    """Name the speakers `SPEAKER_1`, `SPEAKER_2` … in order of appearance, and compute `Turn.voice`.

    Without `centroids`, each speaker's is the mean embedding of the subsegments in their exclusive turns.
    """
    turns = sorted(turns, key=lambda turn: (turn.start, turn.end))
    exclusive = sorted(exclusive, key=lambda turn: turn.start)
    names: dict[str, str] = {}
    for turn in turns:
        names.setdefault(turn.speaker, f"SPEAKER_{len(names) + 1}")
    index = _SubsegmentIndex(subsegments)
    if centroids is None:
        centroids = index.centroids(exclusive)
    known = {speaker: centroids[speaker] for speaker in names if speaker in centroids}
    return Diarization(
        turns=tuple(Turn(turn.start, turn.end, names[turn.speaker]) for turn in turns),
        exclusive=tuple(
            Turn(turn.start, turn.end, names[turn.speaker], index.voice_probability(turn, known))
            for turn in exclusive
            if turn.speaker in names
        ),
        centroids={
            names[speaker]: tuple(round(float(value), 6) for value in vector)
            for speaker, vector in known.items()
        },
    )


class _SubsegmentIndex:
    """Finds subsegments by time."""

    def __init__(self, subsegments: Sequence[Subsegment]) -> None:
        self._subsegments = sorted(subsegments, key=lambda each: each.start)
        self._starts = [each.start for each in self._subsegments]
        self._max_length = max((each.end - each.start for each in subsegments), default=0.0)

    def during(self, turn: Turn) -> tuple[list[Subsegment], list[float]]:
        """The subsegments that overlap a turn, and the seconds of overlap of each."""
        first = bisect_left(self._starts, turn.start - self._max_length)
        last = bisect_left(self._starts, turn.end)
        found = [
            (each, min(each.end, turn.end) - max(each.start, turn.start))
            for each in self._subsegments[first:last]
            if each.end > turn.start
        ]
        return [each for each, _ in found], [seconds for _, seconds in found]

    def centroids(self, turns: Sequence[Turn]) -> dict[str, Embedding]:
        """For each speaker, the mean embedding of the subsegments in their turns, weighted by overlap."""
        sums: dict[str, Embedding] = {}
        for turn in turns:
            for subsegment, seconds in zip(*self.during(turn), strict=True):
                sums[turn.speaker] = sums.get(turn.speaker, 0.0) + seconds * subsegment.embedding
        return {speaker: normalize(vector) for speaker, vector in sums.items()}

    def voice_probability(self, turn: Turn, centroids: Mapping[str, Embedding]) -> float | None:
        """The probability that the turn is its speaker's, by its subsegments' embeddings (`Turn.voice`).

        A logistic function of the margin: the cosine similarity to this speaker's centroid minus that to the most
        similar other one, averaged over the subsegments, weighted by overlap.
        """
        subsegments, seconds = self.during(turn)
        if not subsegments or turn.speaker not in centroids or len(centroids) < 2:
            return None
        embeddings = np.stack([each.embedding for each in subsegments])
        own = embeddings @ normalize(centroids[turn.speaker])
        others = [vector for speaker, vector in centroids.items() if speaker != turn.speaker]
        margins = own - (embeddings @ normalize(np.stack(others)).T).max(1)
        margin = float(np.average(margins, weights=seconds))
        return round(1 / (1 + float(np.exp(-margin / MARGIN_SCALE))), 3)
