"""Whatever an engine returns, the segments of a chunk are in order, inside it, and say nothing twice."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.speech.engines.base import Span, TranscribedSegment, Word
from transcription.speech.invariants import enforce

CHUNK = Span(10.0, 130.0)


def said(
    text: str, start: float, *, seconds: float = 1.0, pause_after: int = -1
) -> TranscribedSegment:
    """A segment whose words take so long each; after the word with this number comes a pause of five seconds."""
    words = []
    for number, word in enumerate(text.split()):
        words.append(Word(start, start + seconds, f" {word}", 0.9))
        start += seconds + 5.0 * (number == pause_after)
    return TranscribedSegment(
        words[0].start, words[-1].end, text, tuple(words), -0.2, 0.1, 1.2, 0.0
    )


def wordless(text: str, start: float, end: float) -> TranscribedSegment:
    return TranscribedSegment(start, end, text, (), -0.2, 0.1, 1.2, 0.0)


def texts(segments: Sequence[TranscribedSegment]) -> list[str]:
    return [segment.text for segment in segments]


def words_of(segments: Sequence[TranscribedSegment]) -> list[str]:
    return [word.text for segment in segments for word in segment.words]


def check(segments: Sequence[TranscribedSegment], span: Span = CHUNK) -> None:
    for segment in segments:
        assert segment.text.strip()
        assert span.start <= segment.start <= segment.end <= span.end
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(segment.start <= time <= segment.end for time in times)
    for segment, following in pairwise(segments):
        assert segment.start <= following.start
        assert segment.end <= following.start
        assert not _repeated(segment, following)


def _repeated(segment: TranscribedSegment, following: TranscribedSegment) -> bool:
    return any(
        word.text.strip() == other.text.strip()
        and min(word.end, other.end) - max(word.start, other.start)
        > max(0.1, 0.6 * min(word.end - word.start, other.end - other.start))
        for word in segment.words
        for other in following.words
    )


# ---- What engines return


def test_what_keeps_them_is_left_as_it_is() -> None:
    segments = [said("So it goes", 10.0), said("and goes on", 14.0), wordless("Yes.", 20.0, 21.0)]
    assert enforce(segments, CHUNK) == segments


def test_a_word_that_was_decoded_again_stands_once() -> None:
    first, again = said("here they made laws", 10.0), said("laws in New York", 13.5)
    found = enforce([first, again], CHUNK)
    assert texts(found) == ["here they made laws", "in New York"]
    assert found[1].start == again.words[1].start
    check(found)


def test_a_word_that_was_said_twice_stands_twice() -> None:
    segments = [said("no", 10.0), said("no", 11.0), said("No never", 12.0)]
    assert enforce(segments, CHUNK) == segments


def test_a_word_said_again_is_kept_though_its_time_is_a_little_off() -> None:
    segments = [said("Oh no", 10.0), said("no never", 11.98)]
    assert texts(enforce(segments, CHUNK)) == ["Oh no", "no never"]


def test_what_was_decoded_twice_as_a_whole_stands_once() -> None:
    assert texts(enforce([said("made laws", 10.0), said("Laws!", 11.2)], CHUNK)) == ["made laws"]


def test_speech_found_within_a_pause_of_a_segment_splits_it() -> None:
    around = said("before it and after it", 10.0, pause_after=1)
    found = enforce([around, said("in between", 13.0)], CHUNK)
    assert texts(found) == ["before it", "in between", "and after it"]
    check(found)


def test_two_found_within_one_pause_keep_their_order() -> None:
    around = said("before it and after it", 10.0, pause_after=1)
    found = enforce([said("second", 14.5), around, said("first", 12.5)], CHUNK)
    assert texts(found) == ["before it", "first", "second", "and after it"]
    check(found)


def test_an_overlap_is_divided() -> None:
    found = enforce([said("the second", 10.0), said("and airship", 11.6)], CHUNK)
    assert texts(found) == ["the second", "and airship"]
    assert found[0].end == found[1].start == pytest.approx(11.8)
    check(found)


def test_times_beyond_the_chunk_are_cut_and_words_kept() -> None:
    found = enforce([said("too early by far", 8.0), said("and too late", 128.5)], CHUNK)
    assert words_of(found) == [" too", " early", " by", " far", " and", " too", " late"]
    check(found)


def test_empty_segments_are_dropped_and_bad_times_replaced() -> None:
    broken = replace(said("not a number", 20.0), start=math.nan, end=math.inf)
    broken = replace(broken, words=(replace(broken.words[0], end=math.nan), *broken.words[1:]))
    found = enforce([wordless("  ", 11.0, 12.0), broken], CHUNK)
    assert texts(found) == ["not a number"]
    check(found)


# ---- Any segments

TIMES = st.floats(-5, 140, allow_nan=False) | st.sampled_from([math.nan, math.inf, -math.inf])
NEAR = st.floats(0, 3)
WORD_TEXTS = st.sampled_from([" a", " b", " c", " no", " no,", "d", "  ", ""])


@st.composite
def any_segments(draw: st.DrawFn) -> list[TranscribedSegment]:
    segments = []
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.floats(5, 30) | TIMES)
        words = []
        time = start
        for text in draw(st.lists(WORD_TEXTS, max_size=6)):
            time += draw(NEAR)
            words.append(Word(time, time + draw(NEAR) - 0.1, text, 0.5))
        text = "".join(word.text for word in words).strip() or draw(st.sampled_from(["", "x"]))
        segments.append(
            TranscribedSegment(start, draw(TIMES), text, tuple(words), -0.2, 0.1, 1.2, 0.0)
        )
    return segments


@given(any_segments())
def test_whatever_it_gets_they_hold(segments: list[TranscribedSegment]) -> None:
    found = enforce(segments, CHUNK)
    check(found)
    assert enforce(found, CHUNK) == found


@given(any_segments())
def test_no_word_is_lost_but_those_decoded_twice(segments: list[TranscribedSegment]) -> None:
    before = {word.text for segment in segments if segment.text.strip() for word in segment.words}
    after = set(words_of(enforce(segments, CHUNK)))
    normalized = {"".join(filter(str.isalnum, text)) for text in after}
    assert {"".join(filter(str.isalnum, text)) for text in before} <= normalized | {""}
