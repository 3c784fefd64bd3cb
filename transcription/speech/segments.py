"""From what an engine decodes to segments: no speech left out, times where the voice is, phrases.

Whisper sometimes passes over a sentence in the midst of a window, and its word times (dynamic time warping over
cross-attention) know no pauses: a word lasts until the next begins. Voice activity knows both.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from transcription.speech.engines.base import (
    Audio,
    OnProgress,
    Span,
    SpeechEngine,
    TranscribedSegment,
    Word,
)

MISSED_SPEECH_SECONDS = 1.5
"""Speech of this length that no segment covers is decoded again, by itself."""
MISSED_MARGIN_SECONDS = 0.25
TOLERANCE_SECONDS = 0.06
"""Voice activity's own frames are 0.03 s."""
SHORTEST_WORD_SECONDS = 0.02
"""What Whisper's alignment counts in."""
MISPLACED_SECONDS = 1.2
"""So far from where one model heard a word another may put it, beside a pause above all."""

SENTENCE_END = tuple(".?!。？！…")
SENTENCE_PAUSE_SECONDS = 0.2
PHRASE_PAUSE_SECONDS = 0.8
LONG_SECONDS = 10.0
LONG_PAUSE_SECONDS = 0.3


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
    """Transcribe the streams of `audio`, in which `speech` is where somebody speaks (seconds, all of it).

    Returns segments in order of time. Raises SpeechError.
    """
    segments = engine.transcribe(
        audio, streams, language=language, word_times=word_times, on_progress=on_progress
    )
    missed = uncovered(speech, segments)
    if missed:
        segments += engine.transcribe(audio, missed, language=language, word_times=word_times)
        segments.sort(key=lambda segment: segment.start)
    return [phrase for segment in segments for phrase in _phrases(_without_pauses(segment, speech))]


def uncovered(speech: Sequence[Span], segments: Sequence[TranscribedSegment]) -> list[Span]:
    """Stretches of speech that no segment covers, with a margin, if they are long enough to hold words."""
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


def _without_pauses(segment: TranscribedSegment, speech: Sequence[Span]) -> TranscribedSegment:
    """The segment with words cut to the span of speech that each is in for the most part."""
    if not segment.words:
        return segment
    near = [span for span in speech if span.end > segment.start and span.start < segment.end]
    words = _with_length([_cut(word, near) for word in segment.words])
    return replace(segment, start=words[0].start, end=words[-1].end, words=words)


def _cut(word: Word, speech: Sequence[Span]) -> Word:
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


def _with_length(words: list[Word]) -> tuple[Word, ...]:
    """The words, none shorter than SHORTEST_WORD_SECONDS: alignment gives some no time at all.

    Such a word takes its time from those that follow, or at the end from those before.
    """
    found: list[Word] = []
    end = words[-1].end
    earliest = words[0].start
    for word in words:
        start = max(word.start, earliest)
        earliest = max(word.end, start + SHORTEST_WORD_SECONDS)
        found.append(replace(word, start=start, end=earliest))
    latest = max(end, found[0].start + SHORTEST_WORD_SECONDS * len(found))
    for index in range(len(found) - 1, -1, -1):
        word = found[index]
        if word.end <= latest:
            break
        found[index] = replace(
            word, start=min(word.start, latest - SHORTEST_WORD_SECONDS), end=latest
        )
        latest = found[index].start
    return tuple(found)


def _phrases(segment: TranscribedSegment) -> list[TranscribedSegment]:
    """The segment split where a sentence ends, where the speaker pauses, and if it is long where it can be."""
    parts: list[list[Word]] = [list(segment.words[:1])]
    for before, word in pairwise(segment.words):
        if _parts_phrases(before, word, length=before.end - parts[-1][0].start):
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


def _parts_phrases(before: Word, word: Word, *, length: float) -> bool:
    pause = word.start - before.end
    if before.text.rstrip("\"'”’)").endswith(SENTENCE_END) and pause >= SENTENCE_PAUSE_SECONDS:
        return True
    return pause >= (LONG_PAUSE_SECONDS if length >= LONG_SECONDS else PHRASE_PAUSE_SECONDS)
