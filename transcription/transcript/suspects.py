"""Finds suspects: segments, and gaps between them, that a person should check, with the reasons.

avg_logprob and compression_ratio belong to a decoding window, and all its segments share them (see engines.base).
Of a window beyond a threshold, only the segments that contribute to it are suspect.
"""

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from transcription.models import Job, Segment
from transcription.speech.engines.base import COMPRESSION_RATIO_THRESHOLD, LOGPROB_THRESHOLD, Span
from transcription.speech.segments import uncovered_speech
from transcription.transcript.speaker_split import is_edited

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

MIN_SPEECH_SHARE = 0.2
"""A segment with less speech than this is text in silence; low, as word times are off by tenths of a second."""
MIN_LOST_SPEECH_SECONDS = 1.2
"""Less speech without text, not counting pauses, is often no lost phrase but the edges of words that are there."""
MIN_LOOP_REPEATS, MIN_LOOP_WORDS = 3, 8
"""A loop repeats a phrase at least this often and has at least this many words in all: `no, no, no` is none."""
MIN_PROBABILITY = 1e-4
"""Word probabilities are clipped to this, because zero has no logarithm."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A segment, or None for speech without a segment. Times are seconds from the start of the recording."""

    segment: Segment | None
    start: float
    end: float
    reasons: tuple[str, ...]
    """In the order of REASONS."""
    channel: int | None = None
    """The speaker's, if channels are speakers."""


def find_suspects(*, job: Job) -> list[Suspect]:
    """Find the suspects of a job's transcript, ordered by time. Edited segments are excluded: a person checked them."""
    chunks = job.chunks.order_by("index").values_list("pk", "channel", "speech")
    channel_of: dict[int, int | None] = {}
    speech: dict[int | None, list[Span]] = {None: []}
    for pk, channel, spans in chunks:
        channel_of[pk] = channel
        speech.setdefault(channel, []).extend(Span(start, end) for start, end in spans)
    segments: dict[int | None, list[Segment]] = {channel: [] for channel in speech}
    for segment in job.segments.all():
        segments[channel_of[segment.chunk_id]].append(segment)
    suspects = [
        suspect
        for channel in speech
        for suspect in _find_in_channel(segments[channel], speech[channel], channel)
    ]
    return sorted(suspects, key=lambda suspect: suspect.start)


def _find_in_channel(
    segments: Sequence[Segment], speech: Sequence[Span], channel: int | None
) -> list[Suspect]:
    """The suspects among the segments of one channel, or of all of them mixed; both are ordered by time."""
    reasons: dict[int, set[str]] = {}
    for reason, suspect_segments in (
        (REPETITION, _looping_segments(segments)),
        (LOW_LOG_PROBABILITY, _improbable_segments(segments)),
        (HIGH_COMPRESSION, _compressible_segments(segments)),
        (TEXT_IN_SILENCE, _segments_in_silence(segments, speech)),
    ):
        for segment in suspect_segments:
            reasons.setdefault(segment.pk, set()).add(reason)
    suspects = [
        Suspect(
            s,
            s.start,
            s.end,
            tuple(reason for reason in REASONS if reason in reasons[s.pk]),
            channel,
        )
        for s in segments
        if s.pk in reasons and not is_edited(s)
    ]
    suspects += [
        Suspect(None, span.start, span.end, (SPEECH_WITHOUT_TEXT,), channel)
        for span in uncovered_speech(speech, segments, min_seconds=MIN_LOST_SPEECH_SECONDS)
    ]
    return suspects


# ---- Loops


