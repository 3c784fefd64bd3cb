"""Retranslations by a worker: results, failures, dead workers, the order of work, and the admin."""

import threading
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.db.models import Q
from django.test import Client
from django.utils import timezone

from retranslation import api, proposals, services, tasks, work
from retranslation.models import Batch, Retranslation
from retranslation.services import BatchProgress
from tests import queued
from tests.admin_pages import act
from tests.media import samples_of, silence
from tests.retranslation.builders import (
    ASK,
    AUDIO,
    MODEL,
    TWO,
    make_recorded_job,
    request_range,
    transcribe_next,
)
from tests.rows import reload
from tests.threads import run_concurrently
from transcription import locks
from transcription.jobs import retry_and_delete
from transcription.jobs.installed_models import capabilities, load_engine
from transcription.leasing import leases, wakeups
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.workers import send_heartbeat
from transcription.models import Job, Leased, Worker
from transcription.recordings import delete_files, folder
from transcription.speech import fetching
from transcription.speech.engines.base import Span, SpeechError
from transcription.transcript.suspects import Suspect

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]


def request_batch(job: Job) -> Batch:
    suspects = [
        Suspect(segment, segment.start, segment.end, ("repetition",))
        for segment in job.segments.all()
    ]
    return services.request_suspects(job=job, suspects=suspects, model_name=MODEL, asked_by="x")


def request_clip(
    name: str = "jfk.flac", *, job: Job | None = None, start: float = 0.0
) -> Retranslation:
    span = Span(start, start + 11.0)
    return services.request_clip(
        upload=SimpleUploadedFile(name, (AUDIO / name).read_bytes()),
        job=job,
        requested=services.RequestedRange("seg-1", span, MODEL, language="", asked_by="somebody"),
    )


def drain_queue() -> int:
    """The number of messages that were queued."""
    n = queued.n_messages()
    queued.lose_messages()
    return n


# ---- Results


@pytest.mark.embedded
@pytest.mark.slow
def test_a_range_has_its_words_its_speaker_and_the_old_text() -> None:
    job = make_recorded_job()
    row = request_range(job)
    assert transcribe_next()
    row = reload(row)
    assert row.state == Leased.State.DONE, row.error
    assert row.text.lower().startswith("ask not what your country can do for you")
    assert row.text == "".join(word["text"] for word in row.words).strip()
    assert all(ASK.start <= word["start"] < word["end"] <= ASK.end for word in row.words)
    mean = sum(word["probability"] for word in row.words) / len(row.words)
    assert row.confidence == pytest.approx(mean)
    assert 0.3 < mean < 1.0
    assert row.speaker == TWO
    assert row.old_text == "Ask what your country can do for you."
    assert (row.model_used, row.language, row.device) == (MODEL, "en", "cpu")
    document = proposals.document(row)
    assert [change["old_text"] for change in document["changes"]] == [row.old_text]
    assert job.segments.all()[1].text == row.old_text, "nothing is changed before it is accepted"


@pytest.mark.embedded
@pytest.mark.slow
def test_old_text_is_the_requested_segments_and_speaker_that_of_most_of_the_range() -> None:
    job = make_recorded_job()
    first = job.segments.all()[0]
    row = request_range(job, Span(1.5, 7.0), segment_id=str(first.pk))
    everything = request_range(job, Span(1.5, 7.0))
    assert transcribe_next()
    assert transcribe_next()
    assert reload(row).old_text == first.text
    assert reload(row).speaker == TWO
    assert reload(everything).old_text == "fellow Americans Ask what your country can do for"


@pytest.mark.embedded
@pytest.mark.slow
def test_a_range_at_the_end_reads_only_its_own_samples() -> None:
    speech = samples_of(AUDIO / "jfk.flac")
    job = make_recorded_job(np.concatenate([silence(180), speech]), segments=())
    for piece in ("00000", "00001"):
        default_storage.delete(f"{folder(job.recording)}/samples-{piece}.s16")
    row = request_range(job, Span(180 + ASK.start, 180 + ASK.end))
    assert transcribe_next()
    row = reload(row)
    assert row.state == Leased.State.DONE, row.error
    assert row.text.lower().startswith("ask not what your country can do for you")
    assert row.words[0]["start"] >= 180 + ASK.start
    assert (row.old_text, row.speaker) == ("", None)


@pytest.mark.embedded
@pytest.mark.slow
def test_silence_has_no_text_and_no_confidence() -> None:
    row = request_range(make_recorded_job(silence(20), segments=()), Span(5.0, 12.0), language="en")
    assert transcribe_next()
    row = reload(row)
    assert row.state == Leased.State.DONE, row.error
    assert (row.text, row.words, row.confidence) == ("", [], None)


