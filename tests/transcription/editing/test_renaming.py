"""Speakers get their names: everywhere at once, for words that are heard later too, and back again."""

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.retranslation.builders import accept, make_proposal
from tests.retranslation.builders import undo as undo_retranslation
from tests.transcription.builders import diarize_job, make_job, rows, spoken
from tests.transcription.editing.builders import (
    ONE,
    TWO,
    change_segment,
    completed_job,
    editing_state,
    merge_segments,
    next_segment,
    remove_segment,
    rename_speaker,
    segment_with_text,
    undo_edit,
)
from transcription.editing.changes import ConflictError
from transcription.editing.services import UnknownSpeakerError
from transcription.models import Chunk, Diarization, Job, Segment

pytestmark = [pytest.mark.django_db, pytest.mark.both]

TURNS = [(0, 3, ONE), (3, 5, TWO), (5, 8, ONE), (30, 40, TWO)]


@pytest.fixture
def job() -> Job:
    job = make_job("how are you", "fine thanks", "good to hear")
    diarize_job(job, TURNS)
    return job


def speakers(job: Job) -> list[str | None]:
    return [speaker for _, speaker in spoken(job)]


def names(job: Job) -> dict[str, str]:
    found: dict[str, str] = Diarization.objects.get(job=job).names
    return found


def test_a_speaker_is_renamed_everywhere(job: Job) -> None:
    done = rename_speaker(job, ONE, "Ann")
    assert speakers(job) == ["Ann", TWO, "Ann"]
    assert [one.text for one in done.segments] == ["how are you", "good to hear"]
    assert done.segments[0].speaker_confidence is not None
    assert names(job) == {ONE: "Ann"}


def test_two_who_are_called_the_same_are_one_until_that_is_undone(job: Job) -> None:
    before = editing_state(job)[:2]
    change_segment(segment_with_text(job, "good to hear"), speaker=TWO)
    done = rename_speaker(job, ONE, TWO)
    assert speakers(job) == [TWO, TWO, TWO]
    both = rename_speaker(job, TWO, "Ann")
    assert names(job) == {ONE: "Ann", TWO: "Ann"}
    undo_edit(job, both)
    undo_edit(job, done)
    assert speakers(job) == [ONE, TWO, TWO]
    undo_edit(job, job.edits.get(kind="speaker"))
    assert editing_state(job)[:2] == before


def test_of_two_renamed_either_can_be_undone_first(job: Job) -> None:
    before = editing_state(job)[:2]
    first, second = rename_speaker(job, ONE, "Ann"), rename_speaker(job, TWO, "Bob")
    undo_edit(job, first)
    assert speakers(job) == [ONE, "Bob", ONE]
    assert names(job) == {TWO: "Bob"}
    undo_edit(job, second)
    assert editing_state(job)[:2] == before


def test_who_was_renamed_again_must_be_called_as_before_first(job: Job) -> None:
    before = rows(job)
    first, second = rename_speaker(job, ONE, "Ann"), rename_speaker(job, "Ann", "Anna")
    left = editing_state(job)
    with pytest.raises(ConflictError, match="undo that first"):
        undo_edit(job, first)
    assert editing_state(job) == left
    undo_edit(job, second)
    undo_edit(job, first)
    assert rows(job) == before


def test_a_name_given_to_no_segment_but_to_a_voice_can_be_changed_too(job: Job) -> None:
    remove_segment(segment_with_text(job, "fine thanks"))
    done = rename_speaker(job, TWO, "Bob")
    assert (done.segments, names(job)) == ([], {TWO: "Bob"})
    again = rename_speaker(job, "Bob", "Rob")
    with pytest.raises(ConflictError, match="undo that first"):
        undo_edit(job, done)
    undo_edit(job, again)
    undo_edit(job, done)
    assert names(job) == {}


@pytest.mark.parametrize("name", ["Nobody", ""])
def test_somebody_unknown_is_not_renamed_but_told_who_is_there(job: Job, name: str) -> None:
    before = editing_state(job)
    with pytest.raises(UnknownSpeakerError, match=rf"Speakers: {ONE}, {TWO}\."):
        rename_speaker(job, name, "Ann")
    assert editing_state(job) == before


def test_a_transcript_without_diarization_has_names_too() -> None:
    job = completed_job()
    before = rows(job)
    done = rename_speaker(job, ONE, "Ann")
    assert speakers(job) == ["Ann"] * 3
    undo_edit(job, done)
    assert rows(job) == before


@pytest.mark.slow
def test_five_thousand_segments_are_renamed_and_back_in_few_statements() -> None:
    job = _long_job(5_000)
    before = speakers(job)
    assert max(_rename_and_back(job)) < 60
    assert speakers(job) == before


