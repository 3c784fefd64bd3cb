"""What holds of the segments of every chunk, whatever engine made them.

Segments are in order of time and within their chunk; none is empty or overlaps another; their words lie in them, in
order. What is decoded again, because speech was missed, may overlap what is there, or repeat its words.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite

from transcription.speech.engines.base import Span, TranscribedSegment, Word

MIN_OVERLAP_SECONDS = 0.05
MIN_OVERLAP_SHARE = 0.5
"""Of the shorter word: so much two equal words overlap at least that are one word, decoded twice."""


def enforce(segments: Iterable[TranscribedSegment], span: Span) -> list[TranscribedSegment]:
    """The segments of a chunk so that the invariants hold; `span` is the chunk's. Idempotent.

    Only words that were decoded twice are left out. A segment that lies between two words of another splits that one;
    other overlaps are divided between both sides. Raises nothing.
    """
    clipped = [_within(segment, span) for segment in segments if segment.text.strip()]
    clipped.sort(key=lambda segment: (segment.start, segment.end))
    return _without_overlaps(_split(_without_repeated_words(clipped)))


# ---- Times within a segment


def _within(segment: TranscribedSegment, span: Span) -> TranscribedSegment:
    """The segment with its times, and those of its words, in order and within `span`."""
    earliest, words = span.start, []
    for word in segment.words:
        start = _clip(word.start, earliest, span.end)
        earliest = _clip(word.end, start, span.end)
        words.append(replace(word, start=start, end=earliest))
    start = _clip(segment.start, span.start, span.end)
    end = _clip(segment.end, start, span.end)
    return _fitted(replace(segment, start=start, end=end, words=tuple(words)))


def _clip(seconds: float, earliest: float, latest: float) -> float:
    return min(max(seconds, earliest), latest) if isfinite(seconds) else earliest


def _fitted(segment: TranscribedSegment) -> TranscribedSegment:
    """The segment from its first word's start to its last one's end, if it has words."""
    if not segment.words:
        return segment
    return replace(segment, start=segment.words[0].start, end=segment.words[-1].end)


def _of_words(segment: TranscribedSegment, words: Sequence[Word]) -> TranscribedSegment:
    """What the segment is with these of its words alone."""
    text = "".join(word.text for word in words).strip()
    return _fitted(replace(segment, text=text, words=tuple(words)))


# ---- Words that were decoded twice


def _without_repeated_words(segments: Sequence[TranscribedSegment]) -> list[TranscribedSegment]:
    """The segments, ordered by start, without words that an earlier one has at the same time."""
    kept: list[TranscribedSegment] = []
    for segment in segments:
        known = [word for other in kept if other.end > segment.start for word in other.words]
        words = [word for word in segment.words if not any(_is_same(word, one) for one in known)]
        if len(words) == len(segment.words):
            kept.append(segment)
        elif "".join(word.text for word in words).strip():
            kept.append(_of_words(segment, words))
    return kept


def _is_same(word: Word, other: Word) -> bool:
    """Whether a word was decoded twice: what is said again comes after, though times are off by some hundredths."""
    overlap = min(word.end, other.end) - max(word.start, other.start)
    shorter = min(word.end - word.start, other.end - other.start)
    if overlap < max(MIN_OVERLAP_SECONDS, MIN_OVERLAP_SHARE * shorter):
        return False
    text = normalized(word.text)
    return bool(text) and text == normalized(other.text)


def normalized(text: str) -> str:
    """The text, case-folded and without punctuation and spaces."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


# ---- Overlaps


def _split(segments: Sequence[TranscribedSegment]) -> list[TranscribedSegment]:
    """The segments, ordered by start; one that has another between two of its words is split there."""
    waiting = [(one.start, one.end, number, one) for number, one in enumerate(segments)]
    heapq.heapify(waiting)
    number, done = len(waiting), []
    while waiting:
        *_, segment = heapq.heappop(waiting)
        if waiting and waiting[0][0] < segment.end:
            start, end, *_ = waiting[0]
            n_before = sum(_middle(word) < start for word in segment.words)
            before, after = segment.words[:n_before], segment.words[n_before:]
            if _has_text(before) and _has_text(after) and _middle(after[0]) >= end:
                segment, rest = _of_words(segment, before), _of_words(segment, after)
                heapq.heappush(waiting, (rest.start, rest.end, number, rest))
                number += 1
        done.append(segment)
    return done


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _has_text(words: Sequence[Word]) -> bool:
    return any(word.text.strip() for word in words)


def _without_overlaps(segments: Sequence[TranscribedSegment]) -> list[TranscribedSegment]:
    """The segments, ordered by start; where two overlap, the first ends and the second starts in the middle."""
    settled: list[TranscribedSegment] = []
    for segment in segments:
        if settled and settled[-1].end > segment.start:
            last = settled[-1]
            middle = (max(last.start, segment.start) + min(last.end, segment.end)) / 2
            edge = max(middle, last.start)
            settled[-1] = _between(last, last.start, edge)
            segment = _between(segment, edge, max(edge, segment.end))
        settled.append(segment)
    return settled


def _between(segment: TranscribedSegment, earliest: float, latest: float) -> TranscribedSegment:
    """The segment with all its times between these."""
    words = [
        replace(
            word,
            start=_clip(word.start, earliest, latest),
            end=_clip(word.end, earliest, latest),
        )
        for word in segment.words
    ]
    return replace(
        segment,
        start=_clip(segment.start, earliest, latest),
        end=_clip(segment.end, earliest, latest),
        words=tuple(words),
    )
