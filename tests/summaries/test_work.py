"""How a summary is made: in one piece, or in parts that are merged."""

import pytest

from chat.llm.base import Passage, Style, Transcript
from chat.llm.text import count_words
from summaries import map_reduce, services
from tests.summaries.making import begin, now, work
from tests.summaries.provider import MODEL, NAMES, NOTES, SUMMARY, TOPICS, Script, said
from transcription.models import Leased

pytestmark = pytest.mark.django_db(transaction=True)


# ---- Without a provider


@pytest.mark.parametrize("style", list(Style))
def test_the_built_in_model_summarizes(style: Style) -> None:
    summary = begin(n_segments=30, style=style, max_length=40)
    assert work().again_after is None
    made = now(summary)
    assert made.state == Leased.State.DONE, made.error
    assert made.model_used == "local-extractive"
    assert 0 < made.length <= 40
    assert made.length == count_words(made.summary)
    assert 3 <= len(made.topics) <= 8
    assert (made.progress, made.message) == (100, services.COMPLETED)
    assert (made.transcript, made.partials) == ({}, [])
    assert map_reduce.work_on_next() is None


# ---- In parts


def test_what_fits_is_summarized_at_once(provider: str, script: Script) -> None:
    summary = begin(n_segments=3)
    work()
    made = now(summary)
    assert [asked.kind for asked in script.asked] == [SUMMARY, NAMES]
    assert "SPEAKER_1: Point 0" in script.asked[0].content
    assert (made.summary, made.topics, made.length) == ("All of it in short.", TOPICS, 5)
    assert made.model_used == MODEL


def test_what_is_too_long_is_condensed_part_by_part(
    provider: str, script: Script, told: list[tuple[int, str]]
) -> None:
    script.reply = lambda asked: (
        f"Noted {len(script.asked)}." if asked.kind == NOTES else said(asked)
    )
    summary = begin()
    work()
    assert now(summary).state == Leased.State.DONE, now(summary).error
    parts = script.of_kind(NOTES)
    assert len(parts) >= 4
    for index in range(120):
        assert sum(f"Point {index} of" in part.content for part in parts) == 1
    [whole] = script.of_kind(SUMMARY)
    for number in range(1, len(parts) + 1):
        assert f"Noted {number}." in whole.content
    progress = [percent for percent, _ in told]
    assert progress == sorted(progress)
    assert len(set(progress)) == len(parts) + 3
    n = len(parts)
    assert f"Summarizing part 3/{n} ({85 * 2 // n}%)" in [message for _, message in told]
    assert (90, "Finding topics (90%)") in told
    assert told[-1] == (100, services.COMPLETED)


def test_what_the_parts_came_to_is_condensed_again_where_it_is_too_long(
    provider: str, script: Script, told: list[tuple[int, str]]
) -> None:
    script.reply = lambda asked: (
        "Quite a few words were said about it. " * 8 if asked.kind == NOTES else said(asked)
    )
    summary = begin(n_segments=400)
    work()
    assert now(summary).state == Leased.State.DONE, now(summary).error
    assert [m for _, m in told if m.startswith("Merging what was summarized, part 1/")]
    assert [percent for percent, _ in told] == sorted(percent for percent, _ in told)


def test_notes_as_long_as_what_they_are_of_come_to_an_end_too(
    provider: str, script: Script
) -> None:
    script.reply = lambda asked: asked.content if asked.kind == NOTES else said(asked)
    summary = begin()
    work()
    assert now(summary).state == Leased.State.DONE, now(summary).error


def test_what_no_database_takes_is_left_out_of_what_a_model_says(
    provider: str, script: Script
) -> None:
    script.reply = lambda asked: (
        said(asked) if asked.kind == NAMES else "It was \ud800 said\0 at length."
    )
    summary = begin(n_segments=30)
    work()
    made = now(summary)
    assert made.state == Leased.State.DONE, made.error
    assert made.summary == "It was ? said at length."


def test_notes_that_are_too_long_are_cut_in_any_language() -> None:
    part = Transcript((Passage("会议讨论了港口的计划。" * 20, 5.0, 9.0, "SPEAKER_1"),))
    notes = [Passage("会议讨论了港口的计划。" * 20, 5.0)]
    [short] = map_reduce._shorter([notes], [part])
    assert 0 < count_words(short.text) <= count_words(part.passages[0].text) // 2
    assert short.start == 5.0


def test_notes_that_are_short_enough_are_left_as_they_are() -> None:
    parts = [Transcript((Passage("word " * 200),)), Transcript((Passage("Yes."),))]
    notes = [[Passage("Few words.")], [Passage("They said yes.")]]
    assert map_reduce._shorter(notes, parts) == [*notes[0], *notes[1]]
