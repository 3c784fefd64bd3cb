"""Who said which word: speaker turns laid over the words of a transcript."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

NEAREST_SECONDS = 0.5
"""A word that lies in no turn belongs to the nearest one, if that is no farther away."""
SHORTEST_SECONDS = 0.01
"""Some words begin and end at the same time."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The speaker of a word, and how well that is founded, from 0 to 1; both None where no turn is near."""

    speaker: str | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive words of one speaker: those from `first` up to, not including, `end`."""

    first: int
    end: int
    speaker: str | None
    confidence: float | None


def attribute(words: Sequence[Span], turns: Sequence[Turn]) -> list[Attribution]:
    """The speaker of each word: whose turn it overlaps most, or the nearest turn's within NEAREST_SECONDS.

    `turns` are in order of time and do not overlap. The confidence is the share of the word that lies in that
    speaker's turns, times how clearly the voice in them is the speaker's (`Turn.voice`, 1 where it is not known):
    0 for a word that only lies near a turn. Takes O(log n) of n turns for each word.
    """
    starts = [turn.start for turn in turns]
    ends = [turn.end for turn in turns]
    found = []
    for word in words:
        if word.duration < SHORTEST_SECONDS:
            word = Span(word.start, word.start + SHORTEST_SECONDS)
        first, end = bisect_right(ends, word.start), bisect_left(starts, word.end)
        found.append(_most(word, turns[first:end]) or _nearest(word, turns, first))
    return found


def parts(attributions: Sequence[Attribution]) -> list[Part]:
    """A segment's words, split wherever the speaker changes. The confidence is the mean over the words."""
    found, first = [], 0
    for speaker, group in groupby(attributions, key=lambda attribution: attribution.speaker):
        confidences = [attribution.confidence for attribution in group]
        known = [confidence for confidence in confidences if confidence is not None]
        end = first + len(confidences)
        found.append(Part(first, end, speaker, round(fmean(known), 3) if known else None))
        first = end
    return found


def _most(word: Span, turns: Sequence[Turn]) -> Attribution | None:
    seconds: dict[str, float] = {}
    clearly: dict[str, float] = {}
    for turn in turns:
        overlap = min(word.end, turn.end) - max(word.start, turn.start)
        voice = 1.0 if turn.voice is None else turn.voice
        seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + overlap
        clearly[turn.speaker] = clearly.get(turn.speaker, 0.0) + overlap * voice
    if not seconds:
        return None
    speaker = max(seconds, key=lambda name: seconds[name])
    return Attribution(speaker, clearly[speaker] / word.duration)


def _nearest(word: Span, turns: Sequence[Turn], following: int) -> Attribution:
    beside = [turns[index] for index in (following - 1, following) if 0 <= index < len(turns)]
    distances = {turn: max(turn.start - word.end, word.start - turn.end, 0.0) for turn in beside}
    nearest = min(beside, key=lambda turn: distances[turn], default=None)
    if nearest is None or distances[nearest] > NEAREST_SECONDS:
        return Attribution(None, None)
    return Attribution(nearest.speaker, 0.0)
