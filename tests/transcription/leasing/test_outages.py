"""What fails for a while is waited for: the database, space on the disk, a folder that is not shared."""

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError, connection, transaction
from django.test import override_settings

from tests import queued
from tests.rows import reload
from tests.transcription.builders import lease_of
from tests.transcription.jobs.builders import claim_chunk, make_prepared_job, states
from transcription.jobs import later, prepare, retry_and_delete, status
from transcription.leasing import outages
from transcription.models import Stage
from transcription.recordings import folder

pytestmark = pytest.mark.both

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path) -> Iterator[None]:
    with override_settings(MEDIA_ROOT=tmp_path):
        yield


def set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "RETRY_SECONDS", 0.01)


class Failing:
    """Raises these errors, one a call, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


rows = pytest.mark.django_db(transaction=True)


@rows
@pytest.mark.usefixtures("at_once")
def test_the_database_is_waited_for() -> None:
    act = Failing(OperationalError("gone"), InterfaceError("closed"), OperationalError("starting"))
    assert outages.wait_out(act) == "done"
    assert act.errors == []


@pytest.mark.servers
@rows
@pytest.mark.usefixtures("at_once")
def test_who_was_stopped_in_mid_transaction_is_given_up_and_begins_anew() -> None:
    stopped: list[bool] = []

    def act() -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            if stopped:
                return True
            stopped.append(True)
            cursor.execute("SET idle_in_transaction_session_timeout = 100")
            time.sleep(0.5)
            cursor.execute("SELECT 1")
        return False

    assert outages.wait_out(act)


@pytest.mark.servers
@pytest.mark.django_db
def test_postgresql_gives_up_who_is_gone() -> None:
    """Within seconds, not hours: what a machine held when it vanished others wait for."""
    with connection.cursor() as cursor:
        for name, value in {
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "10000",
            "idle_in_transaction_session_timeout": "120000",
        }.items():
            cursor.execute("SELECT reset_val FROM pg_settings WHERE name = %s", [name])
            assert cursor.fetchone()[0] == value, name


@rows
@pytest.mark.usefixtures("at_once")
def test_what_is_no_outage_is_raised_at_once() -> None:
    act = Failing(OperationalError("gone"), ValueError("a bug"), ValueError("another"))
    with pytest.raises(ValueError, match="a bug"):
        outages.wait_out(act)
    assert len(act.errors) == 1


@rows
@pytest.mark.usefixtures("at_once")
def test_who_is_to_end_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "stopping", set_event())
    with pytest.raises(OperationalError, match="first"):
        outages.wait_out(Failing(OperationalError("first")))


@rows
@pytest.mark.usefixtures("at_once")
def test_an_exception_is_not_waited_out() -> None:
    act = Failing(OperationalError("gone"), OperationalError("database or disk is full"))
    with pytest.raises(OperationalError, match="full"):
        outages.wait_out(act, unless=outages.is_disk_full)


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (FULL, True),
        (OSError(errno.EDQUOT, "quota"), True),
        (OSError(errno.EIO, "broken"), False),
        (OperationalError("database or disk is full"), True),
        (OperationalError('could not extend file "base/1": No space left on device'), True),
        (OperationalError("connection refused"), False),
        (ValueError("disk is full"), False),
    ],
)
def test_a_full_disk_is_told_from_others(error: Exception, is_full: bool) -> None:
    assert outages.is_disk_full(error) == is_full


@rows
def test_what_waits_for_space_is_given_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_prepared_job(n_chunks=0)
    Stage.objects.filter(job=job).update(state="todo", attempts=0)
    stage = prepare.claim_preparation()
    assert stage is not None
    reason = later.reason_to_wait(job, FULL)
    assert reason == status.WAITING_FOR_SPACE
    monkeypatch.setattr(later, "stopping", set_event())
    queued.lose_messages()
    later.release_for_later(job, lease_of(stage), reason)
    stage.refresh_from_db()
    assert (stage.state, stage.attempts, stage.failures) == ("todo", 0, 0)
    assert status.status_document(reload(job))["message"] == reason
    assert queued.n_messages() == 0, "there is no more room a moment later"


@rows
def test_a_recording_that_another_machine_may_see_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On one machine there is none: what is not there is gone."""
    job = make_prepared_job(n_chunks=1)
    chunk = claim_chunk()
    reason = later.reason_to_wait(job, FileNotFoundError("a piece"))
    assert reason is None, "this machine sees it"
    for name in default_storage.listdir(folder(job.recording))[1]:
        default_storage.delete(f"{folder(job.recording)}/{name}")
    reason = later.reason_to_wait(job, FileNotFoundError("a piece"))
    if connection.vendor == "sqlite":
        assert reason is None
        return
    assert reason is not None
    assert "All machines must share one TRANSCRIBER_FILES_DIR" in reason
    monkeypatch.setattr(later, "stopping", set_event())
    queued.lose_messages()
    later.release_for_later(job, lease_of(chunk), reason)
    assert states(job) == ["todo"]
    assert queued.n_messages() == 2, "others are told"


@rows
def test_what_is_deleted_in_the_midst_is_not_waited_for() -> None:
    job = make_prepared_job(n_chunks=1)
    lease = lease_of(claim_chunk())
    retry_and_delete.delete_job(job_id=job.pk)
    queued.lose_messages()
    began = time.monotonic()
    later.release_for_later(job, lease, "Its files are gone.")
    assert time.monotonic() - began < later.PAUSE_SECONDS / 2
    assert queued.n_messages() == 0
