"""Suspect passages: what a person should check in a transcript, with the reasons. Read only.

avg_logprob and compression_ratio are the decoding window's, which all its segments share (see engines.base). A window
that fails says only that something in it is wrong, so of its segments those are suspect that made it fail.
"""

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from transcription.models import Job, Segment
from transcription.speech.engines.base import Span
from transcription.speech.segments import MISSED_SPEECH_SECONDS, PHRASE_PAUSE_SECONDS
from transcription.transcript.speaker_split import is_unedited

REPETITION = "repetition"
LOW_LOG_PROBABILITY = "low_log_probability"
HIGH_COMPRESSION = "high_compression"
SPEECH_WITHOUT_TEXT = "speech_without_text"
TEXT_IN_SILENCE = "text_in_silence"
REASONS = (
    REPETITION,
    LOW_LOG_PROBABILITY,
    HIGH_COMPRESSION,
    SPEECH_WITHOUT_TEXT,
    TEXT_IN_SILENCE,
)

LOGPROB_LIMIT = -1.0
COMPRESSION_RATIO_LIMIT = 2.4
"""Both from Radford et al. 2022, section 4.5: beyond them Whisper falls back to a higher temperature."""
SPOKEN_SHARE = 0.2
"""Below this share of speech a segment counts as text in silence; word times may be off by some tenths of a second."""
LOOP_TIMES, LOOP_WORDS = 3, 8
"""A loop repeats a phrase at least this often, with at least so many words in all: `no, no, no` is speech."""
LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True, slots=True)
class Suspect:
    """A segment, or (None) speech without a segment. Times are seconds from the start of the recording."""

    segment: Segment | None
    start: float
    end: float
    reasons: tuple[str, ...]
    """Codes, in the order of REASONS."""


def find_suspects(*, job: Job) -> list[Suspect]:
    """Find the suspects of a job's transcript, in order of time. Edited segments were checked: they are none."""
    segments = list(job.segments.all())
    speech = [
        Span(start, end)
        for spans in job.chunks.order_by("index").values_list("speech", flat=True)
        for start, end in spans
    ]
    reasons: dict[int, set[str]] = {}
    for code, found in (
        (REPETITION, _in_loops(segments)),
        (LOW_LOG_PROBABILITY, _unsure(segments)),
        (HIGH_COMPRESSION, _compressible(segments)),
        (TEXT_IN_SILENCE, _in_silence(segments, speech)),
    ):
        for segment in found:
            reasons.setdefault(segment.pk, set()).add(code)
    suspects = [
        Suspect(s, s.start, s.end, tuple(code for code in REASONS if code in reasons[s.pk]))
        for s in segments
        if s.pk in reasons and not _is_edited(s)
    ]
    suspects += [
        Suspect(None, span.start, span.end, (SPEECH_WITHOUT_TEXT,))
        for span in _without_text(speech, segments)
    ]
    return sorted(suspects, key=lambda suspect: suspect.start)


def _is_edited(segment: Segment) -> bool:
    return bool(segment.words) and not is_unedited(segment)


# ---- Loops


