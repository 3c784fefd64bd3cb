"""Turn an engine's output into segments: decode missed speech, trim word times to speech, split into phrases.

Whisper sometimes skips a sentence within a window, and its word times (dynamic time warping over cross-attention)
have no pauses: a word lasts until the next one starts. Voice activity detection corrects both.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

from transcription.speech import invariants
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    OnProgress,
    Span,
    SpeechEngine,
    TranscribedSegment,
    Word,
)

MISSED_SPEECH_SECONDS = 1.5
"""A stretch with at least so much speech that no segment covers is decoded again."""
MISSED_MARGIN_SECONDS = 0.25
TOLERANCE_SECONDS = 0.06
"""Two frames of voice activity detection, of 0.03 s each."""
MIN_WORD_SECONDS = 0.02
"""The time resolution of Whisper's alignment."""
MAX_WORD_SHIFT_SECONDS = 1.2
"""How far apart two models may place the same word, mostly next to a pause."""

SENTENCE_END = tuple(".?!。？！…")
SENTENCE_PAUSE_SECONDS = 0.2
PHRASE_PAUSE_SECONDS = 0.8
LONG_PHRASE_SECONDS = 10.0
LONG_PHRASE_PAUSE_SECONDS = 0.3
"""A pause of this length ends a phrase that is longer than LONG_PHRASE_SECONDS."""


class Timed(Protocol):
    """Whatever has a start and an end, in seconds."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


def transcribe(
    engine: SpeechEngine,
    audio: Audio,
    streams: Sequence[Span],
    speech: Sequence[Span],
    *,
    language: str,
    word_times: bool = True,
    on_progress: OnProgress | None = None,
) -> list[TranscribedSegment]:
    """Transcribe the streams of `audio`.

    `speech` are all spans of speech in `audio`; all times are seconds from its start.
    Returns segments for which the invariants hold (invariants.py). Raises SpeechError.
    """
    segments = engine.transcribe(
        audio, streams, language=language, word_times=word_times, on_progress=on_progress
    )
    missed = [
        Span(max(0.0, span.start - MISSED_MARGIN_SECONDS), span.end + MISSED_MARGIN_SECONDS)
        for span in uncovered_speech(speech, segments, min_seconds=MISSED_SPEECH_SECONDS)
    ]
    if missed:
        segments += engine.transcribe(audio, missed, language=language, word_times=word_times)
        segments.sort(key=lambda segment: segment.start)
    trimmed = (_trim_to_speech(segment, speech) for segment in segments)
    phrases = [phrase for segment in trimmed for phrase in _split_into_phrases(segment)]
    return invariants.enforce(phrases, Span(0.0, len(audio) / SAMPLE_RATE))


def uncovered_speech(
    speech: Sequence[Span], segments: Iterable[Timed], *, min_seconds: float
) -> Iterator[Span]:
    """Yield stretches of speech that no segment covers, of at least `min_seconds` without their pauses.

    Spans with only a short pause between them and no segment in it form one stretch. All are ordered by time.
    """
    first = 0
    for gap in _gaps(segments):
        while first < len(speech) and speech[first].end <= gap.start:
            first += 1
        stretch: list[Span] = []
        for index in range(first, len(speech)):
            if speech[index].start >= gap.end:
                break
            span = Span(max(speech[index].start, gap.start), min(speech[index].end, gap.end))
            if stretch and span.start - stretch[-1].end >= PHRASE_PAUSE_SECONDS:
                yield from _if_long(stretch, min_seconds)
                stretch = []
            stretch.append(span)
        yield from _if_long(stretch, min_seconds)


def _gaps(segments: Iterable[Timed]) -> Iterator[Span]:
    """Yield the gaps between segments, before the first and after the last."""
    position = 0.0
    for segment in segments:
        if segment.start > position:
            yield Span(position, segment.start)
        position = max(position, segment.end)
    yield Span(position, math.inf)


def _if_long(stretch: Sequence[Span], min_seconds: float) -> Iterator[Span]:
    """Yield the stretch as one span if its speech is long enough."""
    if stretch and sum(span.duration for span in stretch) >= min_seconds:
        yield Span(stretch[0].start, stretch[-1].end)


def _trim_to_speech(segment: TranscribedSegment, speech: Sequence[Span]) -> TranscribedSegment:
    """Trim each word of the segment to the span of speech that it overlaps most."""
    if not segment.words:
        return segment
    near = [span for span in speech if span.end > segment.start and span.start < segment.end]
    words = _enforce_min_length([_trim_word(word, near) for word in segment.words])
    return replace(segment, start=words[0].start, end=words[-1].end, words=words)


def _trim_word(word: Word, speech: Sequence[Span]) -> Word:
    def overlap(span: Span) -> float:
        return min(word.end, span.end) - max(word.start, span.start)

    span = max(speech, key=overlap, default=None)
    if span is None or overlap(span) <= 0:
        return word
    return replace(
        word,
        start=max(word.start, span.start - TOLERANCE_SECONDS),
        end=min(word.end, span.end + TOLERANCE_SECONDS),
    )


def _enforce_min_length(words: list[Word]) -> tuple[Word, ...]:
    """Lengthen words to MIN_WORD_SECONDS: alignment gives some of them no duration.

    A lengthened word delays those after it; at the end of the segment it moves those before it.
    """
    lengthened: list[Word] = []
    end = words[-1].end
    earliest = words[0].start
    for word in words:
        start = max(word.start, earliest)
        earliest = max(word.end, start + MIN_WORD_SECONDS)
        lengthened.append(replace(word, start=start, end=earliest))
    latest = max(end, lengthened[0].start + MIN_WORD_SECONDS * len(lengthened))
    for index in range(len(lengthened) - 1, -1, -1):
        word = lengthened[index]
        if word.end <= latest:
            break
        lengthened[index] = replace(
            word, start=min(word.start, latest - MIN_WORD_SECONDS), end=latest
        )
        latest = lengthened[index].start
    return tuple(lengthened)


def _split_into_phrases(segment: TranscribedSegment) -> list[TranscribedSegment]:
    """Split the segment at the ends of sentences and at pauses; a long one at shorter pauses too."""
    parts: list[list[Word]] = [list(segment.words[:1])]
    for before, word in pairwise(segment.words):
        if _is_phrase_boundary(before, word, length=before.end - parts[-1][0].start):
            parts.append([])
        parts[-1].append(word)
    if len(parts) == 1:
        return [segment]
    return [
        replace(
            segment,
            start=words[0].start,
            end=words[-1].end,
            text="".join(word.text for word in words).strip(),
            words=tuple(words),
        )
        for words in parts
    ]


def _is_phrase_boundary(before: Word, word: Word, *, length: float) -> bool:
    """Whether a phrase ends between two words. `length`: the seconds of the phrase so far."""
    pause = word.start - before.end
    if before.text.rstrip("\"'”’)").endswith(SENTENCE_END) and pause >= SENTENCE_PAUSE_SECONDS:
        return True
    is_long = length >= LONG_PHRASE_SECONDS
    return pause >= (LONG_PHRASE_PAUSE_SECONDS if is_long else PHRASE_PAUSE_SECONDS)
