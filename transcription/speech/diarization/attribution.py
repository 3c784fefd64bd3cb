"""Attribute words to speakers: speaker turns aligned with the words of a transcript."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

MAX_DISTANCE_SECONDS = 0.5
"""A word in no turn is attributed to the nearest turn within this distance."""
MIN_WORD_SECONDS = 0.01
"""Some words have no duration."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The speaker of a word, with a confidence from 0 to 1; both None if no turn is near."""

    speaker: str | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive words of one speaker: indices from `first` to `end`, exclusive."""

    first: int
    end: int
    speaker: str | None
    confidence: float | None


def attribute(words: Sequence[Span], turns: Sequence[Turn]) -> list[Attribution]:
    """Attribute each word to the speaker whose turns it overlaps most, else to the nearest turn's.

    `turns` are ordered by start and do not overlap. The confidence is the share of the word within the speaker's
    turns, times `Turn.voice` (1 if it is None); 0 for a word that is only near a turn (MAX_DISTANCE_SECONDS).
    Takes O(log n) per word for n turns.
    """
    starts = [turn.start for turn in turns]
    ends = [turn.end for turn in turns]
    found = []
    for word in words:
        if word.duration < MIN_WORD_SECONDS:
            word = Span(word.start, word.start + MIN_WORD_SECONDS)
        first, end = bisect_right(ends, word.start), bisect_left(starts, word.end)
        found.append(_by_overlap(word, turns[first:end]) or _by_distance(word, turns, first))
    return found


def parts(attributions: Sequence[Attribution]) -> list[Part]:
    """Split the words of a segment where the speaker changes. Confidences are means over the words."""
    found, first = [], 0
    for speaker, group in groupby(attributions, key=lambda attribution: attribution.speaker):
        confidences = [attribution.confidence for attribution in group]
        known = [confidence for confidence in confidences if confidence is not None]
        end = first + len(confidences)
        found.append(Part(first, end, speaker, round(fmean(known), 3) if known else None))
        first = end
    return found


def _by_overlap(word: Span, turns: Sequence[Turn]) -> Attribution | None:
    seconds: dict[str, float] = {}
    weighted: dict[str, float] = {}
    for turn in turns:
        overlap = min(word.end, turn.end) - max(word.start, turn.start)
        voice = 1.0 if turn.voice is None else turn.voice
        seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + overlap
        weighted[turn.speaker] = weighted.get(turn.speaker, 0.0) + overlap * voice
    if not seconds:
        return None
    speaker = max(seconds, key=lambda name: seconds[name])
    return Attribution(speaker, weighted[speaker] / word.duration)


def _by_distance(word: Span, turns: Sequence[Turn], following: int) -> Attribution:
    """Attribute a word between two turns to the nearer one. `following`: the index of the turn after it."""
    adjacent = [turns[index] for index in (following - 1, following) if 0 <= index < len(turns)]
    distances = {turn: max(turn.start - word.end, word.start - turn.end, 0.0) for turn in adjacent}
    nearest = min(adjacent, key=lambda turn: distances[turn], default=None)
    if nearest is None or distances[nearest] > MAX_DISTANCE_SECONDS:
        return Attribution(None, None)
    return Attribution(nearest.speaker, 0.0)
