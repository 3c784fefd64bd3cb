"""A process whose code is older or newer than the database's schema takes no work, says so, and loses none."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from tests.rows import reload
from tests.transcription.jobs.builders import make_prepared_job
from transcriber_site import readiness
from transcriber_site.cluster import IdleBroker
from transcriber_site.management.commands import serve
from transcription.jobs import transcribe
from transcription.leasing import leases, registry, schema, work, workers
from transcription.models import Chunk, Leased, Worker

pytestmark = [pytest.mark.django_db, pytest.mark.both]

LATER = ("transcription", "9999_later")
LATEST = max(name for app, name in schema._on_disk()[0] if app == "transcription")


@pytest.fixture(autouse=True)
def _seen_by_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_seen", schema.FITS)
    monkeypatch.setattr(schema, "_looked_at", -schema.LOOK_SECONDS)


def migrate_later() -> None:
    """As a newer version does."""
    MigrationRecorder(connection).record_applied(*LATER)


def migrate_back() -> None:
    MigrationRecorder(connection).record_unapplied(*LATER)


def forget_latest() -> None:
    """As if the last migration were still to come."""
    MigrationRecorder(connection).record_unapplied("transcription", LATEST)


# ---- Looking


def test_a_migrated_database_fits() -> None:
    assert schema.look() == schema.FITS
    assert schema.look().problem == ""


def test_a_migration_that_this_code_does_not_have_is_named_with_what_to_do() -> None:
    migrate_later()
    found = schema.look()
    assert found.unknown == ("transcription.9999_later",)
    assert "migrated by a newer version (migration transcription.9999_later)" in found.problem
    assert "Restart this process with the new version" in found.problem


def test_a_migration_that_is_still_to_come_is_named_with_what_to_do() -> None:
    forget_latest()
    found = schema.look()
    assert found.missing == (f"transcription.{LATEST}",)
    assert "manage.py serve" in found.problem


def test_a_database_without_tables_is_to_be_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MigrationRecorder, "has_table", lambda _: False)
    assert len(schema.look().missing) == len(schema._on_disk()[0])


def test_migrations_of_an_app_that_is_no_longer_installed_do_not_count() -> None:
    MigrationRecorder(connection).record_applied("removed_app", "0001_initial")
    assert schema.look() == schema.FITS


# ---- Working


@pytest.mark.parametrize("change", [migrate_later, forget_latest])
def test_a_process_of_another_version_claims_nothing(change: Callable[[], None]) -> None:
    make_prepared_job(n_chunks=1)
    change()
    assert not schema.look_again()
    assert transcribe.claim_chunk(model_name="tiny.en") is None
    assert set(Chunk.objects.values_list("state", "attempts")) == {(Leased.State.TODO, 0)}


def test_once_the_schema_fits_it_claims_again() -> None:
    make_prepared_job(n_chunks=1)
    migrate_later()
    assert not schema.look_again()
    migrate_back()
    assert schema.look_again()
    assert transcribe.claim_chunk(model_name="tiny.en") is not None


def test_it_recovers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recovered: list[str] = []
    monkeypatch.setattr("transcription.jobs.recovery.recover", lambda: recovered.append("jobs"))
    migrate_later()
    schema.look_again()
    registry.recover_all()
    assert recovered == []
    migrate_back()
    schema.look_again()
    registry.recover_all()
    assert recovered == ["jobs"]


def test_it_fetches_no_task() -> None:
    class Broker:
        list_key = "speech"
        n_fetched = 0

        def dequeue(self) -> list[tuple[int, str]]:
            self.n_fetched += 1
            return [(1, "a task")]

    broker, may_work = Broker(), [False, True]
    pusher = IdleBroker(broker, threading.Semaphore(1), lambda: may_work.pop(0))
    assert pusher.dequeue() is None
    assert broker.n_fetched == 0
    assert pusher.dequeue() == [(1, "a task")], "the worker counted as idle meanwhile"


def test_who_looks_by_himself_looks_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bool] = []

    def look() -> schema.Schema:
        looked.append(True)
        return schema.FITS

    monkeypatch.setattr(schema, "look", look)
    monkeypatch.setattr(connection, "close", lambda: None)
    assert all(schema.is_fit_by_now() for _ in range(5))
    assert looked == [True]
    monkeypatch.setattr(schema, "_looked_at", time.monotonic() - schema.LOOK_SECONDS)
    assert schema.is_fit_by_now()
    assert looked == [True, True]


def test_a_database_that_is_down_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(schema, "look", refuse)
    monkeypatch.setattr(connection, "close", lambda: None)
    assert schema.is_fit_by_now()
    monkeypatch.setattr(schema, "_seen", schema.Schema(unknown=("a.b",)))
    monkeypatch.setattr(schema, "_looked_at", -schema.LOOK_SECONDS)
    assert not schema.is_fit_by_now()


def test_work_that_fails_after_a_newer_version_migrated_goes_back_and_counts_as_no_attempt() -> (
    None
):
    make_prepared_job(n_chunks=1)
    chunk = transcribe.claim_chunk(model_name="tiny.en")
    assert chunk is not None
    failures: list[Exception] = []

    def act(lease: leases.Lease) -> None:
        migrate_later()
        raise ValueError("null value in column transcribed_by")

    outcome = work.run(
        chunk,
        act,
        name="The chunk",
        wake=lambda: None,
        on_failure=lambda _, error: failures.append(error),
    )
    assert outcome is work.Outcome.RETURNED
    assert failures == []
    found = reload(chunk)
    assert (found.state, found.attempts, found.failures) == (Leased.State.TODO, 0, 0)


# ---- Saying so


def test_a_worker_that_is_too_old_counts_for_no_queue_and_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_started_at", time.monotonic() - 1000)
    capabilities = workers.Capabilities(weights=["tiny.en"])
    workers.send_heartbeat(role=registry.SPEECH, capabilities=capabilities)
    assert workers.weights_of_workers(role=registry.SPEECH) == {"tiny.en"}
    migrate_later()
    schema.look_again()
    workers.send_heartbeat(role=registry.SPEECH, capabilities=capabilities)
    assert workers.weights_of_workers(role=registry.SPEECH, recently=True) == set()
    migrate_back()  # for the web process, which is of the new version
    document = client.get("/health/ready").json()
    assert document["workers"]["speech"] == 0
    here = leases.machine_name()
    assert any(
        f"Workers on {here} are older than the database's schema and take no work" in warning
        for warning in document["warnings"]
    )


def test_a_worker_that_waits_for_the_migration_sends_no_heartbeat() -> None:
    forget_latest()
    schema.look_again()
    workers.send_heartbeat(role=registry.SPEECH, capabilities=workers.Capabilities())
    assert not Worker.objects.exists()


def test_a_web_process_of_another_version_is_not_ready(client: Client) -> None:
    migrate_later()
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert "Restart this process with the new version" in answer.json()["detail"]


@pytest.fixture
def without_a_column() -> Iterator[None]:
    """In no transaction of the test's: on PostgreSQL a query that fails would end it."""

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE transcription_job RENAME COLUMN {old} TO {new}")

    rename("message", "said")
    yield
    rename("said", "message")
    recorder = MigrationRecorder(connection)
    if ("transcription", LATEST) not in recorder.applied_migrations():
        recorder.record_applied("transcription", LATEST)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_a_column")
