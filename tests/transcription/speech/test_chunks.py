"""How a recording is cut: nothing is lost, nothing comes twice, nothing is too long for Whisper."""

import random
from itertools import chain, pairwise

import pytest

from transcription.speech.chunks import (
    CHUNK_STREAMS,
    FIRST_CHUNK_STREAMS,
    MARGIN_SECONDS,
    MAX_SILENCE_SECONDS,
    Planner,
    plan,
)
from transcription.speech.engines.base import Span

ROUNDING = 0.0011


def conversation(seed: int) -> tuple[list[Span], float]:
    """Spans of speech as voice activity gives them, and the recording's duration."""
    generator = random.Random(seed)
    longest_span = generator.choice([2.0, 10.0, 28.1])
    longest_silence = generator.choice([0.5, 2.0, 40.0])
    spans, now = [], generator.uniform(0, longest_silence)
    for _ in range(generator.randrange(1, 120)):
        begin, now = now, now + generator.uniform(0.1, longest_span)
        spans.append(Span(begin, now))
        now += generator.choice([0.0, 0.1, generator.uniform(0.1, longest_silence)])
    return spans, spans[-1].end + generator.choice([0.0, 0.01, generator.uniform(0, 40)])


@pytest.mark.parametrize("seed", range(200))
def test_a_plan_holds_all_speech_once_in_streams_that_fit_a_window(seed: int) -> None:
    spans, duration = conversation(seed)
    chunks = list(plan(spans, duration))
    streams = list(chain.from_iterable(chunk.streams for chunk in chunks))

    assert list(chain.from_iterable(chunk.speech for chunk in chunks)) == spans
    for before, after in pairwise(streams):
        assert before.end <= after.start + ROUNDING
    assert streams[0].start >= 0
    assert streams[-1].end <= duration + MARGIN_SECONDS  # samples are read as far as there are any
    for span in spans:
        holders = [
            s for s in streams if s.start - ROUNDING <= span.start and span.end <= s.end + ROUNDING
        ]
        assert len(holders) == 1
    for stream in streams:
        held = [s for s in spans if stream.start - ROUNDING <= s.start < stream.end - ROUNDING]
        assert held
        assert stream.duration <= 30 or len(held) == 1
        silences = [after.start - before.end for before, after in pairwise(held)]
        assert all(silence <= MAX_SILENCE_SECONDS for silence in silences)
    for chunk in chunks:
        assert chunk.start == chunk.streams[0].start
        assert chunk.end == chunk.streams[-1].end


@pytest.mark.parametrize("seed", range(20))
def test_the_first_chunk_is_short_and_the_others_are_full(seed: int) -> None:
    chunks = list(plan(*conversation(seed)))
    sizes = [len(chunk.streams) for chunk in chunks]
    assert 0 < sizes[0] <= FIRST_CHUNK_STREAMS + 1  # one span can end two streams
    assert all(CHUNK_STREAMS <= size <= CHUNK_STREAMS + 1 for size in sizes[1:-1])
    assert all(0 < size <= CHUNK_STREAMS + 1 for size in sizes[1:])


def test_without_speech_there_is_no_chunk() -> None:
    assert list(plan([], 3600.0)) == []


def test_a_span_longer_than_the_window_is_a_stream_of_its_own() -> None:
    spans = [Span(0, 5), Span(5.5, 45), Span(45.2, 50)]
    streams = list(chain.from_iterable(c.streams for c in plan(spans, 50)))
    assert [(round(s.start), round(s.end)) for s in streams] == [(0, 5), (5, 45), (45, 50)]


def test_a_cut_is_made_at_the_latest_good_silence() -> None:
    spans = [Span(0, 10), Span(10.1, 18), Span(18.5, 22), Span(22.1, 28), Span(28.1, 33)]
    streams = list(chain.from_iterable(c.streams for c in plan(spans, 33)))
    assert streams[0].end == pytest.approx(18.25)
    assert streams[1].start == pytest.approx(18.25)


def test_chunks_are_known_while_the_recording_is_still_read() -> None:
    planner = Planner()
    known = [list(planner.add(Span(20.0 * i, 20.0 * i + 15))) for i in range(6)]
    assert [len(chunks) for chunks in known] == [0, 1, 0, 0, 0, 1]


def test_a_chunk_does_not_span_the_hours_between_words() -> None:
    """As in radio traffic: its samples are read in one piece."""
    spoken = [Span(start, start + 4.0) for start in range(0, 4 * 3600, 600)]
    found = list(plan(spoken, 4 * 3600.0))
    assert all(chunk.end - chunk.start < 200 for chunk in found)
    assert [span for chunk in found for span in chunk.speech] == spoken
    assert len([stream for chunk in found for stream in chunk.streams]) == len(spoken)
