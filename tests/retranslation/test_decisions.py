"""Decisions about retranslations: conflicts with later changes, races, and undo."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from retranslation.models import Retranslation
from tests.retranslation.builders import ONE, TWO, accept, make_proposal, reject, undo
from tests.rows import reload
from tests.threads import run_concurrently
from tests.transcription.builders import (
    add_chunk,
    add_segment,
    ids,
    make_job,
    rows,
    texts,
    words_of,
)
from transcription.editing.changes import ConflictError
from transcription.jobs import retry_and_delete
from transcription.models import Job, Leased, Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

# ---- Conflicts


def _edit(job: Job) -> None:
    job.segments.filter(text="fine thanks").update(text="Fine!")


def _move(job: Job) -> None:
    job.segments.filter(text="fine thanks").update(end=5.5)


def _other_speaker(job: Job) -> None:
    job.segments.filter(text="fine thanks").update(speaker=TWO)


def _delete(job: Job) -> None:
    job.segments.filter(text="fine thanks").delete()


def _other_words(job: Job) -> None:
    job.segments.filter(text="fine thanks").update(words=words_of("fine thanks", 3.1))


def _add(job: Job) -> None:
    add_segment(job.chunks.get(), "oh well", 3.0)


def _rerun(job: Job) -> None:
    assert retry_and_delete.rerun(job_id=job.pk)
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DONE)
    add_segment(add_chunk(job, 0, state=Leased.State.DONE), "fine thanks", 3.0)


Change = Callable[[Job], None]
ALL_CHANGES = [_edit, _move, _delete, _other_words, _add, _rerun]


@pytest.mark.parametrize("change", ALL_CHANGES)
def test_a_later_change_is_not_overwritten(job: Job, change: Change) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Fine, thanks.")
    change(job)
    before = rows(job)
    revision = reload(job).revision
    with pytest.raises(ConflictError, match="changed since it was retranslated"):
        accept(proposal)
    assert rows(job) == before
    assert reload(job).revision == revision
    proposal.refresh_from_db()
    assert (proposal.decision, proposal.decided_at) == ("none", None)


def test_missed_speech_that_was_added_since_is_not_added_again(job: Job) -> None:
    proposal = make_proposal(job, 30.0, 33.0, "Is anybody there")
    accept(make_proposal(job, 29.0, 34.0, "Is anyone there", at=30.0))
    with pytest.raises(ConflictError):
        accept(proposal)
    assert texts(job)[3:] == ["Is anyone there"]


def test_a_range_of_an_unfinished_chunk_cannot_be_accepted(job: Job) -> None:
    add_chunk(job, 1)
    job.chunks.filter(index=0).update(end=10.0)
    job.chunks.filter(index=1).update(start=10.0)
    with pytest.raises(ConflictError, match="not transcribed yet"):
        accept(make_proposal(job, 9.0, 12.0, "Is anybody there"))
    accept(make_proposal(job, 3.0, 5.0, "Fine thanks"))
    assert texts(job) == ["how are you", "Fine thanks", "good to hear"]


def test_a_range_beyond_the_known_chunks_cannot_be_accepted(job: Job) -> None:
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DOING)
    with pytest.raises(ConflictError, match="not transcribed yet"):
        accept(make_proposal(job, 599.0, 602.0, "Is anybody there"))


@pytest.mark.parametrize("decide", [accept, reject])
def test_a_retranslation_without_result_cannot_be_decided(job: Job, decide: Any) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Fine")
    rows_of_it = Retranslation.objects.filter(pk=proposal.pk)
    rows_of_it.update(state=Leased.State.DOING)
    with pytest.raises(ConflictError, match="processing: Transcribing"):
        decide(proposal)
    rows_of_it.update(state=Leased.State.FAILED, error="The model broke.")
    with pytest.raises(ConflictError, match=r"failed: The model broke\."):
        decide(proposal)


@pytest.mark.parametrize("decide", [accept, reject])
def test_a_decision_is_made_once(job: Job, decide: Any) -> None:
    accepted, rejected = make_proposal(job, 3.0, 5.0, "Fine"), make_proposal(job, 3.0, 5.0, "Nine")
    accept(accepted)
    reject(rejected)
    before = rows(job)
    for proposal, word in ((accepted, "accepted"), (rejected, "rejected")):
        with pytest.raises(ConflictError, match=f"already {word}"):
            decide(proposal)
    assert rows(job) == before


def test_a_clip_without_a_job_can_be_rejected_but_not_accepted() -> None:
    clip = make_proposal(None, 3.0, 5.0, "Fine")
    with pytest.raises(ConflictError, match="job_id"):
        accept(clip)
    assert reject(clip)["decision"] == "rejected"


def test_a_deleted_retranslation_cannot_be_decided(job: Job) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Fine")
    retry_and_delete.delete_job(job_id=job.pk)
    for decide in (accept, reject, undo):
        with pytest.raises(Retranslation.DoesNotExist):
            decide(proposal)


def test_rejecting_changes_nothing(job: Job) -> None:
    before = rows(job)
    answer = reject(make_proposal(job, 3.0, 5.0, "Nine"))
    assert (answer["decision"], answer["decided_by"]) == ("rejected", "bob")
    assert rows(job) == before
    assert reload(job).revision == 0


@pytest.mark.usefixtures("database_file")
def test_of_two_concurrent_accepts_one_wins() -> None:
    job = make_job("how are you", "fine thanks")
    before = rows(job)
    for n_rounds in range(5):
        proposed = [make_proposal(job, 3.0, 5.0, text) for text in ("Nine", "Mine")]
        results = run_concurrently(*(partial(accept, one) for one in proposed))
        [winner] = [answer for answer in results if isinstance(answer, dict)]
        assert [type(answer) for answer in results if answer is not winner] == [ConflictError]
        assert texts(job)[1] == winner["text"]
        assert reload(job).revision == 2 * n_rounds + 1
        undo(Retranslation.objects.get(pk=winner["id"]))
        assert rows(job) == before


@pytest.mark.usefixtures("database_file")
def test_of_concurrent_accept_and_reject_one_wins() -> None:
    job = make_job("how are you", "fine thanks")
    for _ in range(5):
        proposal = make_proposal(job, 3.0, 5.0, "Nine")
        results = run_concurrently(partial(accept, proposal), partial(reject, proposal))
        [winner] = [answer for answer in results if isinstance(answer, dict)]
        assert [type(answer) for answer in results if answer is not winner] == [ConflictError]
        assert texts(job)[1] == ("Nine" if winner["decision"] == "accepted" else "fine thanks")
        undo(proposal)


# ---- Undo

RANGES = [
    pytest.param(3.0, 5.0, "Fine many thanks", 3.0, id="other words"),
    pytest.param(3.0, 8.0, "", 3.0, id="all go"),
    pytest.param(2.0, 6.0, "they mine tanks bad", 2.0, id="parts"),
    pytest.param(4.0, 35.0, "thanks good to hear", 4.0, id="the same words"),
    pytest.param(5.0, 35.0, "Is anybody there", 30.0, id="one goes, one is added"),
]


@pytest.mark.parametrize(("start", "end", "text", "at"), RANGES)
def test_undo_restores_all_rows_and_allows_another_accept(
    job: Job, start: float, end: float, text: str, at: float
) -> None:
    before = rows(job)
    proposal = make_proposal(job, start, end, text, at=at)
    accept(proposal)
    changed = rows(job)
    assert changed != before
    answer = undo(proposal)
    assert rows(job) == before
    assert (answer["decision"], answer["decided_by"], answer["decided_at"]) == ("none", "", None)
    assert not set(reload(job).removed_segments) & set(ids(job))
    accept(proposal)
    assert [{**row, "id": 0} for row in rows(job)] == [{**row, "id": 0} for row in changed]
    assert reload(job).revision == 3
    undo(proposal)
    assert rows(job) == before


def test_an_added_segment_gets_a_new_id_when_it_is_added_again(job: Job) -> None:
    proposal = make_proposal(job, 30.0, 33.0, "Is anybody there")
    first = accept(proposal)["changes"][0]["segment_id"]
    assert undo(proposal)["changes"][0]["segment_id"] is None
    assert reload(job).removed_segments == [first]
    assert accept(proposal)["changes"][0]["segment_id"] > first


@pytest.mark.parametrize("change", [_edit, _move, _delete, _other_words])
def test_undo_after_a_later_change_is_a_conflict(job: Job, change: Change) -> None:
    job.segments.filter(text="fine thanks").update(text="Find tanks")
    proposal = make_proposal(job, 3.0, 5.0, "fine thanks")
    accept(proposal)
    change(job)
    before = rows(job)
    with pytest.raises(ConflictError, match="changed since"):
        undo(proposal)
    assert rows(job) == before
    proposal.refresh_from_db()
    assert proposal.decision == "accepted"


def test_accept_and_undo_keep_a_speaker_that_was_corrected(job: Job) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Fine, thanks.")
    _other_speaker(job)
    accept(proposal)
    assert job.segments.get(text="Fine, thanks.").speaker == TWO
    job.segments.filter(text="Fine, thanks.").update(speaker=ONE)
    undo(proposal)
    assert job.segments.get(text="fine thanks").speaker == ONE


def test_overlapping_retranslations_are_undone_in_reverse_order(job: Job) -> None:
    before = rows(job)
    emptied, filled = make_proposal(job, 3.0, 8.0, ""), None
    accept(emptied)
    filled = make_proposal(job, 3.0, 8.0, "Fine thanks")
    accept(filled)
    with pytest.raises(ConflictError, match="undo that first"):
        undo(emptied)
    undo(filled)
    undo(emptied)
    assert rows(job) == before


def test_undo_after_a_rerun_is_a_conflict(job: Job) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "")
    accept(proposal)
    _rerun(job)
    before = rows(job)
    with pytest.raises(ConflictError, match="changed since"):
        undo(proposal)
    assert rows(job) == before


def test_a_rejection_can_be_undone(job: Job) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Fine")
    with pytest.raises(ConflictError, match="no decision to undo"):
        undo(proposal)
    reject(proposal)
    assert undo(proposal)["decision"] == "none"
    accept(proposal)
    assert texts(job)[1] == "Fine"
