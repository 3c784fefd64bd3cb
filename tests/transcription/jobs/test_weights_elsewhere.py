"""The web process may be on a machine without any weights: what workers have counts."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from tests import queued
from tests.rows import reload
from tests.transcription.jobs.builders import make_prepared_job, states
from transcription import recordings
from transcription.jobs import installed_models, speech_worker
from transcription.jobs.installed_models import capabilities
from transcription.leasing import registry, wakeups, workers
from transcription.leasing.workers import send_heartbeat
from transcription.models import Job, Worker
from transcription.speech import fetching

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fetching, "can_download", lambda *_, **__: False)
    with override_settings(MEDIA_ROOT=tmp_path, TRANSCRIBER_MODELS_DIR=tmp_path / "models"):
        yield


@pytest.fixture
def worker() -> Worker:
    return Worker.objects.create(
        name="elsewhere/1",
        machine="elsewhere",
        role="speech",
        weights=["small"],
        secret_id=workers.secret_id(),
        files_id=recordings.storage_id(),
        started_at=timezone.now(),
        seen_at=timezone.now(),
    )


def upload(client: Client, audio_dir: Path, model_name: str = "small") -> Any:
    with (audio_dir / "2412-153948-0000.flac").open("rb") as file:
        return client.post("/api/transcribe/", {"file": file, "model_name": model_name})


def is_downloaded(client: Client, model_name: str = "small") -> bool:
    listed = client.get("/api/transcribe/models").json()["models"]
    [found] = [model for model in listed if model["name"] == model_name]
    return bool(found["is_downloaded"])


def test_a_model_that_a_worker_has_can_be_asked_for(
    client: Client, audio_dir: Path, worker: Worker
) -> None:
    assert is_downloaded(client)
    assert upload(client, audio_dir).status_code == 200
    assert Job.objects.get().model_name == "small"


def test_who_lacks_it_leaves_it_to_who_has_it(
    client: Client, audio_dir: Path, worker: Worker
) -> None:
    assert installed_models.is_left_to_others("small", role="speech")
    assert not installed_models.is_left_to_others("medium", role="speech"), (
        "nobody has it: its job fails"
    )
    assert not installed_models.is_left_to_others("tiny.en", role="speech"), "it is here"
    assert not installed_models.is_left_to_others("small", role="interactive")
    Worker.objects.update(role="interactive")
    assert not installed_models.is_left_to_others("small", role="speech")
    assert upload(client, audio_dir).status_code == 503, "who retranslates does not transcribe"


def test_who_has_it_may_be_restarted_meanwhile(worker: Worker) -> None:
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=30))
    assert installed_models.is_left_to_others("small", role="speech")
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=61))
    workers.forget_dead()
    assert not installed_models.is_left_to_others("small", role="speech"), (
        "its job fails, and says why"
    )


def test_weights_where_no_worker_is_are_of_no_use(
    client: Client, audio_dir: Path, worker: Worker
) -> None:
    assert not is_downloaded(client, "base")
    assert upload(client, audio_dir, "base").status_code == 503
    send_heartbeat(role="speech", capabilities=capabilities())  # as a worker here does
    assert is_downloaded(client, "base")
    assert upload(client, audio_dir, "base").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_chunk_for_others_is_not_taken_and_its_message_goes_on(worker: Worker) -> None:
    job = make_prepared_job(n_chunks=1)
    Job.objects.filter(pk=job.pk).update(model_name="small")
    queued.lose_messages()
    speech_worker.work_on_speech()
    assert states(job) == ["todo"]
    assert reload(job).status == Job.Status.RUNNING
    assert wakeups.queue_length(registry.SPEECH) == 1


@pytest.mark.django_db(transaction=True)
def test_a_chunk_for_nobody_fails_and_says_why() -> None:
    job = make_prepared_job(n_chunks=1)
    Job.objects.filter(pk=job.pk).update(model_name="small")
    queued.lose_messages()
    speech_worker.work_on_speech()
    assert reload(job).status == Job.Status.FAILED
    assert "small" in reload(job).message


def test_one_that_nobody_has_is_refused(client: Client, audio_dir: Path, worker: Worker) -> None:
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=2))
    assert not is_downloaded(client)
    answer = upload(client, audio_dir)
    assert answer.status_code == 503
    assert "The weights of the model 'small' are not on this machine" in answer.json()["detail"]


def test_a_worker_tells_what_it_has() -> None:
    send_heartbeat(role="speech", capabilities=capabilities())
    assert {"tiny.en", "base"} <= set(Worker.objects.get().weights)
