"""The readiness endpoint: each part of the service, its problems and warnings."""

import shutil
import time
from collections import namedtuple
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client, override_settings
from django.utils import timezone

from tests.service import ON_SERVERS, Service, wait_for
from transcriber_site import readiness
from transcription import recordings
from transcription.jobs import recovery
from transcription.jobs.installed_models import capabilities
from transcription.leasing import registry
from transcription.leasing.workers import alive, secret_id, send_heartbeat
from transcription.models import Worker

READY = "/health/ready"

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.fixture(autouse=True)
def _started_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    start_seconds_ago(monkeypatch, readiness.START_SECONDS + 1)


def start_seconds_ago(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(readiness, "_started_at", time.monotonic() - seconds)


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path) -> Any:
    with override_settings(MEDIA_ROOT=tmp_path):
        yield


def add_worker(role: str, *, machine: str = "here", **values: Any) -> Worker:
    values = {
        "secret_id": secret_id(),
        "files_id": recordings.storage_id(),
        "started_at": timezone.now(),
        "seen_at": timezone.now(),
        **values,
    }
    return Worker.objects.create(
        name=f"{machine}/{role}/{Worker.objects.count()}", machine=machine, role=role, **values
    )


@pytest.fixture
def workers() -> list[Worker]:
    return [add_worker("speech", model_name="tiny.en", device="cpu"), add_worker("interactive")]


def problems(client: Client) -> str:
    answer = client.get(READY)
    assert answer.status_code == 503
    document = answer.json()
    assert document["status"] == "not ready"
    return str(document["detail"])


def test_a_service_with_all_its_parts_is_ready(client: Client, workers: list[Worker]) -> None:
    answer = client.get(READY)
    assert answer.status_code == 200
    document = answer.json()
    assert document["status"] == "ready"
    assert abs(document["timestamp"] - time.time()) < 5
    assert document["database"] == {
        "kind": "postgresql" if ON_SERVERS else "sqlite",
        "answers": True,
    }
    assert document["queue"] == {
        "kind": "redis" if ON_SERVERS else "database",
        "answers": True,
        "waiting": {"speech": 0, "interactive": 0},
    }
    assert document["workers"] == {"speech": 1, "interactive": 1}
    assert document["models"] == ["tiny.en"]
    assert [one["model"] for one in document["seen"]] == [None, "tiny.en"]
    assert all(0 <= one["seconds_ago"] < 5 for one in document["seen"])
    assert document["disk"][0]["free_bytes"] > 0


def test_health_makes_no_query(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get("/health").json()["status"] == "healthy"


@pytest.mark.parametrize("role", readiness.ROLES)
def test_without_a_worker_of_each_role_it_is_not_ready(
    client: Client, workers: list[Worker], role: str
) -> None:
    gone = timezone.now() - timedelta(seconds=61)
    Worker.objects.filter(role=role).update(seen_at=gone)
    assert problems(client) == f"No {role} worker was seen within the last minute."


@pytest.mark.parametrize("has_other", [True, False])
def test_right_after_its_start_workers_are_said_to_be_starting(
    client: Client, workers: list[Worker], monkeypatch: pytest.MonkeyPatch, has_other: bool
) -> None:
    """For a minute; whoever has not come by then is missing."""
    for worker in workers[1:] if has_other else workers:
        worker.delete()
    roles = ["interactive"] if has_other else ["speech", "interactive"]
    start_seconds_ago(monkeypatch, 3)
    answer = client.get(READY)
    assert answer.status_code == 503
    assert answer.json()["status"] == "starting"
    lines = [f"The {role} workers are starting: none was seen yet." for role in roles]
    assert answer.json()["detail"] == " ".join(lines)
    start_seconds_ago(monkeypatch, readiness.START_SECONDS)
    lines = [f"No {role} worker was seen within the last minute." for role in roles]
    assert problems(client) == " ".join(lines)


def test_what_else_is_wrong_at_its_start_is_no_matter_of_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_seconds_ago(monkeypatch, 3)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1_000_000))
    detail = problems(client)
    assert "is full: 1 MB are free" in detail
    assert "The speech workers are starting" in detail


def test_without_a_database_it_is_not_ready(
    client: Client, workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Any:
        raise DatabaseError("no route to host\nand more")

    monkeypatch.setattr(connection, "cursor", refuse)
    monkeypatch.setattr(readiness, "get_broker", lambda _: refuse())
    document = client.get(READY).json()
    assert "The database does not answer: no route to host" in document["detail"]
    assert "and more" not in document["detail"]
    assert "The queue does not answer" in document["detail"]
    assert document["database"]["answers"] is False
    assert "workers" not in document


def test_with_a_full_disk_it_is_not_ready(
    client: Client, workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1_000_000))
    assert "is full: 1 MB are free" in problems(client)


def test_workers_with_another_secret_or_other_files_are_named(
    client: Client, workers: list[Worker]
) -> None:
    add_worker("speech", machine="attic", secret_id="another")
    add_worker("speech", machine="cellar", files_id="another", model_name="base")
    answer = client.get(READY)
    assert answer.status_code == 200, "the others can do the work"
    document = answer.json()
    assert document["workers"]["speech"] == 1
    assert document["models"] == ["tiny.en"]
    secret, files = document["warnings"]
    assert "Workers on attic have another secret key" in secret
    assert "Workers on cellar have other files" in files
    workers[0].delete()
    detail = problems(client)
    assert "No speech worker was seen" in detail
    assert "Workers on cellar have other files" in detail


def test_a_worker_sends_heartbeats_and_is_deleted_when_they_stop() -> None:
    send_heartbeat(role=registry.SPEECH, capabilities=capabilities())
    send_heartbeat(role=registry.SPEECH, capabilities=capabilities())
    worker = Worker.objects.get()
    assert (worker.role, worker.model_name) == ("speech", "")
    assert (worker.secret_id, worker.files_id) == (secret_id(), recordings.storage_id())
    assert worker in alive()
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=2))
    assert worker not in alive()
    recovery.recover()
    assert Worker.objects.exists()
    Worker.objects.update(seen_at=timezone.now() - timedelta(hours=2))
    recovery.recover()
    assert not Worker.objects.exists()


def test_secret_keys_are_compared_without_revealing_them() -> None:
    ids = {secret_id()}
    with override_settings(SECRET_KEY="another"):
        ids.add(secret_id())
    assert len(ids) == 2
    assert "another" not in "".join(ids)


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_another_method_is_refused(client: Client, method: str) -> None:
    assert getattr(client, method)(READY).status_code == 405


@pytest.mark.slow
def test_the_service_becomes_ready_and_names_its_loaded_models(
    service: Service, audio_dir: Path
) -> None:
    service.transcribe(audio_dir / "jfk.flac")

    def loaded() -> dict[str, Any] | None:
        document: dict[str, Any] = service.client.get(READY).json()
        return document if document["models"] else None

    document = wait_for(loaded, what="a loaded model")
    assert document["status"] == "ready", document
    assert document["models"] == ["tiny.en"]
    assert document["workers"] == {"speech": 1, "interactive": 2}
    assert service.client.get("/health").json()["status"] == "healthy"


@pytest.mark.slow
@pytest.mark.embedded
def test_a_service_that_starts_says_so(fresh_service: Service) -> None:
    """The web process answers seconds before the first worker can have sent a heartbeat."""
    seen = []

    def is_ready() -> bool:
        document = fresh_service.client.get(READY).json()
        seen.append(document["status"])
        return bool(document["status"] == "ready")

    wait_for(is_ready, what="that the service is ready", seconds=readiness.START_SECONDS)
    assert set(seen) == {"starting", "ready"}
