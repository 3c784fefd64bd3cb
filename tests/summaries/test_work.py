"""Making a summary: in one part, or in parts that are merged."""

import pytest

from chat.llm.base import Passage, Style, Transcript
from chat.llm.text import count_words
from summaries import map_reduce, services
from tests.rows import reload
from tests.summaries.builders import request_summary, summarize_next
from tests.summaries.fake_provider import MODEL, TOPICS, Kind, Script, default_reply
from transcription.models import Leased

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]


# ---- Without a provider


@pytest.mark.parametrize("style", list(Style))
def test_the_built_in_model_summarizes(style: Style) -> None:
    summary = request_summary(n_segments=30, style=style, max_length=40)
    assert summarize_next().retry_after is None
    made = reload(summary)
    assert made.state == Leased.State.DONE, made.error
    assert made.model_used == "local-extractive"
    assert 0 < made.length <= 40
    assert made.length == count_words(made.summary)
    assert 3 <= len(made.topics) <= 8
    assert (made.progress, made.message) == (100, services.COMPLETED)
    assert (made.transcript, made.partials) == ({}, [])
    assert map_reduce.summarize_next() is None


# ---- In parts


def test_a_transcript_that_fits_the_context_is_summarized_in_one_request(
    provider: str, script: Script
) -> None:
    summary = request_summary(n_segments=3)
    summarize_next()
    made = reload(summary)
    assert [request.kind for request in script.requests] == [Kind.SUMMARY, Kind.TOPICS]
    assert "SPEAKER_1: Point 0" in script.requests[0].content
    assert (made.summary, made.topics, made.length) == ("All of it in short.", TOPICS, 5)
    assert made.model_used == MODEL


def test_a_long_transcript_is_condensed_part_by_part(
    provider: str, script: Script, updates: list[tuple[int, str]]
) -> None:
    script.reply = lambda request: (
        f"Noted {len(script.requests)}." if request.kind == Kind.NOTES else default_reply(request)
    )
    summary = request_summary()
    summarize_next()
    assert reload(summary).state == Leased.State.DONE, reload(summary).error
    parts = script.of_kind(Kind.NOTES)
    assert len(parts) >= 4
    for index in range(120):
        assert sum(f"Point {index} of" in part.content for part in parts) == 1
    [whole] = script.of_kind(Kind.SUMMARY)
    for number in range(1, len(parts) + 1):
        assert f"Noted {number}." in whole.content
    progress = [percent for percent, _ in updates]
    assert progress == sorted(progress)
    assert len(set(progress)) == len(parts) + 3
    n = len(parts)
    assert f"Summarizing part 3/{n} ({85 * 2 // n}%)" in [message for _, message in updates]
    assert (90, "Finding topics (90%)") in updates
    assert updates[-1] == (100, services.COMPLETED)


def test_notes_that_are_too_long_are_condensed_again(
    provider: str, script: Script, updates: list[tuple[int, str]]
) -> None:
    script.reply = lambda request: (
        "Quite a few words were said about it. " * 8
        if request.kind == Kind.NOTES
        else default_reply(request)
    )
    summary = request_summary(n_segments=400)
    summarize_next()
    assert reload(summary).state == Leased.State.DONE, reload(summary).error
    assert [m for _, m in updates if m.startswith("Merging the parts' summaries, part 1/")]
    assert [percent for percent, _ in updates] == sorted(percent for percent, _ in updates)


def test_the_reduction_ends_though_notes_are_as_long_as_their_parts(
    provider: str, script: Script
) -> None:
    script.reply = lambda request: (
        request.content if request.kind == Kind.NOTES else default_reply(request)
    )
    summary = request_summary()
    summarize_next()
    assert reload(summary).state == Leased.State.DONE, reload(summary).error


def test_characters_that_no_database_takes_are_removed_from_replies(
    provider: str, script: Script
) -> None:
    script.reply = lambda request: (
        default_reply(request) if request.kind == Kind.TOPICS else "It was \ud800 said\0 at length."
    )
    summary = request_summary(n_segments=30)
    summarize_next()
    made = reload(summary)
    assert made.state == Leased.State.DONE, made.error
    assert made.summary == "It was ? said at length."


def test_notes_that_are_too_long_are_truncated_in_any_language() -> None:
    part = Transcript((Passage("会议讨论了港口的计划。" * 20, 5.0, 9.0, "SPEAKER_1"),))
    notes = [Passage("会议讨论了港口的计划。" * 20, 5.0)]
    [short] = map_reduce._limit_notes([notes], [part])
    assert 0 < count_words(short.text) <= count_words(part.passages[0].text) // 2
    assert short.start == 5.0


def test_notes_that_are_short_enough_are_left_as_they_are() -> None:
    parts = [Transcript((Passage("word " * 200),)), Transcript((Passage("Yes."),))]
    notes = [[Passage("Few words.")], [Passage("They said yes.")]]
    assert map_reduce._limit_notes(notes, parts) == [*notes[0], *notes[1]]