def _looping_segments(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield segments that overlap a loop: a phrase repeated within a segment or across several."""
    words: list[str] = []
    ends: list[int] = []
    for segment in segments:
        words += _normalized_words(segment)
        ends.append(len(words))
    loops = _find_loops(words)
    loop = next(loops, None)
    begin = 0
    for segment, end in zip(segments, ends, strict=True):
        while loop and loop[1] <= begin:
            loop = next(loops, None)
        if loop and max(begin, loop[0]) < min(end, loop[1]):
            yield segment
        begin = end


def _normalized_words(segment: Segment) -> list[str]:
    """The segment's words in lower case without punctuation; in unspaced scripts, words as the decoder split them."""
    words = [word["text"] for word in segment.words] or segment.text.split()
    normalized = (re.sub(r"\W", "", word).lower() for word in words)
    return [word for word in normalized if word]


def _find_loops(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield index ranges (end exclusive) in which the words repeat periodically, in one pass.

    The distance between two occurrences of a trigram is a candidate for the period. The range extends in both
    directions as long as each word equals the word one period before.
    """
    last_index: dict[tuple[str, ...], int] = {}  # of each trigram
    index = done = 0
    while index < len(words):
        trigram = tuple(words[index : index + 3])
        period = index - last_index.get(trigram, index)
        if not period:
            last_index[trigram] = index
            index += 1
            continue
        begin, end = index, index
        while begin > done + period and words[begin - 1] == words[begin - 1 - period]:
            begin -= 1
        while end < len(words) and words[end] == words[end - period]:
            end += 1
        begin -= period
        if end - begin >= max(MIN_LOOP_REPEATS * period, MIN_LOOP_WORDS):
            yield begin, end
            done = end
        next_index = max(end - 2, index + 1)
        for position in range(index, next_index):
            last_index[tuple(words[position : position + 3])] = position
        index = next_index


# ---- The decoder's scores


def _improbable_segments(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield the segments at or below the mean log probability of a window whose log probability is too low."""
    for window in _windows(segments):
        if (window[0].avg_logprob or 0.0) >= LOGPROB_THRESHOLD:
            continue
        logprobs = [_logprob(segment) for segment in window]
        limit = max(LOGPROB_THRESHOLD, sum(logprobs) / len(logprobs))
        yield from (s for s, logprob in zip(window, logprobs, strict=True) if logprob <= limit)


def _logprob(segment: Segment) -> float:
    """The mean log probability of the segment's words; without words, the window's."""
    if not segment.words:
        return segment.avg_logprob or 0.0
    logs = [math.log(max(word["probability"], MIN_PROBABILITY)) for word in segment.words]
    return sum(logs) / len(logs)


def _compressible_segments(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield the redundant segments of a window whose compression ratio is too high, or all if none is redundant."""
    for window in _windows(segments):
        if (window[0].compression_ratio or 0.0) <= COMPRESSION_RATIO_THRESHOLD:
            continue
        yield from [s for s in window if _is_redundant(s, window)] or window


def _is_redundant(segment: Segment, window: Sequence[Segment]) -> bool:
    """Whether the rest of the window's text compresses the segment's text beyond the threshold."""
    rest = " ".join(other.text for other in window if other is not segment)
    whole = " ".join(other.text for other in window)
    added = len(zlib.compress(whole.encode())) - len(zlib.compress(rest.encode()))
    return len(segment.text.encode()) > COMPRESSION_RATIO_THRESHOLD * added


def _windows(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Group segments by decoding window, which is identified by the scores that its segments share."""
    for _, window in groupby(
        segments, key=lambda s: (s.chunk_id, s.avg_logprob, s.compression_ratio, s.no_speech_prob)
    ):
        yield list(window)


# ---- Voice activity


def _segments_in_silence(segments: Sequence[Segment], speech: Sequence[Span]) -> Iterator[Segment]:
    """Yield segments that hardly overlap speech, in one pass; both are ordered by time."""
    first = 0
    for segment in segments:
        while first < len(speech) and speech[first].end <= segment.start:
            first += 1
        seconds = 0.0
        for index in range(first, len(speech)):
            if speech[index].start >= segment.end:
                break
            span = speech[index]
            seconds += min(segment.end, span.end) - max(segment.start, span.start)
        if seconds < MIN_SPEECH_SHARE * (segment.end - segment.start):
            yield segment