@pytest.mark.parametrize("is_migrated", [True, False])
def test_a_request_that_fails_for_want_of_a_migration_is_told_so(
    client: Client, is_migrated: bool
) -> None:
    """If nothing is wrong with the schema, a failing query is a bug, and stays one."""
    if not is_migrated:
        forget_latest()
    client.raise_request_exception = False
    answer = client.get("/api/transcribe/jobs")
    if is_migrated:
        assert answer.status_code == 500
    else:
        assert answer.status_code == 503
        assert "The service is being upgraded" in answer.json()["detail"]
        assert LATEST in answer.json()["detail"]


def test_serve_refuses_to_start_on_a_newer_database() -> None:
    migrate_later()
    with pytest.raises(CommandError, match=r"migrated by a newer version .*9999_later"):
        serve._check_not_newer()


@pytest.mark.django_db(transaction=True)
def test_a_worker_waits_for_the_migration_then_takes_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(schema, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(workers, "SCHEMA_LOG_SECONDS", 0.1)
    stopping, fits = threading.Event(), threading.Event()
    monkeypatch.setattr(workers, "stopping", stopping)
    answers = {"now": schema.Schema(missing=("transcription.0009_next",))}
    monkeypatch.setattr(schema, "look", lambda: answers["now"])
    try:
        with caplog.at_level(logging.INFO):
            workers.watch_schema(on_fit=fits.set)
            assert not schema.is_fit(), "known before the first task"
            until = time.monotonic() + 0.5
            while time.monotonic() < until and caplog.text.count("takes no work") < 2:
                time.sleep(0.02)
            assert not fits.is_set()
            answers["now"] = schema.FITS
            assert fits.wait(10)
        assert schema.is_fit()
    finally:
        stopping.set()
    said = [record.getMessage() for record in caplog.records if "work" in record.getMessage()]
    assert said[0].startswith("This worker takes no work. The database is not migrated yet")
    assert said[1] == said[0], "again while it lasts"
    assert said[-1].endswith("it takes work.")