@pytest.mark.slow
def test_ten_times_the_segments_cost_few_statements_more_and_ten_times_the_work() -> None:
    n_statements, seconds = [], []
    for n in (500, 5_000):
        job = _long_job(n)
        began = time.process_time()
        n_statements.append(_rename_and_back(job))
        seconds.append(time.process_time() - began)
    for few, more in zip(*n_statements, strict=True):
        assert few < 15
        assert more - few < 45  # a statement writes hundreds of rows
    assert seconds[1] < 25 * seconds[0]


def _rename_and_back(job: Job) -> tuple[int, int]:
    """How many statements it takes to rename a speaker, and to undo that."""
    with CaptureQueriesContext(connection) as renaming:
        done = rename_speaker(job, ONE, "Ann")
    assert set(speakers(job)) == {"Ann", TWO}
    with CaptureQueriesContext(connection) as undoing:
        undo_edit(job, done)
    return len(renaming), len(undoing)


def _long_job(n: int) -> Job:
    """Nine of ten segments are of one speaker."""
    job = completed_job("how are you")
    chunk = Chunk.objects.get(job=job)
    words = Segment.objects.get(job=job).words
    Segment.objects.bulk_create(
        Segment(
            job=job,
            chunk=chunk,
            start=3.0 * index,
            end=3.0 * index + 3.0,
            text="how are you",
            words=words,
            speaker=ONE if index % 10 else TWO,
        )
        for index in range(1, n)
    )
    return job


# ---- Heard later, found anew


def test_what_is_heard_later_is_said_by_somebody_with_a_name(job: Job) -> None:
    rename_speaker(job, TWO, "Bob")
    accept(make_proposal(job, 30.0, 33.0, "Is anybody there"))
    assert spoken(job)[-1] == ("Is anybody there", "Bob")


def test_speakers_found_anew_have_no_names_and_old_ones_cannot_be_undone(job: Job) -> None:
    renamed, put_right = (
        rename_speaker(job, ONE, "Ann"),
        change_segment(segment_with_text(job, "fine thanks"), speaker="Ann"),
    )
    diarize_job(job, TURNS)
    assert (speakers(job), names(job)) == ([ONE, TWO, ONE], {})
    before = editing_state(job)
    for done in (renamed, put_right):
        with pytest.raises(ConflictError, match="changed since"):
            undo_edit(job, done)
    assert editing_state(job) == before


def _remove(job: Job) -> Any:
    return undo_edit, remove_segment(segment_with_text(job, "fine thanks"))


def _merge(job: Job) -> Any:
    change_segment(segment_with_text(job, "how are you"), speaker=TWO)
    return undo_edit, merge_segments(segment_with_text(job, "how are you"))


def _retranslate(job: Job) -> Any:
    proposal = make_proposal(job, 3.0, 5.0, "")
    accept(proposal)
    return (lambda _, one: undo_retranslation(one)), proposal


each_loss = pytest.mark.parametrize("lose", [_remove, _merge, _retranslate])


@each_loss
def test_a_segment_that_comes_back_is_said_by_who_was_renamed_meanwhile(
    job: Job, lose: Any
) -> None:
    rename_speaker(job, ONE, "Ann")
    take_back, done = lose(job)
    undone = rename_speaker(job, TWO, "Nobody")
    undo_edit(job, undone)
    rename_speaker(job, TWO, "Bob")
    rename_speaker(job, "Bob", "Rob")
    take_back(job, done)
    assert segment_with_text(job, "fine thanks").speaker == "Rob"


def test_who_was_renamed_meanwhile_is_called_so_where_a_speaker_is_undone(job: Job) -> None:
    done = change_segment(segment_with_text(job, "fine thanks"), speaker="Ann")
    rename_speaker(job, TWO, "Bob")
    rename_speaker(job, ONE, "Cid")
    undo_edit(job, done)
    assert speakers(job) == ["Cid", "Bob", "Cid"]


@each_loss
@pytest.mark.parametrize(("turns", "expected"), [([(0, 9, "SPEAKER_7")], "SPEAKER_7"), ([], None)])
def test_a_segment_that_comes_back_is_said_by_who_was_found_anew(
    job: Job, lose: Any, turns: Any, expected: str | None
) -> None:
    take_back, done = lose(job)
    diarize_job(job, turns)
    if expected:
        rename_speaker(job, expected, "Ann")
    take_back(job, done)
    assert segment_with_text(job, "fine thanks").speaker == (expected and "Ann")


def test_a_name_stays_where_a_merged_segment_was_given_another(job: Job) -> None:
    change_segment(segment_with_text(job, "how are you"), speaker=None)
    before = editing_state(job)
    done = merge_segments(segment_with_text(job, "how are you"))
    [whole] = done.segments
    assert whole.speaker == TWO
    change_segment(whole, speaker="Ann")
    left = editing_state(job)
    with pytest.raises(ConflictError, match="changed since"):
        undo_edit(job, done)
    assert editing_state(job) == left
    undo_edit(job, job.edits.latest("pk"))
    undo_edit(job, done)
    assert rows(job) == before[0]
    assert next_segment(segment_with_text(job, "how are you")).speaker == TWO
