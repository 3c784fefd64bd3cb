"""Transcribe a range of a recording: all words in it, and none of those around it.

The model gets some context around the range, because it would mishear a word that is cut at an edge. The words of
the context are then removed by their times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transcription.speech import chunks, segments
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    OnProgress,
    Span,
    SpeechEngine,
    Word,
)
from transcription.speech.segments import MAX_WORD_SHIFT_SECONDS, MIN_WORD_SECONDS
from transcription.speech.voice_activity import VoiceActivity

CONTEXT_SECONDS = 4.0
"""The context before and after a range, given to the model if there is speech across the edge.

An edge in silence cuts no word, and there the context would only lead the model to continue from it.
"""
EDGE_MARGIN_SECONDS = 0.1
"""An edge this close to speech is not in silence: voice activity detection misses soft onsets and endings."""


@dataclass(frozen=True, slots=True)
class RangeText:
    """The transcript of a range; times are seconds from the start of the recording."""

    text: str
    words: tuple[Word, ...]
    confidence: float | None
    """The mean probability of the words; None if there are no words."""
    language: str
    """The given or detected language, ISO 639-1."""


def with_context(span: Span, *, duration: float) -> Span:
    """Extend `span` by the context, within a recording of `duration` seconds."""
    return Span(max(0.0, span.start - CONTEXT_SECONDS), min(duration, span.end + CONTEXT_SECONDS))


def transcribe_range(
    engine: SpeechEngine,
    audio: Audio,
    *,
    origin: float,
    span: Span,
    language: str,
    reference_words: Sequence[Word] = (),
    on_progress: OnProgress | None = None,
) -> RangeText:
    """Transcribe `span` of a recording. `audio` starts at `origin`, and contains the span with its context.

    All times are seconds from the start of the recording. `reference_words` are those of an existing transcript in
    and around the span, ordered by start. Two models may place the same word half a second apart; with reference
    words, the range is cut between the same words in both transcripts. An empty `language` is detected; it stays
    empty if there is no speech. Raises SpeechError.
    """
    duration = len(audio) / SAMPLE_RATE
    inner = Span(span.start - origin, span.end - origin)
    decoded = _span_to_decode(_find_speech(audio), inner, duration)
    audio = audio[round(decoded.start * SAMPLE_RATE) : round(decoded.end * SAMPLE_RATE)]
    origin += decoded.start
    speech = _find_speech(audio)
    if not speech:
        return RangeText(text="", words=(), confidence=None, language=language)
    language = language or engine.detect_language(audio[round(speech[0].start * SAMPLE_RATE) :])
    planned = list(chunks.plan(speech, decoded.duration))
    words = [
        word
        for index, chunk in enumerate(planned)
        for segment in segments.transcribe(
            engine,
            audio,
            chunk.streams,
            chunk.speech,
            language=language,
            on_progress=on_progress and _part_of(on_progress, index, len(planned)),
        )
        for word in (_shift(word, origin) for word in segment.words)
    ]
    first = split_index(words, span.start, reference_words)
    end = split_index(words, span.end, reference_words)
    words = [_clip(word, span) for word in words[first:end]]
    return RangeText(
        text="".join(word.text for word in words).strip(),
        words=tuple(words),
        confidence=sum(word.probability for word in words) / len(words) if words else None,
        language=language,
    )


def _part_of(on_progress: OnProgress, index: int, n_parts: int) -> OnProgress:
    """Reports the progress of one of several parts as that of the whole."""
    return lambda fraction: on_progress((index + fraction) / n_parts)


def _find_speech(audio: Audio) -> list[Span]:
    activity = VoiceActivity()
    return activity.feed(audio) + activity.finish()


def _span_to_decode(speech: Sequence[Span], inner: Span, duration: float) -> Span:
    """The span to decode: the range, and beyond each edge that is not in silence the context."""

    def in_silence(edge: float) -> bool:
        return not any(
            span.start - EDGE_MARGIN_SECONDS < edge < span.end + EDGE_MARGIN_SECONDS
            for span in speech
        )

    return Span(
        inner.start if in_silence(inner.start) else 0.0,
        inner.end if in_silence(inner.end) else duration,
    )


def split_index(words: Sequence[Word], edge: float, reference_words: Sequence[Word]) -> int:
    """The number of `words` before `edge`: by their midpoints, corrected by the reference words next to the edge."""
    by_time = sum(_midpoint(word) < edge for word in words)
    before = next((normalized(w) for w in reversed(reference_words) if _midpoint(w) < edge), "")
    after = next((normalized(w) for w in reference_words if _midpoint(w) >= edge), "")

    def similarity(index: int) -> tuple[int, float]:
        matches_before = index > 0 and normalized(words[index - 1]) == before
        matches_after = index < len(words) and normalized(words[index]) == after
        return matches_before + matches_after, -abs(index - by_time)

    candidates = [
        index
        for index in range(len(words) + 1)
        if index == by_time
        or (index < by_time and edge - words[index].end < MAX_WORD_SHIFT_SECONDS)
        or (index > by_time and words[index - 1].start - edge < MAX_WORD_SHIFT_SECONDS)
    ]
    return max(candidates, key=similarity)


def normalized(word: Word) -> str:
    """The word's text, case-folded and without punctuation."""
    return "".join(letter for letter in word.text.casefold() if letter.isalnum())


def _midpoint(word: Word) -> float:
    return (word.start + word.end) / 2


def _clip(word: Word, span: Span) -> Word:
    """Clip the word's times to the span, keeping at least MIN_WORD_SECONDS."""
    start = min(max(word.start, span.start), max(span.start, span.end - MIN_WORD_SECONDS))
    end = min(max(word.end, start + MIN_WORD_SECONDS), max(span.end, start))
    return replace(word, start=round(start, 3), end=round(end, 3))


def _shift(word: Word, seconds: float) -> Word:
    return replace(word, start=round(word.start + seconds, 3), end=round(word.end + seconds, 3))
