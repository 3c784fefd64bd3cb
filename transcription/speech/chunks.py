"""Plan how a recording is cut: spans of speech into streams, streams into chunks.

A *stream* is decoded by one seek loop: a stretch between two silences that fits Whisper's window of 30 s.
Because it ends in silence, Whisper's last timestamp is the end of the speech, and no second window is
needed. A *chunk* is a few streams that are decoded in lockstep and committed together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from transcription.speech.engines.base import Span

MAX_STREAM_SECONDS = 27.0
MAX_SILENCE_SECONDS = 3.0
"""A longer silence ends a stream: within a window it causes hallucinations and imprecise times."""
MIN_CUT_SILENCE_SECONDS = 0.3
MARGIN_SECONDS = 0.25
"""Added around speech, up to the neighbouring stream: voice activity detection starts late."""

FIRST_CHUNK_STREAMS = 1
CHUNK_STREAMS = 4
MAX_CHUNK_SECONDS = 120.0
"""A chunk is held in memory, so with long silences it has fewer streams rather than span hours."""


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A unit of work; times are seconds from the start of the recording."""

    streams: tuple[Span, ...]
    speech: tuple[Span, ...]
    channel: int | None = None
    """The speaker's channel, if channels are speakers."""

    @property
    def start(self) -> float:
        return self.streams[0].start

    @property
    def end(self) -> float:
        return self.streams[-1].end


class Planner:
    """Takes spans of speech, ordered by start, and yields chunks as soon as they are complete."""

    def __init__(self) -> None:
        self._speech: list[Span] = []
        self._streams: list[Span] = []
        self._chunk_speech: list[Span] = []
        self._n_chunks = 0
        self._last_end = 0.0

    def add(self, span: Span) -> Iterator[PlannedChunk]:
        if self._speech and span.start - self._speech[-1].end > MAX_SILENCE_SECONDS:
            self._cut(len(self._speech), next_start=span.start)
            is_too_long = span.start - self._streams[0].start > MAX_CHUNK_SECONDS
            yield from self._chunks(flush=is_too_long)
        while self._speech and self._is_too_long_with(span):
            self._cut(self._best_cut(span), next_start=span.start)
        self._speech.append(span)
        yield from self._chunks()

    def finish(self, duration: float) -> Iterator[PlannedChunk]:
        """Yield the remaining chunks of a recording of `duration` seconds."""
        if self._speech:
            self._cut(len(self._speech), next_start=duration + MARGIN_SECONDS)
        yield from self._chunks(flush=True)

    def _is_too_long_with(self, span: Span) -> bool:
        return span.end - self._speech[0].start + 2 * MARGIN_SECONDS > MAX_STREAM_SECONDS

    def _best_cut(self, following: Span) -> int:
        """The number of spans in the next stream: up to the last silence that is long enough, else the longest one."""
        spans = [*self._speech, following]
        silences = [after.start - before.end for before, after in pairwise(spans)]
        half = self._speech[0].start + MAX_STREAM_SECONDS / 2
        late = [i for i, span in enumerate(self._speech) if span.end > half] or [len(silences) - 1]
        good = [i for i in late if silences[i] >= MIN_CUT_SILENCE_SECONDS]
        return 1 + (good[-1] if good else max(late, key=lambda i: silences[i]))

    def _cut(self, n_spans: int, *, next_start: float) -> None:
        """Make a stream of the first `n_spans` spans of speech."""
        spans, self._speech = self._speech[:n_spans], self._speech[n_spans:]
        if self._speech:
            next_start = self._speech[0].start
        start = max(spans[0].start - MARGIN_SECONDS, self._last_end)
        middle = (spans[-1].end + next_start) / 2
        end = min(spans[-1].end + MARGIN_SECONDS, max(middle, spans[-1].end))
        self._streams.append(Span(round(start, 3), round(end, 3)))
        self._chunk_speech += spans
        self._last_end = end

    def _chunks(self, *, flush: bool = False) -> Iterator[PlannedChunk]:
        """Yield the next chunk if it is complete; an incomplete one too if `flush`."""
        size = CHUNK_STREAMS if self._n_chunks else FIRST_CHUNK_STREAMS
        if len(self._streams) < size and not (flush and self._streams):
            return
        yield PlannedChunk(tuple(self._streams), tuple(self._chunk_speech))
        self._streams, self._chunk_speech = [], []
        self._n_chunks += 1


def plan(spans: Iterable[Span], duration: float) -> Iterator[PlannedChunk]:
    """Plan the chunks of a recording of `duration` seconds, given all its spans of speech."""
    planner = Planner()
    for span in spans:
        yield from planner.add(span)
    yield from planner.finish(duration)
