"""Turn an engine's output into segments: decode missed speech, trim word times to speech, split into phrases.

Whisper sometimes skips a sentence within a window, and its word times (dynamic time warping over cross-attention)
have no pauses: a word lasts until the next one starts. Voice activity detection corrects both.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

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
"""Speech of at least this length that no segment covers is decoded again."""
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
    missed = uncovered_speech(speech, segments)
    if missed:
        segments += engine.transcribe(audio, missed, language=language, word_times=word_times)
        segments.sort(key=lambda segment: segment.start)
    trimmed = (_trim_to_speech(segment, speech) for segment in segments)
    phrases = [phrase for segment in trimmed for phrase in _split_into_phrases(segment)]
    return invariants.enforce(phrases, Span(0.0, len(audio) / SAMPLE_RATE))


def uncovered_speech(speech: Sequence[Span], segments: Sequence[TranscribedSegment]) -> list[Span]:
    """Find the speech of at least MISSED_SPEECH_SECONDS that no segment covers. Returns spans with a margin."""
    gaps: list[Span] = []
    for span in speech:
        position = span.start
        for segment in segments:
            if segment.end <= position or segment.start >= span.end:
                continue
            gaps.append(Span(position, segment.start))
            position = max(position, segment.end)
        gaps.append(Span(position, span.end))
    return [
        Span(max(0.0, gap.start - MISSED_MARGIN_SECONDS), gap.end + MISSED_MARGIN_SECONDS)
        for gap in gaps
        if gap.duration >= MISSED_SPEECH_SECONDS
    ]


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
