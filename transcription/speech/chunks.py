"""How a recording is cut: spans of speech into streams, streams into chunks.

A *stream* is what one seek loop decodes: a stretch between two silences that fits Whisper's window of
30 s. Because it ends where nobody speaks, the last timestamp that Whisper writes is the end of what was
said, and no time is spent on seeking back. A *chunk* is a few streams that are decoded in lockstep and
committed together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from transcription.speech.engines.base import Span

LONGEST_STREAM_SECONDS = 27.0
LONGEST_SILENCE_SECONDS = 3.0
"""A longer silence ends a stream: inside a window it invites invented words and vague times."""
GOOD_SILENCE_SECONDS = 0.3
MARGIN_SECONDS = 0.25
"""Kept around speech, as far as the neighbouring stream leaves room: voice activity starts late."""

FIRST_CHUNK_STREAMS = 1
CHUNK_STREAMS = 4
LONGEST_CHUNK_SECONDS = 120.0
"""A chunk is read as a whole: where people speak seldom, it ends early rather than span hours."""


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A unit of work; times are seconds from the start of the recording."""

    streams: tuple[Span, ...]
    speech: tuple[Span, ...]

    @property
    def start(self) -> float:
        return self.streams[0].start

    @property
    def end(self) -> float:
        return self.streams[-1].end


class Planner:
    """Takes spans of speech in order of time and gives chunks as soon as they are known."""

    def __init__(self) -> None:
        self._speech: list[Span] = []
        self._streams: list[Span] = []
        self._chunk_speech: list[Span] = []
        self._n_chunks = 0
        self._last_end = 0.0

    def add(self, span: Span) -> Iterator[PlannedChunk]:
        if self._speech and span.start - self._speech[-1].end > LONGEST_SILENCE_SECONDS:
            self._cut(len(self._speech), next_start=span.start)
            too_far = span.start - self._streams[0].start > LONGEST_CHUNK_SECONDS
            yield from self._chunks(at_once=too_far)
        while self._speech and self._too_long_with(span):
            self._cut(self._best_cut(span), next_start=span.start)
        self._speech.append(span)
        yield from self._chunks()

    def finish(self, duration: float) -> Iterator[PlannedChunk]:
        """The rest, of a recording of `duration` seconds."""
        if self._speech:
            self._cut(len(self._speech), next_start=duration + MARGIN_SECONDS)
        yield from self._chunks(at_once=True)

    def _too_long_with(self, span: Span) -> bool:
        return span.end - self._speech[0].start + 2 * MARGIN_SECONDS > LONGEST_STREAM_SECONDS

    def _best_cut(self, following: Span) -> int:
        """How many spans to take: up to the latest good silence, or else up to the longest one."""
        spans = [*self._speech, following]
        silences = [after.start - before.end for before, after in pairwise(spans)]
        half = self._speech[0].start + LONGEST_STREAM_SECONDS / 2
        late = [i for i, span in enumerate(self._speech) if span.end > half] or [len(silences) - 1]
        good = [i for i in late if silences[i] >= GOOD_SILENCE_SECONDS]
        return 1 + (good[-1] if good else max(late, key=lambda i: silences[i]))

    def _cut(self, n_spans: int, *, next_start: float) -> None:
        taken, self._speech = self._speech[:n_spans], self._speech[n_spans:]
        if self._speech:
            next_start = self._speech[0].start
        start = max(taken[0].start - MARGIN_SECONDS, self._last_end)
        middle = (taken[-1].end + next_start) / 2
        end = min(taken[-1].end + MARGIN_SECONDS, max(middle, taken[-1].end))
        self._streams.append(Span(round(start, 3), round(end, 3)))
        self._chunk_speech += taken
        self._last_end = end

    def _chunks(self, *, at_once: bool = False) -> Iterator[PlannedChunk]:
        size = CHUNK_STREAMS if self._n_chunks else FIRST_CHUNK_STREAMS
        if len(self._streams) < size and not (at_once and self._streams):
            return
        yield PlannedChunk(tuple(self._streams), tuple(self._chunk_speech))
        self._streams, self._chunk_speech = [], []
        self._n_chunks += 1


def plan(spans: Iterable[Span], duration: float) -> Iterator[PlannedChunk]:
    """The chunks of a recording whose spans of speech are known."""
    planner = Planner()
    for span in spans:
        yield from planner.add(span)
    yield from planner.finish(duration)