def _in_loops(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield segments that are part of a loop: a phrase repeated within a segment or across several."""
    words: list[str] = []
    ends: list[int] = []
    for segment in segments:
        words += _said(segment)
        ends.append(len(words))
    loops = _loops(words)
    loop = next(loops, None)
    begin = 0
    for segment, end in zip(segments, ends, strict=True):
        while loop and loop[1] <= begin:
            loop = next(loops, None)
        if loop and max(begin, loop[0]) < min(end, loop[1]):
            yield segment
        begin = end


def _said(segment: Segment) -> list[str]:
    """Return the words in lower case without punctuation; the decoder's words in scripts without spaces."""
    written = [word["text"] for word in segment.words] or segment.text.split()
    said = (re.sub(r"\W", "", word).lower() for word in written)
    return [word for word in said if word]


def _loops(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield index ranges in which the words repeat with some period, in one pass.

    Where three words in a row were said before, the distance may be the period of a loop, and is for as long as
    words stay the same as those one period before.
    """
    seen: dict[tuple[str, ...], int] = {}
    index = done = 0
    while index < len(words):
        three = tuple(words[index : index + 3])
        period = index - seen.get(three, index)
        if not period:
            seen[three] = index
            index += 1
            continue
        begin, end = index, index
        while begin > done + period and words[begin - 1] == words[begin - 1 - period]:
            begin -= 1
        while end < len(words) and words[end] == words[end - period]:
            end += 1
        begin -= period
        if end - begin >= max(LOOP_TIMES * period, LOOP_WORDS):
            yield begin, end
            done = end
        for known in range(index, max(end - 2, index + 1)):
            seen[tuple(words[known : known + 3])] = known
        index = max(end - 2, index + 1)


# ---- The decoder's scores


def _unsure(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield, of windows with a low log probability, the segments at or below the window's mean."""
    for window in _windows(segments):
        if (window[0].avg_logprob or 0.0) >= LOGPROB_LIMIT:
            continue
        own = [_logprob(segment) for segment in window]
        limit = max(LOGPROB_LIMIT, sum(own) / len(own))
        yield from (s for s, value in zip(window, own, strict=True) if value <= limit)


def _logprob(segment: Segment) -> float:
    """Return the mean log probability of the segment's words; the window's if there are none."""
    if not segment.words:
        return segment.avg_logprob or 0.0
    logs = [math.log(max(word["probability"], LEAST_PROBABILITY)) for word in segment.words]
    return sum(logs) / len(logs)


def _compressible(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield, of windows with a high compression ratio, the segments that add little to the rest."""
    for window in _windows(segments):
        if (window[0].compression_ratio or 0.0) <= COMPRESSION_RATIO_LIMIT:
            continue
        yield from [s for s in window if _adds_little(s, window)] or window


def _adds_little(segment: Segment, window: Sequence[Segment]) -> bool:
    rest = " ".join(other.text for other in window if other is not segment)
    whole = " ".join(other.text for other in window)
    added = len(zlib.compress(whole.encode())) - len(zlib.compress(rest.encode()))
    return len(segment.text.encode()) > COMPRESSION_RATIO_LIMIT * added


def _windows(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Group segments by decoding window, recognized by the scores that its segments share."""
    for _, window in groupby(
        segments, key=lambda s: (s.chunk_id, s.avg_logprob, s.compression_ratio, s.no_speech_prob)
    ):
        yield list(window)


# ---- Voice activity


def _in_silence(segments: Sequence[Segment], speech: Sequence[Span]) -> Iterator[Segment]:
    """Yield segments with hardly any speech in them, in one pass over both, which are in order of time."""
    first = 0
    for segment in segments:
        while first < len(speech) and speech[first].end <= segment.start:
            first += 1
        spoken = 0.0
        for index in range(first, len(speech)):
            if speech[index].start >= segment.end:
                break
            span = speech[index]
            spoken += min(segment.end, span.end) - max(segment.start, span.start)
        if spoken < SPOKEN_SHARE * (segment.end - segment.start):
            yield segment


def _without_text(speech: Sequence[Span], segments: Sequence[Segment]) -> list[Span]:
    """Return speech that no segment covers and that is long enough to contain words.

    Spans with a short pause between them and no text in it are one stretch.
    """
    stretches: list[Span] = []
    first = 0
    for gap in _gaps(segments):
        while first < len(speech) and speech[first].end <= gap.start:
            first += 1
        stretch: Span | None = None
        for index in range(first, len(speech)):
            if speech[index].start >= gap.end:
                break
            start, end = max(speech[index].start, gap.start), min(speech[index].end, gap.end)
            if stretch and start - stretch.end < PHRASE_PAUSE_SECONDS:
                stretch = Span(stretch.start, end)
                continue
            stretches += [stretch] if stretch else []
            stretch = Span(start, end)
        stretches += [stretch] if stretch else []
    return [stretch for stretch in stretches if stretch.duration >= MISSED_SPEECH_SECONDS]


def _gaps(segments: Sequence[Segment]) -> Iterator[Span]:
    """Yield the gaps between segments, before the first and after the last."""
    position = 0.0
    for segment in segments:
        if segment.start - position >= MISSED_SPEECH_SECONDS:
            yield Span(position, segment.start)
        position = max(position, segment.end)
    yield Span(position, math.inf)
