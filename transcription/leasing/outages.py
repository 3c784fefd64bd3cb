"""What fails for a while, with no work at fault: the database, space on the disk, a folder that is not shared."""

import errno
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connection
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_when_event_set,
    wait_fixed,
)

from transcription.jobs import lifecycle, progress
from transcription.leasing import leases, wakeups
from transcription.leasing.leases import Lease
from transcription.models import Job, Recording
from transcription.recordings import is_stored

AGAIN_AFTER_SECONDS = 1.0
DATABASE_ERRORS = (OperationalError, InterfaceError, InternalError)
"""The database is gone, restarts, is locked for long, has no room to write, or gave this process up."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LATER_SECONDS = 10.0
"""For so long a worker that cannot do what others perhaps can leaves it to them."""

Found = TypeVar("Found")
_logger = logging.getLogger(__name__)


def is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    of_sqlite, of_postgresql = "disk is full", "No space left"
    return isinstance(error, OperationalError) and (
        of_sqlite in str(error) or of_postgresql in str(error)
    )


def wait_out(
    act: Callable[[], Found],
    *,
    stopping: threading.Event,
    but_for: Callable[[Exception], bool] = lambda _: False,
) -> Found:
    """What `act` returns, however often the database fails first; its last error once this process is to end.

    An error that `but_for` is true of is not waited out.

    `act` must be whole transactions that find out for themselves whether an earlier try went through.
    """
    tries = Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, DATABASE_ERRORS) and not but_for(error)
        ),
        wait=wait_fixed(AGAIN_AFTER_SECONDS),
        stop=stop_when_event_set(stopping),
        sleep=sleep_using_event(stopping),
        before_sleep=_note,
        reraise=True,
    )
    return tries(act)


def _note(state: RetryCallState) -> None:
    connection.close()  # what a lost connection is replaced by is a new one
    if state.attempt_number == 1 or state.attempt_number % 60 == 0:
        error = state.outcome.exception() if state.outcome else None
        _logger.warning("Waiting for the database (%d tries): %s", state.attempt_number, error)


def why_later(job: Job, error: Exception) -> str | None:
    """What work has to wait for, if it is not at fault itself. What was done of it is gone over, not lost."""
    if is_disk_full(error):
        return progress.WAITING_FOR_SPACE  # once a minute recovery looks whether there is some
    return why_elsewhere(job.recording) if isinstance(error, FileNotFoundError) else None


def why_elsewhere(recording: Recording) -> str | None:
    """Why others may find it: on one machine what is not there is gone, of several another one may see it."""
    if connection.vendor != "postgresql" or is_stored(recording):
        return None
    return (
        f"{leases.machine_name()} does not find the recording. "
        "All machines must share one TRANSCRIBER_FILES_DIR."
    )


def leave_for_later(job: Job, lease: Lease, reason: str, *, stopping: threading.Event) -> None:
    """Give work back, and say why, so that another or a later try may do it."""
    try:
        if not lease.give_back(because=reason):
            return  # it was deleted, which is why its files are gone
        _logger.error("Job %s is left for later: %s", job.pk, reason)
        lifecycle.say(job_id=job.pk, message=reason)
    except DATABASE_ERRORS as error:  # on the same full disk; the lease ends by itself
        _logger.error(
            "Job %s is left for later: %s. Nor could that be noted: %s", job.pk, reason, error
        )
        connection.close()
    if reason != progress.WAITING_FOR_SPACE:
        wakeups.wake_preparers()
        wakeups.wake_speech_workers()
    stopping.wait(LATER_SECONDS)
