"""Pieces of one voice each, and what they tell: a speaker's centroid, whose piece it is, how clearly so."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transcription.speech.diarization.base import Diarization, Turn

SCALE = 0.125
"""Of the margin between two voices: logistic regression on conversations and meetings whose turns are known."""

Voice = npt.NDArray[np.float32]
"""A speaker embedding of length 1; shape (dimension,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A second or two in which one person is heard, times in seconds."""

    start: float
    end: float
    voice: Voice


def unit(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Each row with length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)


def runs(active: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where a row of frames is active without a break: from the first frame to the one after the last."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def named(
    turns: Sequence[Turn],
    exclusive: Sequence[Turn],
    pieces: Sequence[Piece],
    centroids: Mapping[str, Voice] | None = None,
) -> Diarization:
    """Name the speakers `SPEAKER_1`, `SPEAKER_2` … as they appear, and weigh the voices of the exclusive turns.

    Centroids that are not given are the means of the pieces that lie in each speaker's exclusive turns.
    """
    turns = sorted(turns, key=lambda turn: (turn.start, turn.end))
    exclusive = sorted(exclusive, key=lambda turn: turn.start)
    names: dict[str, str] = {}
    for turn in turns:
        names.setdefault(turn.speaker, f"SPEAKER_{len(names) + 1}")
    heard = _Heard(pieces)
    if centroids is None:
        centroids = heard.centroids(exclusive)
    known = {speaker: centroids[speaker] for speaker in names if speaker in centroids}
    return Diarization(
        turns=tuple(Turn(turn.start, turn.end, names[turn.speaker]) for turn in turns),
        exclusive=tuple(
            Turn(turn.start, turn.end, names[turn.speaker], heard.clarity(turn, known))
            for turn in exclusive
            if turn.speaker in names
        ),
        centroids={
            names[speaker]: tuple(round(float(value), 6) for value in vector)
            for speaker, vector in known.items()
        },
    )


class _Heard:
    """Pieces in order of time, to be found by it."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = sorted(pieces, key=lambda piece: piece.start)
        self._starts = [piece.start for piece in self._pieces]
        self._longest = max((piece.end - piece.start for piece in pieces), default=0.0)

    def during(self, turn: Turn) -> tuple[list[Piece], list[float]]:
        """The pieces that a turn reaches into, and how many seconds of each."""
        first = bisect_left(self._starts, turn.start - self._longest)
        last = bisect_left(self._starts, turn.end)
        found = [
            (piece, min(piece.end, turn.end) - max(piece.start, turn.start))
            for piece in self._pieces[first:last]
            if piece.end > turn.start
        ]
        return [piece for piece, _ in found], [seconds for _, seconds in found]

    def centroids(self, turns: Sequence[Turn]) -> dict[str, Voice]:
        sums: dict[str, Voice] = {}
        for turn in turns:
            for piece, seconds in zip(*self.during(turn), strict=True):
                sums[turn.speaker] = sums.get(turn.speaker, 0.0) + seconds * piece.voice
        return {speaker: unit(vector) for speaker, vector in sums.items()}

    def clarity(self, turn: Turn, centroids: Mapping[str, Voice]) -> float | None:
        """How probable it is, by the voices heard in it, that the turn is its speaker's (`Turn.voice`).

        The margin is how much nearer (by cosine similarity) the pieces are to this speaker's centroid than to the
        nearest other, weighed by the seconds of each; a logistic function makes a probability of it.
        """
        pieces, seconds = self.during(turn)
        if not pieces or turn.speaker not in centroids or len(centroids) < 2:
            return None
        voices = np.stack([piece.voice for piece in pieces])
        own = voices @ unit(centroids[turn.speaker])
        others = [vector for speaker, vector in centroids.items() if speaker != turn.speaker]
        margins = own - (voices @ unit(np.stack(others)).T).max(1)
        margin = float(np.average(margins, weights=seconds))
        return round(1 / (1 + float(np.exp(-margin / SCALE))), 3)