@pytest.mark.embedded
@pytest.mark.slow
def test_a_clip_is_transcribed_with_times_of_the_recording() -> None:
    row = request_clip(start=100.0)
    assert default_storage.exists(str(row.clip))
    assert transcribe_next()
    done = reload(row)
    assert done.state == Leased.State.DONE, done.error
    assert done.text.lower().startswith("and so")
    assert "for your country" in done.text.lower()
    assert 100.0 <= done.words[0]["start"] < done.words[-1]["end"] <= 112.0
    assert (done.job, done.old_text, done.speaker, done.clip.name) == (None, "", None, "")
    assert not default_storage.exists(str(row.clip))


# ---- Failure


def break_engine(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(work, "load_engine", fail)


@pytest.mark.parametrize(
    "error", [SpeechError("The device is busy.", can_retry=True), ValueError("?")]
)
def test_a_temporary_error_is_retried(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings, error: Exception
) -> None:
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 3
    break_engine(monkeypatch, error)
    row = request_range(make_recorded_job())
    states = []
    for n_messages in (1, 1, 0):
        drain_queue()
        tasks.work()
        assert drain_queue() == n_messages, "a retry wakes a worker"
        states.append(reload(row).state)
    assert states == [Leased.State.TODO, Leased.State.TODO, Leased.State.FAILED]
    assert not transcribe_next()
    document = proposals.document(reload(row))
    assert document["status"] == "failed"
    assert str(error) in document["message"]
    assert services.retry_failed(retranslation_id=row.pk)
    assert (reload(row).state, reload(row).failures) == (Leased.State.TODO, 0)
    assert not services.retry_failed(retranslation_id=row.pk)


def test_a_permanent_error_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    break_engine(monkeypatch, SpeechError("There are no weights."))
    row = request_range(make_recorded_job())
    assert transcribe_next()
    assert (reload(row).state, reload(row).error) == (Leased.State.FAILED, "There are no weights.")


def test_missing_samples_fail_the_retranslation() -> None:
    job = make_recorded_job()
    row = request_range(job)
    default_storage.delete(f"{folder(job.recording)}/samples-00000.s16")
    assert transcribe_next()
    assert (reload(row).state, reload(row).failures) == (Leased.State.FAILED, 1)
    assert "deleted or has expired" in reload(row).error


def test_a_recording_on_another_machine_is_left_to_it() -> None:
    """With SQLite there is no other machine: missing files are lost."""
    job = make_recorded_job()
    row = request_range(job)
    delete_files(job.recording)
    drain_queue()
    tasks.work()
    if connection.vendor == "sqlite":
        assert reload(row).state == Leased.State.FAILED
        return
    assert (reload(row).state, reload(row).attempts) == (Leased.State.TODO, 0)
    assert "does not find the recording" in reload(row).error
    assert drain_queue() == 1


def test_a_model_on_another_machine_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "can_download", lambda *_, **__: False)
    send_heartbeat(role="interactive", capabilities=capabilities())
    Worker.objects.update(weights=["small"])
    row, other = (
        request_range(make_recorded_job(), model_name="small"),
        request_range(make_recorded_job(), model_name="medium"),
    )
    drain_queue()
    tasks.work()
    assert reload(row).state == Leased.State.TODO
    assert reload(other).state == Leased.State.FAILED, "no worker has it"
    assert drain_queue() == 1
    tasks.work()
    assert reload(row).state == Leased.State.TODO
    assert drain_queue() == 1, "another worker is woken"


