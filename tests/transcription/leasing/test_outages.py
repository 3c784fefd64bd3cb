"""The database is waited for, and a full disk is told from other errors."""

import errno
import threading
import time

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction

from transcription.leasing import outages
from transcription.speech.engines.base import SpeechError

pytestmark = pytest.mark.both

FULL = OSError(errno.ENOSPC, "No space left on device")


def caused_by(error: Exception) -> SpeechError:
    """As a model's download says it."""
    failure = SpeechError(str(error))
    failure.__cause__ = error
    return failure


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
        (caused_by(FULL), True),
    ],
)
def test_a_full_disk_is_told_from_others(error: Exception, is_full: bool) -> None:
    assert outages.is_disk_full(error) == is_full
