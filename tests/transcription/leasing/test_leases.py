"""Work is held by one worker at a time, and is given up when that worker is gone."""

import os
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from transcription.jobs import lifecycle, recovery, transcribe
from transcription.leasing import leases, workers
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.models import Chunk, Job, Leased, Recording, Segment, Worker
from transcription.speech.engines.base import TranscribedSegment

pytestmark = [pytest.mark.django_db, pytest.mark.both]

SAID = TranscribedSegment(1.0, 2.0, "Hello.", (), -0.1, 0.0, 1.0, 0.0)


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Job:
    if "database_file" in request.fixturenames:
        request.getfixturevalue("database_file")
    recording = Recording.objects.create(name="a.flac", file="a.flac", size=1)
    return Job.objects.create(
        recording=recording, status=Job.Status.RUNNING, model_name="tiny.en", language="en"
    )


@pytest.fixture(autouse=True)
def chunk(job: Job) -> Chunk:
    return Chunk.objects.create(job=job, index=0, start=0, end=9, streams=[[0, 9]], speech=[[0, 9]])


def chunks() -> "QuerySet[Chunk]":
    return Chunk.objects.select_related("job").order_by("index")


def claim() -> Chunk:
    row = leases.claim(chunks())
    assert row is not None
    return row


def lease_of(row: Leased) -> Lease:
    return Lease(row, condition=lifecycle.active_job_filter)


def let_expire(row: Chunk) -> None:
    Chunk.objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def commit(row: Chunk) -> None:
    transcribe.finish_chunk(
        lease=lease_of(row), chunk=row, segments=[SAID], engine="faster-whisper", device="cpu"
    )


def test_a_claim_is_held_until_its_lease_ends() -> None:
    row = claim()
    assert (row.state, row.attempts) == (Leased.State.DOING, 1)
    kept = Chunk.objects.get()
    assert (kept.state, kept.attempts, kept.worker) == (row.state, row.attempts, row.worker)
    assert kept.lease_until is not None
    assert kept.lease_until > timezone.now()
    assert f"/{os.getpid()}/" in row.worker
    assert leases.claim(chunks()) is None


def test_the_first_of_several_is_taken(job: Job) -> None:
    Chunk.objects.create(job=job, index=1, start=9, end=12, streams=[], speech=[])
    assert [claim().index, claim().index] == [0, 1]
    assert leases.claim(chunks()) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
def test_of_many_who_want_the_same_work_each_gets_other_rows(job: Job) -> None:
    n_rows, n_rivals = 60, 8
    for index in range(1, n_rows):
        Chunk.objects.create(job=job, index=index, start=9, end=12, streams=[], speech=[])
    taken: list[int] = []

    def take_all() -> None:
        while (row := leases.claim(chunks())) is not None:
            taken.append(row.index)
        connection.close()

    with ThreadPoolExecutor(n_rivals) as rivals:
        for rival in [rivals.submit(take_all) for _ in range(n_rivals)]:
            rival.result()
    assert sorted(taken) == list(range(n_rows))
    assert set(Chunk.objects.values_list("attempts", flat=True)) == {1}
    assert len(set(Chunk.objects.values_list("worker", flat=True))) == n_rows


def test_an_expired_lease_is_taken_over_and_the_first_holder_cannot_commit() -> None:
    slow = claim()
    let_expire(slow)
    quick = claim()
    assert quick.pk == slow.pk
    assert quick.attempts == 2
    assert quick.worker != slow.worker
    with pytest.raises(LeaseLostError):
        commit(slow)
    assert not Segment.objects.exists()
    commit(quick)
    assert Segment.objects.count() == 1
    assert Chunk.objects.get().state == Leased.State.DONE


def test_what_was_committed_cannot_be_committed_again() -> None:
    row = claim()
    commit(row)
    with pytest.raises(LeaseLostError):
        commit(row)
    assert Segment.objects.count() == 1
    assert leases.claim(chunks()) is None


def test_a_cancelled_job_takes_no_commit(job: Job) -> None:
    row = claim()
    assert lifecycle.cancel_job(job_id=job.pk)
    with pytest.raises(LeaseLostError):
        commit(row)
    assert not Segment.objects.exists()


