"""Jobs that are not wanted any more: cancelled, deleted, expired."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.files.storage import default_storage
from django.test import Client, override_settings
from django.utils import timezone
from websockets.exceptions import ConnectionClosedError

from retranslation.models import Retranslation
from summaries.models import Summary
from tests import UNKNOWN_ID
from tests.rows import reload
from tests.running_jobs import (
    CANCELLED_WITHIN_SECONDS,
    midway,
    seconds_to_cancel,
)
from tests.service import Service, wait_for
from tests.transcription.builders import lease_of
from tests.transcription.jobs.builders import claim_chunk, commit_chunk, make_prepared_job
from transcription.leasing import registry
from transcription.leasing.leases import LeaseLostError
from transcription.models import Chunk, Job, Leased, Recording, Segment

pytestmark = pytest.mark.both

API = "/api/transcribe"

rows = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path) -> Iterator[None]:
    with override_settings(MEDIA_ROOT=tmp_path):
        yield


def cancel(client: Client, job: Job) -> Any:
    return client.post(f"{API}/cancel/{job.pk}")


# ---- Cancelled


@rows
def test_a_cancelled_job_ends_and_what_was_transcribed_stays(client: Client) -> None:
    job = make_prepared_job(n_chunks=3)
    commit_chunk(claim_chunk())
    held = claim_chunk()
    answer = cancel(client, job)
    assert answer.status_code == 200
    document = answer.json()
    assert (document["job_id"], document["status"], document["message"]) == (
        str(job.pk),
        "failed",
        "Cancelled",
    )
    assert reload(job).status == Job.Status.CANCELLED
    with pytest.raises(LeaseLostError):
        commit_chunk(held)
    assert len(client.get(f"{API}/result/{job.pk}?partial=true").json()["segments"]) == 1
    assert not lease_of(held).renew(), "its worker learns of it"


@rows
def test_to_cancel_twice_is_to_cancel_once(client: Client) -> None:
    job = make_prepared_job()
    assert [cancel(client, job).status_code for _ in range(2)] == [200, 200]
    assert reload(job).status == Job.Status.CANCELLED


@rows
@pytest.mark.parametrize("status", [Job.Status.COMPLETED, Job.Status.FAILED])
def test_what_ended_otherwise_cannot_be_cancelled(client: Client, status: Job.Status) -> None:
    job = make_prepared_job()
    Job.objects.filter(pk=job.pk).update(status=status)
    answer = cancel(client, job)
    assert answer.status_code == 409
    assert status in answer.json()["detail"]
    assert reload(job).status == status


@rows
@pytest.mark.parametrize("job_id", [UNKNOWN_ID, "not-a-uuid"])
@pytest.mark.parametrize(("method", "path"), [("post", "cancel"), ("delete", "jobs")])
def test_an_unknown_job_is_a_404(client: Client, method: str, path: str, job_id: object) -> None:
    answer = getattr(client, method)(f"{API}/{path}/{job_id}")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Transcription job not found or expired"}


@rows
@pytest.mark.parametrize(
    ("method", "path"), [("get", "cancel"), ("put", "cancel"), ("post", "jobs")]
)
def test_another_method_is_refused(client: Client, method: str, path: str) -> None:
    job = make_prepared_job()
    assert getattr(client, method)(f"{API}/{path}/{job.pk}").status_code == 405
    assert reload(job).status == Job.Status.RUNNING


@pytest.mark.alone
@pytest.mark.slow
def test_a_running_chunk_stops_within_two_seconds(service: Service, reading: Path) -> None:
    """In one of three times: what else runs on the machine can only delay it."""
    took: list[float] = []
    while len(took) < 3 and min(took, default=99.0) >= CANCELLED_WITHIN_SECONDS:
        job_id = service.upload(reading)
        took.append(seconds_to_cancel(service, job_id, workers=service))
        told = [message["status"] for message in service.listen(job_id) if "status" in message]
        assert told == ["failed"]
    assert min(took) < CANCELLED_WITHIN_SECONDS, took


# ---- Deleted


@rows
def test_a_deleted_job_leaves_no_row_and_no_file(client: Client) -> None:
    job = make_prepared_job(n_chunks=2)
    commit_chunk(claim_chunk())
    held = claim_chunk()
    name = job.recording.file.name
    assert name is not None
    assert default_storage.exists(name)
    answer = client.delete(f"{API}/jobs/{job.pk}")
    assert (answer.status_code, answer.content) == (204, b"")
    for model in (Job, Recording, Chunk, Segment):
        assert not model._default_manager.exists()
    assert not default_storage.exists(name)
    with pytest.raises(LeaseLostError):
        commit_chunk(held)
    assert client.delete(f"{API}/jobs/{job.pk}").status_code == 404
    assert_gone(client, job)


def assert_gone(client: Client, job: Job) -> None:
    """As the API documents it for expired jobs."""
    answer = client.get(f"{API}/status/{job.pk}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "not_found"
    assert answer.json()["message"] == "Transcription job not found or expired"
    for path in ("result", "debug", "export"):
        assert client.get(f"{API}/{path}/{job.pk}").status_code == 404
    assert client.get(f"{API}/jobs").json()["count"] == 0


@pytest.mark.slow
def test_a_job_under_way_can_be_deleted_and_its_listeners_are_told(
    service: Service, clip: Path
) -> None:
    job_id = service.upload(clip)
    midway(service, job_id)
    [[recording]] = service.query(
        "SELECT recording_id FROM transcription_job WHERE id = %s", job_id.replace("-", "")
    )
    recording_id = str(UUID(str(recording)))
    messages = service.listen(job_id)
    next(messages)
    assert service.client.delete(f"{API}/jobs/{job_id}").status_code == 204
    with pytest.raises(ConnectionClosedError) as closed:
        list(messages)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404
    folder = service.data_dir / "files" / "recordings"
    wait_for(lambda: recording_id not in {path.name for path in folder.iterdir()}, what="no files")
    assert service.status(job_id)["status"] == "not_found"


# ---- Expired


def end(job: Job, *, days_ago: float, status: Job.Status = Job.Status.COMPLETED) -> None:
    ended = timezone.now() - timedelta(days=days_ago)
    Job.objects.filter(pk=job.pk).update(status=status, finished_at=ended)


@rows
@override_settings(TRANSCRIBER_RETENTION_DAYS=7)
@pytest.mark.parametrize("status", [Job.Status.COMPLETED, Job.Status.FAILED, Job.Status.CANCELLED])
def test_what_ended_longer_ago_than_it_is_to_be_kept_expires(
    client: Client, status: Job.Status
) -> None:
    old = make_prepared_job(n_chunks=1)
    commit_chunk(claim_chunk())
    end(old, days_ago=7.01, status=status)
    name = old.recording.file.name
    assert name is not None
    registry.recover_all()
    assert_gone(client, old)
    assert not default_storage.exists(name)


@rows
@override_settings(TRANSCRIBER_RETENTION_DAYS=7)
def test_what_is_younger_or_under_way_stays() -> None:
    young, under_way = make_prepared_job(n_chunks=1), make_prepared_job(n_chunks=1)
    end(young, days_ago=6.99)
    Job.objects.filter(pk=under_way.pk).update(created_at=timezone.now() - timedelta(days=99))
    registry.recover_all()
    assert Job.objects.count() == 2


@rows
@override_settings(TRANSCRIBER_RETENTION_DAYS=7)
def test_a_recording_that_another_job_needs_stays() -> None:
    old = make_prepared_job(n_chunks=1)
    other = Job.objects.create(recording=old.recording, model_name="base", language="en")
    end(old, days_ago=8)
    registry.recover_all()
    assert list(Job.objects.all()) == [other]
    assert default_storage.exists(old.recording.file.name or "")


@rows
@override_settings(TRANSCRIBER_RETENTION_DAYS=7)
def test_summaries_and_retranslations_of_what_was_sent_expire_too() -> None:
    for days, left in ((8, 0), (6, 1)):
        ended = {
            "state": Leased.State.DONE,
            "finished_at": timezone.now() - timedelta(days=days),
        }
        Summary.objects.create(**ended)
        Retranslation.objects.create(start=0, end=1, model_name="base", **ended)
        registry.recover_all()
        assert (Summary.objects.count(), Retranslation.objects.count()) == (left, left)


@rows
def test_unless_it_is_asked_for_nothing_expires() -> None:
    old = make_prepared_job(n_chunks=1)
    end(old, days_ago=9999)
    registry.recover_all()
    assert Job.objects.exists()
