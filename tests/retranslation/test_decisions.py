"""Who decides about a retranslation, and when: what changed meanwhile is never lost, and all can be taken back."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection

from retranslation.models import Retranslation
from tests.retranslation.proposed import accept, heard, reject, rows, texts, undo, words_of
from tests.transcription.diarized import add_chunk, add_segment, ids, make_job, now
from transcription.editing.changes import ConflictError
from transcription.jobs import retry_and_delete
from transcription.models import Job, Leased, Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

ONE, TWO = "SPEAKER_1", "SPEAKER_2"


@pytest.fixture
def job() -> Job:
    """A second for each word, from 0 on."""
    job = make_job("how are you", "fine thanks", "good to hear")
    job.segments.update(speaker=ONE, speaker_confidence=0.75)
    return job


# ---- What forbids it


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


def _do_again(job: Job) -> None:
    assert retry_and_delete.rerun(job_id=job.pk)
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DONE)
    add_segment(add_chunk(job, 0, state=Leased.State.DONE), "fine thanks", 3.0)


Meanwhile = Callable[[Job], None]
ALL_CHANGES = [_edit, _move, _delete, _other_words, _add, _do_again]


@pytest.mark.parametrize("meanwhile", ALL_CHANGES)
def test_what_changed_meanwhile_is_not_overwritten(job: Job, meanwhile: Meanwhile) -> None:
    proposal = heard(job, 3.0, 5.0, "Fine, thanks.")
    meanwhile(job)
    before = rows(job)
    revision = now(job).revision
    with pytest.raises(ConflictError, match="changed here meanwhile"):
        accept(proposal)
    assert rows(job) == before
    assert now(job).revision == revision
    proposal.refresh_from_db()
    assert (proposal.decision, proposal.decided_at) == ("none", None)


def test_text_that_appeared_where_speech_was_missed_is_not_doubled(job: Job) -> None:
    proposal = heard(job, 30.0, 33.0, "Is anybody there")
    accept(heard(job, 29.0, 34.0, "Is anyone there", at=30.0))
    with pytest.raises(ConflictError):
        accept(proposal)
    assert texts(job)[3:] == ["Is anyone there"]


def test_what_is_not_transcribed_yet_is_left_to_its_worker(job: Job) -> None:
    add_chunk(job, 1)
    job.chunks.filter(index=0).update(end=10.0)
    job.chunks.filter(index=1).update(start=10.0)
    with pytest.raises(ConflictError, match="not transcribed yet"):
        accept(heard(job, 9.0, 12.0, "Is anybody there"))
    accept(heard(job, 3.0, 5.0, "Fine thanks"))
    assert texts(job) == ["how are you", "Fine thanks", "good to hear"]


def test_what_is_beyond_the_chunks_known_so_far_is_not_transcribed_yet(job: Job) -> None:
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DOING)
    with pytest.raises(ConflictError, match="not transcribed yet"):
        accept(heard(job, 599.0, 602.0, "Is anybody there"))


@pytest.mark.parametrize("decide", [accept, reject])
def test_what_is_not_finished_cannot_be_decided(job: Job, decide: Any) -> None:
    proposal = heard(job, 3.0, 5.0, "Fine")
    rows_of_it = Retranslation.objects.filter(pk=proposal.pk)
    rows_of_it.update(state=Leased.State.DOING)
    with pytest.raises(ConflictError, match=r"processing\. Transcribing"):
        decide(proposal)
    rows_of_it.update(state=Leased.State.FAILED, error="The model broke.")
    with pytest.raises(ConflictError, match=r"failed\. The model broke\."):
        decide(proposal)


@pytest.mark.parametrize("decide", [accept, reject])
def test_what_is_decided_is_not_decided_twice(job: Job, decide: Any) -> None:
    accepted, rejected = heard(job, 3.0, 5.0, "Fine"), heard(job, 3.0, 5.0, "Nine")
    accept(accepted)
    reject(rejected)
    before = rows(job)
    for proposal, word in ((accepted, "accepted"), (rejected, "rejected")):
        with pytest.raises(ConflictError, match=f"{word} already"):
            decide(proposal)
    assert rows(job) == before


def test_a_clip_of_no_job_cannot_be_accepted_but_rejected() -> None:
    clip = heard(None, 3.0, 5.0, "Fine")
    with pytest.raises(ConflictError, match="job_id"):
        accept(clip)
    assert reject(clip)["decision"] == "rejected"


def test_who_decides_about_what_is_gone_learns_that(job: Job) -> None:
    proposal = heard(job, 3.0, 5.0, "Fine")
    retry_and_delete.delete_job(job_id=job.pk)
    for decide in (accept, reject, undo):
        with pytest.raises(Retranslation.DoesNotExist):
            decide(proposal)


def test_a_rejected_one_changes_nothing(job: Job) -> None:
    before = rows(job)
    answer = reject(heard(job, 3.0, 5.0, "Nine"))
    assert (answer["decision"], answer["decided_by"]) == ("rejected", "bob")
    assert rows(job) == before
    assert now(job).revision == 0


@pytest.mark.usefixtures("database_file")
def test_of_two_who_accept_different_proposals_at_once_one_wins() -> None:
    job = make_job("how are you", "fine thanks")
    before = rows(job)
    for n_rounds in range(5):
        proposed = [heard(job, 3.0, 5.0, text) for text in ("Nine", "Mine")]
        found = at_once(*(partial(accept, one) for one in proposed))
        [won] = [answer for answer in found if isinstance(answer, dict)]
        assert [type(answer) for answer in found if answer is not won] == [ConflictError]
        assert texts(job)[1] == won["text"]
        assert now(job).revision == 2 * n_rounds + 1
        undo(Retranslation.objects.get(pk=won["id"]))
        assert rows(job) == before


@pytest.mark.usefixtures("database_file")
def test_one_that_is_accepted_and_rejected_at_once_is_one_of_both() -> None:
    job = make_job("how are you", "fine thanks")
    for _ in range(5):
        proposal = heard(job, 3.0, 5.0, "Nine")
        found = at_once(partial(accept, proposal), partial(reject, proposal))
        [won] = [answer for answer in found if isinstance(answer, dict)]
        assert [type(answer) for answer in found if answer is not won] == [ConflictError]
        assert texts(job)[1] == ("Nine" if won["decision"] == "accepted" else "fine thanks")
        undo(proposal)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned, or raised, each in a thread with a connection of its own."""
    found: list[Any] = [None] * len(calls)
    ready = threading.Barrier(len(calls))

    def call(index: int) -> None:
        ready.wait(10)
        try:
            found[index] = calls[index]()
        except Exception as error:
            found[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


# ---- Taking it back

RANGES = [
    pytest.param(3.0, 5.0, "Fine many thanks", 3.0, id="other words"),
    pytest.param(3.0, 8.0, "", 3.0, id="all go"),
    pytest.param(2.0, 6.0, "they mine tanks bad", 2.0, id="parts"),
    pytest.param(4.0, 35.0, "thanks good to hear", 4.0, id="the same words"),
    pytest.param(5.0, 35.0, "Is anybody there", 30.0, id="one goes, one is added"),
]


@pytest.mark.parametrize(("start", "end", "text", "at"), RANGES)
def test_undone_all_rows_are_as_they_were_and_it_can_be_accepted_again(
    job: Job, start: float, end: float, text: str, at: float
) -> None:
    before = rows(job)
    proposal = heard(job, start, end, text, at=at)
    accept(proposal)
    changed = rows(job)
    assert changed != before
    answer = undo(proposal)
    assert rows(job) == before
    assert (answer["decision"], answer["decided_by"], answer["decided_at"]) == ("none", "", None)
    assert not set(now(job).removed_segments) & set(ids(job))
    accept(proposal)
    assert [{**row, "id": 0} for row in rows(job)] == [{**row, "id": 0} for row in changed]
    assert now(job).revision == 3
    undo(proposal)
    assert rows(job) == before


def test_what_was_added_gets_another_id_when_it_is_added_again(job: Job) -> None:
    proposal = heard(job, 30.0, 33.0, "Is anybody there")
    first = accept(proposal)["changes"][0]["segment_id"]
    assert undo(proposal)["changes"][0]["segment_id"] is None
    assert now(job).removed_segments == [first]
    assert accept(proposal)["changes"][0]["segment_id"] > first


@pytest.mark.parametrize("since", [_edit, _move, _delete, _other_words])
def test_what_changed_since_cannot_be_taken_back(job: Job, since: Meanwhile) -> None:
    job.segments.filter(text="fine thanks").update(text="Find tanks")
    proposal = heard(job, 3.0, 5.0, "fine thanks")
    accept(proposal)
    since(job)
    before = rows(job)
    with pytest.raises(ConflictError, match="changed since"):
        undo(proposal)
    assert rows(job) == before
    proposal.refresh_from_db()
    assert proposal.decision == "accepted"


def test_a_speaker_put_right_meanwhile_or_since_stays(job: Job) -> None:
    proposal = heard(job, 3.0, 5.0, "Fine, thanks.")
    _other_speaker(job)
    accept(proposal)
    assert job.segments.get(text="Fine, thanks.").speaker == TWO
    job.segments.filter(text="Fine, thanks.").update(speaker=ONE)
    undo(proposal)
    assert job.segments.get(text="fine thanks").speaker == ONE


def test_what_another_was_accepted_over_cannot_be_taken_back_before_that(job: Job) -> None:
    before = rows(job)
    emptied, filled = heard(job, 3.0, 8.0, ""), None
    accept(emptied)
    filled = heard(job, 3.0, 8.0, "Fine thanks")
    accept(filled)
    with pytest.raises(ConflictError, match="undo that first"):
        undo(emptied)
    undo(filled)
    undo(emptied)
    assert rows(job) == before


def test_what_a_job_that_was_done_again_has_not_got_cannot_be_taken_back(job: Job) -> None:
    proposal = heard(job, 3.0, 5.0, "")
    accept(proposal)
    _do_again(job)
    before = rows(job)
    with pytest.raises(ConflictError, match="changed since"):
        undo(proposal)
    assert rows(job) == before


def test_a_rejection_can_be_taken_back_too(job: Job) -> None:
    proposal = heard(job, 3.0, 5.0, "Fine")
    with pytest.raises(ConflictError, match="Nothing was decided"):
        undo(proposal)
    reject(proposal)
    assert undo(proposal)["decision"] == "none"
    accept(proposal)
    assert texts(job)[1] == "Fine"