def test_a_renewal_moves_the_end_and_notes_progress() -> None:
    row = claim()
    let_expire(row)
    lease = lease_of(row)
    lease.progress = 40
    assert lease.renew()
    renewed = Chunk.objects.get()
    assert renewed.lease_until is not None
    assert renewed.lease_until > timezone.now()
    assert renewed.progress == 40


def test_nothing_is_left_to_renew_once_the_work_is_not_wanted(job: Job) -> None:
    lease = lease_of(claim())
    lifecycle.cancel_job(job_id=job.pk)
    assert not lease.renew()


def test_a_lease_that_another_holds_is_not_renewed() -> None:
    slow = claim()
    let_expire(slow)
    claim()
    assert not lease_of(slow).renew()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
def test_a_renewal_that_waited_for_the_commit_gives_a_finished_chunk_no_lease() -> None:
    """Once the lock is free PostgreSQL checks the conditions on the row itself again, not those in a subquery."""
    lease = lease_of(claim())
    is_renewing = threading.Event()

    def renew() -> bool:
        is_renewing.set()
        try:
            return lease.renew()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            assert lease.held_rows().update(state=Leased.State.DONE, lease_until=None)
            renewed = thread.submit(renew)
            assert is_renewing.wait(10)
            time.sleep(0.3)  # until it waits for this transaction's lock
            assert not renewed.done()
        assert renewed.result(timeout=30) is False
    assert Chunk.objects.get().lease_until is None


def test_work_that_kills_its_workers_is_given_up(job: Job) -> None:
    Chunk.objects.update(attempts=leases.MAX_ATTEMPTS)
    assert leases.claim(chunks()) is None
    recovery.recover()
    job.refresh_from_db()
    assert job.status == Job.Status.FAILED
    assert re.search(r"\b10 workers died", job.message)


def test_what_a_dead_process_of_this_machine_held_is_free_at_once() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    row = claim()
    machine = row.worker.split("/")[0]
    Chunk.objects.update(worker=f"{machine}/{gone.pid}/1.00/abc")
    assert leases.release_rows_of_dead_workers(Chunk) == 1
    assert claim().attempts == 2


def test_a_process_number_that_was_given_again_is_another_process() -> None:
    row = claim()
    machine = row.worker.split("/")[0]
    Chunk.objects.update(worker=f"{machine}/{os.getpid()}/1.00/abc")
    assert leases.release_rows_of_dead_workers(Chunk) == 1


def test_what_the_living_and_other_machines_hold_is_theirs(job: Job) -> None:
    claim()
    Chunk.objects.create(
        job=job,
        index=1,
        start=9,
        end=12,
        streams=[],
        speech=[],
        state=Leased.State.DOING,
        worker="elsewhere:1/1/1.00/abc",
        lease_until=timezone.now() + timedelta(minutes=1),
    )
    assert leases.release_rows_of_dead_workers(Chunk) == 0
    assert leases.claim(chunks()) is None


def test_work_that_fails_is_tried_again_and_then_ends_the_job(job: Job) -> None:
    for attempt in range(1, 4):
        row = claim()
        lifecycle.fail_work(
            lease=lease_of(row), job_id=job.pk, error=f"Error {attempt}", can_retry=True
        )
    assert leases.claim(chunks()) is None
    job.refresh_from_db()
    assert (job.status, job.message) == (Job.Status.FAILED, "Error 3")
    assert Chunk.objects.get().failures == 3


def test_work_that_cannot_succeed_ends_the_job_at_once(job: Job) -> None:
    lifecycle.fail_work(lease=lease_of(claim()), job_id=job.pk, error="No weights", can_retry=False)
    job.refresh_from_db()
    assert (job.status, job.message) == (Job.Status.FAILED, "No weights")


def test_a_dead_worker_of_this_machine_is_forgotten_at_once() -> None:
    """Its last heartbeat is a moment old; those of other machines cannot be looked at."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    alive, elsewhere = leases.process_name(), f"elsewhere/{ended.pid}/1"
    for name in (alive, f"{leases.name_prefix()}{ended.pid}/1", elsewhere):
        Worker.objects.create(pk=name, started_at=timezone.now(), seen_at=timezone.now())
    workers.forget_dead()
    assert set(Worker.objects.values_list("pk", flat=True)) == {alive, elsewhere}