@pytest.mark.parametrize("path", ["segment-from-full", "suspects"])
def test_a_job_deleted_during_the_request_is_not_found(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    job = make_recorded_job()
    monkeypatch.setattr(
        api, "require_weights", lambda *_, **__: retry_and_delete.delete_job(job_id=job.pk)
    )
    data = {"segment_id": "1", "start_time": 1.0, "end_time": 4.0}
    url = f"/api/retranslate/{path}?job_id={job.pk}"
    answer = client.post(url, data, content_type="application/json")
    assert answer.status_code == 404, answer.content
    assert "not found or expired" in answer.json()["detail"]
    with pytest.raises(Job.DoesNotExist):
        request_clip(job=job)
    assert (
        not default_storage.exists("retranslations")
        or not default_storage.listdir("retranslations")[1]
    )
    assert not Retranslation.objects.exists()


@pytest.mark.usefixtures("database_file")
def test_finishing_does_not_deadlock_with_the_deletion_of_the_job() -> None:
    """Finishing must lock the job's row before the retranslation's, or both would wait for each other."""
    job = make_recorded_job()
    row = request_range(job)
    claimed = services.claim(services.claimable_requests())
    assert claimed is not None
    errors: list[Exception] = []

    def finish() -> None:
        lease = Lease(claimed, condition=Q)
        try:
            services.finish(lease=lease, retranslation=claimed, text="Ask.", words=[])
        except LeaseLostError as error:
            errors.append(error)
        finally:
            connection.close()

    finishing = threading.Thread(target=finish)
    with transaction.atomic():
        assert locks.lock_job(job.pk)
        finishing.start()
        finishing.join(0.5)  # by now it waits for the job's row
        assert retry_and_delete.delete_job(job_id=job.pk)
    finishing.join(30)
    assert [type(error) for error in errors] == [LeaseLostError]
    assert not Retranslation.objects.filter(pk=row.pk).exists()


def test_a_corrupt_clip_fails_with_the_reason() -> None:
    row = request_clip()
    with default_storage.open(str(row.clip), "wb") as file:
        file.write(b"no audio")
    assert transcribe_next()
    assert reload(row).state == Leased.State.FAILED
    assert "not audio" in reload(row).error


def test_a_retranslation_deleted_while_it_is_made_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = request_range(make_recorded_job(silence(5), segments=()), Span(1.0, 4.0))
    load = load_engine

    def delete_first(**values: Any) -> Any:
        services.delete_retranslation(retranslation_id=row.pk)
        return load(**values)

    monkeypatch.setattr(work, "load_engine", delete_first)
    assert transcribe_next()
    assert not Retranslation.objects.exists()


# ---- Dead workers


def test_a_dead_workers_retranslation_is_requeued() -> None:
    row = request_range(make_recorded_job())
    assert services.claim(services.claimable_requests()) is not None
    machine = reload(row).worker.split("/")[0]
    Retranslation.objects.update(worker=f"{machine}/999999999/1.00/abc")
    drain_queue()
    assert not transcribe_next()
    services.recover()
    assert reload(row).state == Leased.State.TODO
    assert drain_queue() == 1


def test_a_retranslation_that_kills_its_workers_fails() -> None:
    row = request_range(make_recorded_job())
    Retranslation.objects.update(attempts=leases.MAX_ATTEMPTS)
    drain_queue()
    services.recover()
    assert reload(row).state == Leased.State.FAILED
    assert "workers died" in reload(row).error
    assert drain_queue() == 0


# ---- Order of work


def be_workers(n: int) -> None:
    """Lets so many interactive workers be alive."""
    Worker.objects.bulk_create(
        Worker(name=f"worker {index}", role="interactive", started_at=now, seen_at=now)
        for index, now in enumerate([timezone.now()] * n)
    )


def test_requests_come_before_batches_and_each_in_order() -> None:
    be_workers(4)
    job = make_recorded_job()
    batch = request_batch(job)
    first, second = request_range(job), request_range(job)
    taken = [services.claim(services.claimable_requests()) for _ in range(3)]
    assert taken == [first, second, None]
    in_batch = services.claim(services.claimable_in_batches())
    assert in_batch == batch.retranslations.order_by("start").first()


@pytest.mark.parametrize(("n_workers", "n_claimed"), [(0, 1), (1, 1), (2, 1), (3, 2), (5, 4)])
def test_a_worker_stays_free_for_uploads_unless_it_is_the_only_one(
    n_workers: int, n_claimed: int
) -> None:
    be_workers(n_workers)
    job = make_recorded_job()
    waiting = [request_range(job) for _ in range(6)]
    queryset = services.claimable_requests()
    taken = [services.claim(queryset) for _ in waiting]
    assert [row for row in taken if row is not None] == waiting[:n_claimed]
    assert not services.claimable_requests().exists()


@pytest.mark.usefixtures("database_file")
def test_workers_that_claim_at_the_same_time_leave_one_free() -> None:
    be_workers(3)
    job = make_recorded_job()
    for _ in range(5):
        for _ in range(4):
            request_range(job)
        queryset = services.claimable_requests()
        taken = run_concurrently(*[partial(services.claim, queryset.all()) for _ in range(4)])
        assert sum(isinstance(row, Retranslation) for row in taken) == 2, taken
        Retranslation.objects.all().delete()


def test_what_waited_for_a_free_worker_is_taken_up_at_the_end_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_engine(monkeypatch, SpeechError("There are no weights."))
    job = make_recorded_job()
    request_batch(job)
    running, waiting = request_range(job), request_range(job)
    assert services.claim(services.claimable_requests()) == running
    drain_queue()
    for task in (tasks.work, tasks.work_on_batches):
        task()
        assert drain_queue() == 0, "it waits for the end of what is being made"
    Retranslation.objects.filter(pk=running.pk).update(state=Leased.State.TODO, lease_until=None)
    for task, of_next in (
        (tasks.work, "retranslation.tasks.work"),
        (tasks.work, "retranslation.tasks.work_on_batches"),
    ):
        woken: list[str] = []
        monkeypatch.setattr(wakeups, "wake_workers", lambda name, n=1, to=woken: to.append(name))
        task()
        assert woken == [of_next]
    assert reload(waiting).state == Leased.State.FAILED


def test_of_batches_one_row_at_a_time_is_claimed() -> None:
    request_batch(make_recorded_job())
    request_batch(make_recorded_job())
    row = services.claim(services.claimable_in_batches())
    assert row is not None
    assert services.claim(services.claimable_in_batches()) is None
    past = timezone.now() - timedelta(seconds=1)
    Retranslation.objects.filter(pk=row.pk).update(lease_until=past)
    assert services.claim(services.claimable_in_batches()) == row, "its lease has expired"


def test_a_batch_is_queued_again_after_each_row_and_shows_its_progress(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    break_engine(monkeypatch, SpeechError("There are no weights."))
    batch = request_batch(make_recorded_job())
    seen = []
    for _ in range(3):
        assert drain_queue() == 1
        tasks.work_on_batches()
        progress = services.batch_progress(batch)
        seen.append((progress.status, progress.percent))
    assert seen == [("processing", 33), ("processing", 66), ("failed", 100)]
    assert drain_queue() == 0
    assert "There are no weights." in services.batch_progress(batch).message
    batch.retranslations.filter(start__lt=3.0).update(state=Leased.State.DONE)
    message = "Completed: 1 to accept or reject; 2 failed"
    assert services.batch_progress(batch) == BatchProgress("completed", 100, message)
    found = client.get(f"/api/retranslate/suspects/{batch.pk}").json()
    assert [row["status"] for row in found["retranslations"]] == ["completed", "failed", "failed"]


def test_recovery_wakes_one_worker_for_a_stalled_batch() -> None:
    request_batch(make_recorded_job())
    drain_queue()
    for _ in range(3):
        services.recover()
    assert drain_queue() == 1
    assert services.claim(services.claimable_in_batches()) is not None
    services.recover()
    assert drain_queue() == 0, "the running task enqueues the next"


# ---- Admin


def test_the_admin_decides_and_retries(admin_client: Client) -> None:
    job = make_recorded_job()
    segment = job.segments.all()[1]
    done, failed = request_range(job, segment_id=str(segment.pk)), request_range(job)
    Retranslation.objects.filter(pk=failed.pk).update(state=Leased.State.FAILED)
    lease = leases.Lease(done, condition=Q)
    Retranslation.objects.filter(pk=done.pk).update(state=Leased.State.DOING)
    words = [{"start": 3.5, "end": 7.0, "text": " Ask not.", "probability": 0.9}]
    services.finish(lease=lease, retranslation=done, text="Ask not.", words=words)
    shown = act(admin_client, "accept", done, failed)
    assert any("1 retranslation accepted." in text for text in shown)
    assert any("no result to decide about" in text for text in shown)
    segment.refresh_from_db()
    assert segment.text == "Ask not."
    assert reload(done).decided_by == "admin"
    assert act(admin_client, "undo", done) == ["1 retranslation undone."]
    assert act(admin_client, "reject", done) == ["1 retranslation rejected."]
    shown = act(admin_client, "retry_failed", done, failed)
    assert shown == ["1 retranslation queued again.", "1 retranslation skipped: not failed."]
    assert reload(failed).state == Leased.State.TODO


def test_the_admin_shows_and_deletes_but_does_not_edit(admin_client: Client) -> None:
    job = make_recorded_job()
    batch, row = request_batch(job), request_range(job)
    for address in ("retranslation", "batch", "segmentchange"):
        assert admin_client.get(f"/admin/retranslation/{address}/").status_code == 200
    found: Any = admin_client.get(f"/admin/retranslation/retranslation/?q={batch.pk}")
    assert len(found.context["cl"].result_list) == 3
    page = f"/admin/retranslation/retranslation/{row.pk}/change/"
    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, {"text": "edited"}).status_code == 403
    act(admin_client, "delete_selected", row, post="yes")
    assert not Retranslation.objects.filter(pk=row.pk).exists()
