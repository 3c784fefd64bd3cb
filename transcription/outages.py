"""What fails for a while and comes back without anybody's work being at fault: the database, space on the disk."""

import errno
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_when_event_set,
    wait_fixed,
)

AGAIN_AFTER_SECONDS = 1.0
DATABASE_ERRORS = (OperationalError, InterfaceError)
"""The database is gone, restarts, is locked for long, or has no room to write."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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
