"""A range of a recording transcribed by itself: all that is said in it, and nothing that is said around it.

The model is given a little more than the range, because half a word at an edge would be heard as another one. What
is said in that context is cut from the text again by the times of its words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transcription.speech import chunks, segments
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span, SpeechEngine, Word
from transcription.speech.segments import MISPLACED_SECONDS, SHORTEST_WORD_SECONDS
from transcription.speech.voice_activity import VoiceActivity

CONTEXT_SECONDS = 4.0
"""What is given to the model before and after a range, if somebody speaks across its edge.

Of what is beyond a silence no word can be cut, and the model would only be tempted to go on from it.
"""
CLOSE_SECONDS = 0.1
"""So near to speech an edge is not in silence: voice activity hears soft sounds late, and words run on a little."""


@dataclass(frozen=True, slots=True)
class RangeText:
    """What is said in a range; times are seconds from the start of the recording."""

    text: str
    words: tuple[Word, ...]
    confidence: float | None
    """The mean probability of the words; None where there are none."""
    language: str
    """Given or detected, an ISO 639-1 code."""


def with_context(span: Span, *, duration: float) -> Span:
    """The part of a recording of `duration` seconds that is to be read to transcribe `span`."""
    return Span(max(0.0, span.start - CONTEXT_SECONDS), min(duration, span.end + CONTEXT_SECONDS))


def transcribe_range(
    engine: SpeechEngine,
    audio: Audio,
    *,
    origin: float,
    span: Span,
    language: str,
    known: Sequence[Word] = (),
) -> RangeText:
    """Transcribe `span` of a recording, of which `audio` begins at `origin` and holds the span with its context.

    All times are seconds from the start of the recording. `known` is what another model heard there and around it,
    in order of time, if anything: two models place the same word up to half a second apart, and a range cut by
    the one's times is cut between the same words of the other. Without a `language` it is detected from what is
    spoken; where nobody speaks it stays empty. Raises SpeechError.
    """
    duration = len(audio) / SAMPLE_RATE
    heard = _heard(_speech(audio), Span(span.start - origin, span.end - origin), duration)
    audio = audio[round(heard.start * SAMPLE_RATE) : round(heard.end * SAMPLE_RATE)]
    origin += heard.start
    spoken = _speech(audio)
    if not spoken:
        return RangeText(text="", words=(), confidence=None, language=language)
    language = language or engine.detect_language(audio[round(spoken[0].start * SAMPLE_RATE) :])
    words = [
        word
        for chunk in chunks.plan(spoken, heard.duration)
        for segment in segments.transcribe(
            engine, audio, chunk.streams, chunk.speech, language=language
        )
        for word in (_moved(word, origin) for word in segment.words)
    ]
    first = cut(words, span.start, known)
    words = [_clipped(word, span) for word in words[first : cut(words, span.end, known)]]
    return RangeText(
        text="".join(word.text for word in words).strip(),
        words=tuple(words),
        confidence=sum(word.probability for word in words) / len(words) if words else None,
        language=language,
    )


def _speech(audio: Audio) -> list[Span]:
    activity = VoiceActivity()
    return activity.feed(audio) + activity.finish()


def _heard(speech: Sequence[Span], inside: Span, duration: float) -> Span:
    """What the model is to hear: the range, and where somebody speaks across an edge the context beyond it."""

    def in_silence(edge: float) -> bool:
        return not any(
            span.start - CLOSE_SECONDS < edge < span.end + CLOSE_SECONDS for span in speech
        )

    return Span(
        inside.start if in_silence(inside.start) else 0.0,
        inside.end if in_silence(inside.end) else duration,
    )


def cut(words: Sequence[Word], edge: float, known: Sequence[Word]) -> int:
    """How many of `words` come before `edge`: by their middles, or as `known` words next to it tell."""
    by_time = sum(_middle(word) < edge for word in words)
    last = next((said(w) for w in reversed(known) if _middle(w) < edge), "")
    following = next((said(w) for w in known if _middle(w) >= edge), "")

    def likeness(index: int) -> tuple[int, float]:
        same = index > 0 and said(words[index - 1]) == last
        same_after = index < len(words) and said(words[index]) == following
        return same + same_after, -abs(index - by_time)

    near = [
        index
        for index in range(len(words) + 1)
        if index == by_time
        or (index < by_time and edge - words[index].end < MISPLACED_SECONDS)
        or (index > by_time and words[index - 1].start - edge < MISPLACED_SECONDS)
    ]
    return max(near, key=likeness)


def said(word: Word) -> str:
    """The word without case and punctuation."""
    return "".join(letter for letter in word.text.casefold() if letter.isalnum())


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _clipped(word: Word, span: Span) -> Word:
    """The word with times inside the span, and some length."""
    start = min(max(word.start, span.start), max(span.start, span.end - SHORTEST_WORD_SECONDS))
    end = min(max(word.end, start + SHORTEST_WORD_SECONDS), max(span.end, start))
    return replace(word, start=round(start, 3), end=round(end, 3))


def _moved(word: Word, seconds: float) -> Word:
    return replace(word, start=round(word.start + seconds, 3), end=round(word.end + seconds, 3))
