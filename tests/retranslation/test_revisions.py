"""What came first is read from revisions, not from the clocks of several machines; former rows are numbered."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from retranslation.models import Retranslation
from tests.retranslation.builders import accept, make_proposal, undo
from tests.rows import reload
from tests.transcription.builders import diarize_job, make_job, rows, spoken, texts
from tests.transcription.editing.builders import (
    ONE,
    TWO,
    change_segment,
    completed_job,
    merge_segments,
    remove_segment,
    rename_speaker,
    segment_with_text,
    undo_edit,
)
from transcription.editing.changes import ConflictError
from transcription.editing.services import Edited
from transcription.jobs import retry_and_delete
from transcription.models import Diarization, Edit, Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

HOUR = timedelta(hours=1)


def written_at(done: Edited, hours: int) -> None:
    """The web machine that wrote the edit has a clock that is so many hours off."""
    assert done.edit is not None
    Edit.objects.filter(pk=done.edit.pk).update(created_at=done.edit.created_at + hours * HOUR)


# ---- Clocks that differ


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_comes_back_has_the_speaker_found_since(hours: int) -> None:
    job = completed_job()
    diarize_job(job, [(0, 9, ONE)])
    done = remove_segment(segment_with_text(job, "fine thanks"))
    written_at(done, hours)
    diarize_job(job, [(0, 3, ONE), (3, 5, TWO), (5, 8, ONE)])
    undo_edit(job, Edit.objects.get())
    assert spoken(job)[1] == ("fine thanks", TWO)


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_comes_back_keeps_the_speaker_set_after_diarization(hours: int) -> None:
    job = completed_job()
    diarize_job(job, [(0, 9, ONE)])
    change_segment(segment_with_text(job, "fine thanks"), speaker="Ann")
    done = remove_segment(segment_with_text(job, "fine thanks"))
    written_at(done, hours)
    undo_edit(job, Edit.objects.get(kind="remove"))
    assert spoken(job)[1] == ("fine thanks", "Ann")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_speaker_that_comes_back_has_the_name_given_since(hours: int) -> None:
    job = completed_job()
    done = change_segment(segment_with_text(job, "fine thanks"), speaker=TWO)
    written_at(done, hours)
    rename_speaker(job, ONE, "Ann")
    undo_edit(job, Edit.objects.get(kind="speaker"))
    assert spoken(job)[1] == ("fine thanks", "Ann")


@pytest.mark.parametrize("hours", [-1, 1])
def test_neighbours_that_were_merged_since_are_seen(hours: int) -> None:
    job = completed_job()
    done = remove_segment(segment_with_text(job, "fine thanks"))
    written_at(done, hours)
    merge_segments(segment_with_text(job, "how are you"))
    with pytest.raises(ConflictError, match="were merged since"):
        undo_edit(job, Edit.objects.get(kind="remove"))


def test_a_retranslation_accepted_later_is_undone_first_whatever_the_time() -> None:
    job = completed_job()
    first, second = make_proposal(job, 3.0, 8.0, ""), None
    accept(first)
    second = make_proposal(job, 3.0, 8.0, "Fine thanks")
    accept(second)
    Retranslation.objects.filter(pk=second.pk).update(decided_at=timezone.now() - HOUR)
    with pytest.raises(ConflictError, match="later retranslation"):
        undo(first)
    undo(second)
    undo(first)


def test_what_was_accepted_before_a_rerun_is_not_later_than_what_came_after() -> None:
    job = completed_job()
    for _ in range(3):
        accept(make_proposal(job, 3.0, 5.0, "Nine tanks"))
    assert retry_and_delete.rerun(job_id=job.pk)
    assert reload(job).revision == 3, "revisions count on"


# ---- Rows of the former version


FORMER = [("transcription", "0004_workers"), ("retranslation", "0001_retranslations")]


@pytest.fixture
def former_version() -> Iterator[Any]:
    """Lets the rows be as the former version wrote them: a call migrates back and forth."""

    def latest() -> list[tuple[str, str]]:
        return list(MigrationExecutor(connection).loader.graph.leaf_nodes())

    def rewrite() -> None:
        MigrationExecutor(connection).migrate(FORMER)
        MigrationExecutor(connection).migrate(latest())

    yield rewrite
    # Once more without rows: a table of SQLite that has some gets no check constraint, which other tests need.
    call_command("flush", interactive=False, verbosity=0)
    rewrite()


def numbers(job: Job) -> list[int]:
    return list(Edit.objects.filter(job=job).order_by("pk").values_list("revision", flat=True))


def test_former_rows_can_still_be_undone(former_version: Any) -> None:
    job = make_job("how are you", "fine thanks", "good to hear")
    text = change_segment(segment_with_text(job, "good to hear"), text="Good to hear!")
    diarize_job(job, [(0, 9, ONE)])
    before = rows(job)
    removed = remove_segment(segment_with_text(job, "how are you"))
    proposals = [make_proposal(job, 3.0, 5.0, said) for said in ("Nine tanks",)]
    accept(proposals[0])
    renamed = rename_speaker(job, ONE, "Ann")
    revision = reload(job).revision
    former_version()
    assert numbers(job) == [1, 2, 4], "an accepted retranslation was between"
    assert [one.revision for one in Retranslation.objects.all()] == [3]
    assert Diarization.objects.get().revision == 1
    assert max(numbers(job)) <= revision == reload(job).revision

    later = change_segment(segment_with_text(job, "Nine tanks"), speaker=TWO)
    assert later.edit is not None
    assert later.edit.revision > max(numbers(job)[:-1])
    for done in (later, renamed):
        undo_edit(job, done)
    undo(proposals[0])
    undo_edit(job, removed)
    assert rows(job) == before
    undo_edit(job, text)
    assert texts(job)[-1] == "good to hear"


def test_former_edits_are_in_their_order_whatever_the_clocks_said(former_version: Any) -> None:
    job = completed_job()
    done = [
        change_segment(segment_with_text(job, "how are you"), text="How are you?"),
        change_segment(segment_with_text(job, "fine thanks"), text="Fine, thanks."),
    ]
    written_at(done[0], 1)
    former_version()
    assert numbers(job) == [1, 2]


def test_what_was_accepted_before_a_former_rerun_is_refused_and_blocks_nothing(
    former_version: Any,
) -> None:
    job = completed_job()
    gone = make_proposal(job, 3.0, 5.0, "Nine tanks")
    accept(gone)
    job.chunks.all().delete()
    again = completed_job()
    again.chunks.update(job=job)
    again.segments.update(job=job)
    Job.objects.filter(pk=job.pk).update(run=2, revision=0, started_at=timezone.now())
    accepted = make_proposal(job, 3.0, 5.0, "Mine tanks")
    accept(accepted)
    former_version()
    assert (reload(gone).revision, reload(accepted).revision) == (0, 1)
    with pytest.raises(ConflictError, match="undo that first"):
        undo(gone)
    undo(accepted)
    assert texts(job)[1] == "fine thanks"
