"""The life of a job, on rows alone: nothing runs here, so each step is the test's own."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client, override_settings
from django.utils import timezone

from tests import queued
from tests.rows import reload
from tests.transcription.builders import MODEL, lease_of
from tests.transcription.jobs.builders import (
    add_chunks,
    claim_chunk,
    commit_chunk,
    die,
    fail_chunk,
    make_prepared_job,
    states,
)
from transcription.jobs import (
    lifecycle,
    prepare,
    recovery,
    retry_and_delete,
    status,
    transcribe,
)
from transcription.leasing import leases, registry, wakeups, workers
from transcription.leasing.leases import LeaseLostError
from transcription.locks import lock_active_job
from transcription.models import Chunk, Job, Leased, Recording, Segment
from transcription.speech import audio
from transcription.speech.chunks import plan
from transcription.speech.engines.base import Span, TranscribedSegment
from transcription.speech.voice_activity import FRAME_SECONDS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path) -> Iterator[None]:
    with override_settings(MEDIA_ROOT=tmp_path):
        yield


# ---- To the end


def test_a_job_is_completed_with_its_last_chunk() -> None:
    job = make_prepared_job()
    for n_done in range(1, 4):
        commit_chunk(claim_chunk())
        assert reload(job).status == (Job.Status.COMPLETED if n_done == 3 else Job.Status.RUNNING)
    assert (reload(job).progress, reload(job).message) == (100, "Completed")
    assert job.segments.count() == 3


def test_a_job_is_not_completed_before_all_its_chunks_are_known() -> None:
    job = make_prepared_job(n_chunks=0)
    stage = prepare.claim_preparation()
    assert stage is not None
    add_chunks(job, 1)
    commit_chunk(claim_chunk())
    assert reload(job).status == Job.Status.RUNNING
    prepare.finish_preparation(lease=lease_of(stage), job=job, duration=10.0)
    assert reload(job).status == Job.Status.COMPLETED


def test_whatever_an_engine_returns_a_chunk_s_segments_are_in_order_and_inside_it() -> None:
    make_prepared_job(n_chunks=2)
    claim_chunk()
    chunk = claim_chunk()
    times = ((15.0, 19.0, "Second."), (9.0, 15.5, "First."), (18.0, 25.0, "Third."), (1, 2, " "))
    said = [
        TranscribedSegment(start, end, text, (), -0.1, 0.0, 1.0, 0.0) for start, end, text in times
    ]
    transcribe.finish_chunk(
        lease=lease_of(chunk), chunk=chunk, segments=said, engine="any", device="cpu"
    )
    found = list(chunk.segments.order_by("start"))
    assert [segment.text for segment in found] == ["First.", "Second.", "Third."]
    assert (found[0].start, found[-1].end) == (chunk.start, chunk.end) == (10.0, 20.0)
    assert all(one.end <= following.start for one, following in pairwise(found))


def test_the_database_takes_no_segment_that_ends_before_it_starts() -> None:
    job = make_prepared_job(n_chunks=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        job.segments.create(chunk=job.chunks.get(), start=2.0, end=1.0, text="Back")


# ---- Turns


def test_jobs_take_turns() -> None:
    first, second = make_prepared_job(n_chunks=4), make_prepared_job(n_chunks=2)
    taken = [(chunk.job_id, chunk.index) for chunk in (claim_chunk() for _ in range(6))]
    assert taken == [
        (first.pk, 0),
        (second.pk, 0),
        (first.pk, 1),
        (second.pk, 1),
        (first.pk, 2),
        (first.pk, 3),
    ]
    assert transcribe.claim_chunk(model_name=MODEL) is None


def test_a_claim_stays_with_its_model() -> None:
    make_prepared_job()
    assert transcribe.claim_chunk(model_name="base") is None


def test_the_first_chunk_alone_can_be_taken_until_the_language_is_known() -> None:
    job = make_prepared_job(language="")
    assert claim_chunk().index == 0
    assert transcribe.claim_chunk(model_name=MODEL) is None
    transcribe.set_language(job=job, language="fr")
    assert wakeups.queue_length(registry.SPEECH) == 2
    assert [claim_chunk().index, claim_chunk().index] == [1, 2]


def test_a_language_is_set_once() -> None:
    job = make_prepared_job(language="")
    same_job = reload(job)
    transcribe.set_language(job=job, language="fr")
    transcribe.set_language(job=same_job, language="de")
    assert (job.language, same_job.language, reload(job).language) == ("fr", "fr", "fr")


# ---- Failing


@pytest.mark.parametrize("attempts", [1, 3, leases.MAX_ATTEMPTS + 2])
def test_a_chunk_is_tried_so_often_then_the_job_fails_with_its_error(
    client: Client, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    job = make_prepared_job()
    commit_chunk(claim_chunk())

    def break_down(job: Job) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(transcribe, "load_job_engine", break_down)
    with override_settings(TRANSCRIBER_CHUNK_ATTEMPTS=attempts):
        for _ in range(attempts):
            assert reload(job).status == Job.Status.RUNNING
            chunk = claim_chunk()
            assert chunk.index == 1
            transcribe.transcribe_chunk(chunk)
    assert reload(job).status == Job.Status.FAILED
    assert reload(job).message == "Chunk 2 failed: out of memory"
    assert states(job) == ["done", "failed", "todo"]
    assert transcribe.claim_chunk(model_name=MODEL) is None
    answer = client.get(f"/api/transcribe/result/{job.pk}?partial=true")
    assert (answer.status_code, answer.json()["text"]) == (200, "Part 0.")


def test_a_chunk_that_fails_once_wakes_somebody_to_try_it_again() -> None:
    make_prepared_job()
    fail_chunk(claim_chunk(), "It did not work")
    assert wakeups.queue_length(registry.SPEECH) == 1
    chunk = claim_chunk()
    assert (chunk.index, chunk.attempts, chunk.failures) == (0, 2, 1)
    commit_chunk(chunk)
    assert Chunk.objects.get(index=0).error == ""


# ---- Cancelling


def test_cancelling_ends_a_job_and_refuses_what_is_in_hand() -> None:
    job = make_prepared_job()
    commit_chunk(claim_chunk())
    held = claim_chunk()
    assert lifecycle.cancel_job(job_id=job.pk)
    with pytest.raises(LeaseLostError):
        commit_chunk(held)
    fail_chunk(held, "Too late")
    assert transcribe.claim_chunk(model_name=MODEL) is None
    assert (reload(job).status, reload(job).message) == (Job.Status.CANCELLED, "Cancelled")
    assert job.segments.count() == 1
    assert not lifecycle.cancel_job(job_id=job.pk)


def test_a_transcript_that_is_there_is_not_cancelled() -> None:
    """Though whoever committed its end was killed before the job was completed."""
    job = make_prepared_job(n_chunks=1)
    commit_chunk(claim_chunk())
    Job.objects.filter(pk=job.pk).update(status=Job.Status.RUNNING, finished_at=None)
    assert lifecycle.cancel_job(job_id=job.pk)
    assert reload(job).status == Job.Status.COMPLETED
    assert not lifecycle.cancel_job(job_id=job.pk)


def test_what_was_in_hand_when_a_job_was_cancelled_is_refused_after_it_goes_on_too() -> None:
    job = make_prepared_job()
    held = claim_chunk()
    lifecycle.cancel_job(job_id=job.pk)
    assert retry_and_delete.retry_failed(job_id=job.pk)
    with pytest.raises(LeaseLostError):
        commit_chunk(held)
    again = claim_chunk()
    assert (again.index, again.attempts) == (0, 1)
    with pytest.raises(LeaseLostError):
        commit_chunk(held)
    commit_chunk(again)
    assert job.segments.count() == 1


# ---- Once more


def test_retrying_keeps_what_is_done() -> None:
    job = make_prepared_job()
    commit_chunk(claim_chunk())
    kept = set(job.segments.values_list("pk", flat=True))
    for _ in range(3):
        fail_chunk(claim_chunk(), "It did not work")
    queued.lose_messages()
    assert retry_and_delete.retry_failed(job_id=job.pk)
    assert (reload(job).status, reload(job).message) == (Job.Status.RUNNING, status.WAITING)
    assert reload(job).finished_at is None
    assert states(job) == ["done", "todo", "todo"]
    assert wakeups.queue_length(registry.SPEECH) == 2, "a worker for each chunk"
    commit_chunk(claim_chunk())
    commit_chunk(claim_chunk())
    assert reload(job).status == Job.Status.COMPLETED
    assert Chunk.objects.get(index=0).attempts == 1
    assert kept < set(job.segments.values_list("pk", flat=True))


def test_only_a_job_that_failed_or_was_cancelled_is_retried() -> None:
    job = make_prepared_job(n_chunks=1)
    assert not retry_and_delete.retry_failed(job_id=job.pk)
    commit_chunk(claim_chunk())
    assert not retry_and_delete.retry_failed(job_id=job.pk)
    assert reload(job).status == Job.Status.COMPLETED


def test_a_job_that_was_cancelled_before_it_began_waits_again() -> None:
    job = make_prepared_job(n_chunks=0)
    lifecycle.cancel_job(job_id=job.pk)
    assert prepare.claim_preparation() is None
    assert retry_and_delete.retry_failed(job_id=job.pk)
    assert reload(job).status == Job.Status.QUEUED
    assert prepare.claim_preparation() is not None
    assert reload(job).status == Job.Status.RUNNING
    assert reload(job).started_at is not None


def test_a_retry_of_a_job_with_nothing_left_to_do_completes_it() -> None:
    job = make_prepared_job(n_chunks=2)
    commit_chunk(claim_chunk())
    held = claim_chunk()
    lifecycle.cancel_job(job_id=job.pk)
    Chunk.objects.filter(pk=held.pk).update(state=Leased.State.DONE)
    assert retry_and_delete.retry_failed(job_id=job.pk)
    assert reload(job).status == Job.Status.COMPLETED


@pytest.mark.parametrize("requested", ["en", ""])
def test_running_again_begins_from_nothing(requested: str) -> None:
    job = make_prepared_job(language=requested)
    transcribe.set_language(job=job, language="en")
    commit_chunk(claim_chunk())
    held = claim_chunk()
    queued.lose_messages()
    assert retry_and_delete.rerun(job_id=job.pk)
    assert not job.chunks.exists()
    assert not job.segments.exists()
    assert (reload(job).status, reload(job).progress, reload(job).language) == (
        "queued",
        0,
        requested,
    )
    assert wakeups.queue_length(registry.INTERACTIVE) == 1
    with pytest.raises(LeaseLostError):
        commit_chunk(held)
    fail_chunk(held, "Too late")
    stage = prepare.claim_preparation()
    assert stage is not None
    add_chunks(job, 1)
    prepare.finish_preparation(lease=lease_of(stage), job=job, duration=10.0)
    commit_chunk(claim_chunk())
    assert reload(job).status == Job.Status.COMPLETED
    assert job.segments.count() == 1


def test_a_preparation_in_hand_is_refused_when_the_job_is_run_again() -> None:
    job = make_prepared_job(n_chunks=0)
    held = prepare.claim_preparation()
    assert held is not None
    retry_and_delete.rerun(job_id=job.pk)
    with pytest.raises(LeaseLostError):
        prepare.finish_preparation(lease=lease_of(held), job=job, duration=10.0)
    assert prepare.claim_preparation() is not None


# ---- Deleting


def test_what_is_in_hand_when_a_job_is_deleted_ends_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_prepared_job()
    held = claim_chunk()
    assert retry_and_delete.delete_job(job_id=job.pk)
    with pytest.raises(LeaseLostError):
        commit_chunk(held)

    def break_down(job: Job) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(transcribe, "load_job_engine", break_down)
    transcribe.transcribe_chunk(held)
    assert not Job.objects.exists()
    assert not retry_and_delete.delete_job(job_id=job.pk)
    assert not retry_and_delete.delete_recording(recording_id=job.recording_id)
    assert not retry_and_delete.rerun(job_id=job.pk)
    assert not retry_and_delete.retry_failed(job_id=job.pk)
    assert not lifecycle.cancel_job(job_id=job.pk)


def test_a_preparation_that_is_begun_again_keeps_the_chunks_there_are(audio_dir: Path) -> None:
    """They may be of another version, which cut the recording elsewhere: nothing is doubled, and nothing lost."""
    job = make_prepared_job(n_chunks=0, file=audio_dir / "jfk.flac")
    Chunk.objects.create(
        job=job, index=0, start=0.3, end=5.1, streams=[[0.3, 5.1]], speech=[[0.3, 5.1]]
    )
    assert prepare.prepare_next()
    chunks = list(job.chunks.order_by("index"))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    spans = [span for chunk in chunks for span in chunk.speech]
    assert spans[0] == [0.3, 5.1]
    assert all(a[1] <= b[0] for a, b in pairwise(spans)), spans
    assert spans[1][0] < 6.0
    assert spans[-1][1] > 10.0


@pytest.mark.parametrize("frames", [53, 333, 400, 700])
def test_a_preparation_that_is_begun_again_by_the_same_version_makes_the_same_chunks(
    frames: int,
) -> None:
    """Also where people speak without a pause: the frame at which a span is split is no whole millisecond."""
    job = make_prepared_job(n_chunks=0)
    stage = prepare.claim_preparation()
    assert stage is not None
    cuts = [frames * FRAME_SECONDS * n for n in range(60)]
    planned = list(plan([Span(*pair) for pair in pairwise(cuts)], cuts[-1]))
    for n_sent in range(1, len(planned) + 1):
        outbox = prepare._Outbox(job, lease_of(stage))
        outbox.add(planned[:n_sent])
        outbox.send(stored_until=math.inf)
        assert job.chunks.count() == n_sent
    for chunk, made in zip(planned, job.chunks.order_by("index"), strict=True):
        assert made.streams == [[stream.start, stream.end] for stream in chunk.streams]
        for stored, span in zip(made.speech, chunk.speech, strict=True):
            assert stored == pytest.approx([span.start, span.end], abs=0.001)


@pytest.mark.usefixtures("database_file")
def test_a_preparation_waits_for_the_chunks_that_its_predecessor_is_about_to_commit() -> None:
    """Who has lost the lease meanwhile may still commit: it was checked before."""
    job = make_prepared_job(n_chunks=0)
    stage = prepare.claim_preparation()
    assert stage is not None

    def begin_again() -> int:
        try:
            return prepare._Outbox(job, lease_of(stage))._n_sent
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            assert lock_active_job(job.pk)
            add_chunks(job, 1)
            n_sent = thread.submit(begin_again)
            time.sleep(0.3)
            assert not n_sent.done()
        assert n_sent.result(timeout=30) == 1


def test_a_preparation_leaves_no_file_of_a_recording_deleted_meanwhile(
    monkeypatch: pytest.MonkeyPatch, audio_dir: Path, tmp_path: Path
) -> None:
    job = make_prepared_job(n_chunks=0, file=audio_dir / "jfk.flac")
    decode: Callable[..., Iterator[npt.NDArray[np.int16]]] = audio.decode_channels

    def delete_meanwhile(file: Any, **limits: float) -> Iterator[npt.NDArray[np.int16]]:
        for n, samples in enumerate(decode(file, **limits)):
            yield samples
            if n == 0:
                retry_and_delete.delete_recording(recording_id=job.recording_id)
                assert not list(tmp_path.rglob("*.*"))

    monkeypatch.setattr(audio, "decode_channels", delete_meanwhile)
    assert prepare.prepare_next()
    assert not Recording.objects.exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ---- Recovery


def test_lost_messages_are_sent_again_and_do_not_pile_up() -> None:
    make_prepared_job(n_chunks=3)
    make_prepared_job(n_chunks=0)
    for _ in range(20):
        recovery.recover()
    assert wakeups.queue_length(registry.SPEECH) == 3
    assert wakeups.queue_length(registry.INTERACTIVE) == 1


def test_many_chunks_make_no_more_messages_than_can_serve() -> None:
    make_prepared_job(n_chunks=200)
    recovery.recover()
    assert wakeups.queue_length(registry.SPEECH) == wakeups.MAX_QUEUED


def test_where_nothing_is_lost_nothing_is_sent() -> None:
    job = make_prepared_job(n_chunks=1)
    claim_chunk()
    recovery.recover()
    lifecycle.cancel_job(job_id=job.pk)
    recovery.recover()
    assert queued.n_messages() == 0


def test_progress_never_decreases() -> None:
    """The whole grows while a recording is read whose container declares less than it holds."""
    job = make_prepared_job(n_chunks=3)
    Job.objects.filter(pk=job.pk).update(progress=70)
    commit_chunk(claim_chunk())
    assert reload(job).progress == 70


def test_a_job_whose_worker_was_lost_after_its_last_commit_is_completed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_prepared_job(n_chunks=1)
    chunk = claim_chunk()
    with monkeypatch.context() as lost:
        lost.setattr(transcribe, "advance", lambda job_id: None)
        commit_chunk(chunk)
    assert reload(job).status == Job.Status.RUNNING
    recovery.recover()
    assert reload(job).status == Job.Status.COMPLETED


def test_a_chunk_that_kills_its_workers_is_given_up_with_a_clear_message(
    client: Client,
) -> None:
    job = make_prepared_job()
    commit_chunk(claim_chunk())
    for _ in range(leases.MAX_ATTEMPTS):
        recovery.recover()
        assert reload(job).status == Job.Status.RUNNING
        Chunk.objects.filter(index=2).update(lease_until=timezone.now())
        chunk = claim_chunk()
        assert chunk.index == 1
        die()
    recovery.recover()
    message = f"Given up: {leases.MAX_ATTEMPTS} workers died while working on it."
    assert (reload(job).status, reload(job).message) == (Job.Status.FAILED, message)
    assert Chunk.objects.get(index=1).error == message
    answer = client.get(f"/api/transcribe/result/{job.pk}")
    assert (answer.status_code, message in answer.json()["detail"]) == (409, True)


def test_a_preparation_that_kills_its_workers_is_given_up() -> None:
    job = make_prepared_job(n_chunks=0)
    for _ in range(leases.MAX_ATTEMPTS):
        assert prepare.claim_preparation() is not None
        die()
        recovery.recover()
    assert prepare.claim_preparation() is None
    assert reload(job).status == Job.Status.FAILED
    assert "workers died" in reload(job).message
    assert retry_and_delete.retry_failed(job_id=job.pk)
    assert prepare.claim_preparation() is not None


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (leases, "release_rows_of_dead_workers"),
        (leases, "fail_exhausted"),
        (recovery, "advance"),
        (recovery, "claimable_chunks"),
        (recovery, "queue_length"),
    ],
)
def test_two_recoveries_at_once_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, module: Any, function: str
) -> None:
    """The second runs as a whole in the midst of the first."""
    waiting, finished, hopeless = (
        make_prepared_job(),
        make_prepared_job(n_chunks=1),
        make_prepared_job(n_chunks=1),
    )
    Job.objects.filter(pk=finished.pk).update(status=Job.Status.RUNNING)
    Chunk.objects.filter(job=finished).update(state=Leased.State.DONE)
    Chunk.objects.filter(job=hopeless).update(attempts=leases.MAX_ATTEMPTS)
    held = claim_chunk()
    die()
    original = getattr(module, function)
    n_calls = 0

    def interrupted(*args: Any, **options: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            recovery.recover()
        return original(*args, **options)

    monkeypatch.setattr(module, function, interrupted)
    recovery.recover()
    assert n_calls > 1
    assert reload(finished).status == Job.Status.COMPLETED
    assert reload(hopeless).status == Job.Status.FAILED
    assert reload(waiting).status == Job.Status.RUNNING
    assert 3 <= wakeups.queue_length(registry.SPEECH) <= 6
    again = claim_chunk()
    assert (again.pk, again.attempts) == (held.pk, 2)
    with pytest.raises(LeaseLostError):
        commit_chunk(held)
    commit_chunk(again)
    assert Segment.objects.filter(job=waiting).count() == 1


@pytest.mark.usefixtures("database_file")
def test_many_recoveries_at_once_leave_each_piece_of_work_once() -> None:
    """In threads of their own, all at the same moment, as on as many machines."""
    n_rivals = 6
    waiting = [make_prepared_job(n_chunks=3) for _ in range(4)]
    finished, hopeless = make_prepared_job(n_chunks=1), make_prepared_job(n_chunks=1)
    Chunk.objects.filter(job=finished).update(state=Leased.State.DONE)
    Chunk.objects.filter(job=hopeless).update(attempts=leases.MAX_ATTEMPTS)
    held = [claim_chunk() for _ in range(5)]
    die()
    queued.lose_messages()
    together = threading.Barrier(n_rivals)

    def recover() -> None:
        together.wait()
        try:
            recovery.recover()
        finally:
            connection.close()

    with ThreadPoolExecutor(n_rivals) as rivals:
        for rival in [rivals.submit(recover) for _ in range(n_rivals)]:
            rival.result()
    assert reload(finished).status == Job.Status.COMPLETED
    assert reload(hopeless).status == Job.Status.FAILED
    n_messages = wakeups.queue_length(registry.SPEECH)
    assert 0 < n_messages < wakeups.MAX_QUEUED + n_rivals, "each looks before it sends"
    recovery.recover()
    assert wakeups.queue_length(registry.SPEECH) == n_messages, "while some wait none are added"
    while (chunk := transcribe.claim_chunk(model_name=MODEL)) is not None:
        commit_chunk(chunk)
    for late in held:
        with pytest.raises(LeaseLostError):
            commit_chunk(late)
    assert {reload(job).status for job in waiting} == {Job.Status.COMPLETED}
    for job in waiting:
        assert Segment.objects.filter(job=job).count() == 3


def test_a_worker_starts_though_recovery_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down() -> None:
        raise OSError("the queue is down")

    monkeypatch.setattr(recovery, "recover", break_down)
    monkeypatch.setattr(workers, "repeat_until_stopping", lambda *_, **__: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with caplog.at_level(logging.ERROR):
        registry.start_worker()
    assert "Lost work of transcription could not be recovered" in caplog.text
