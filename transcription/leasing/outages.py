"""Outages: the database is down, or the disk is full. Work that meets one is not at fault."""

import errno
import logging
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

from transcription.leasing.workers import stopping

RETRY_SECONDS = 1.0
DATABASE_ERRORS = (OperationalError, InterfaceError, InternalError)
"""The database is down, restarting, locked for too long, out of space, or closed this connection."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Result = TypeVar("Result")
_logger = logging.getLogger(__name__)


def is_disk_full(error: BaseException) -> bool:
    """Whether the error, or its cause, says that a disk is full: this machine's or the database's."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    if error.__cause__ is not None and is_disk_full(error.__cause__):
        return True
    of_sqlite, of_postgresql = "disk is full", "No space left"
    return isinstance(error, OperationalError) and (
        of_sqlite in str(error) or of_postgresql in str(error)
    )


def wait_out(
    act: Callable[[], Result], *, unless: Callable[[Exception], bool] = lambda _: False
) -> Result:
    """Call `act` until the database answers; returns its result.

    `act` must consist of whole transactions and be idempotent: a try whose commit went through may be repeated.
    An error for which `unless` is true is raised at once; so is the last error when this process is to stop.
    """
    tries = Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, DATABASE_ERRORS) and not unless(error)
        ),
        wait=wait_fixed(RETRY_SECONDS),
        stop=stop_when_event_set(stopping),
        sleep=sleep_using_event(stopping),
        before_sleep=_drop_connection,
        reraise=True,
    )
    return tries(act)


def _drop_connection(state: RetryCallState) -> None:
    """Drop the dead connection; Django reconnects on next use."""
    connection.close()
    if state.attempt_number == 1 or state.attempt_number % 60 == 0:
        error = state.outcome.exception() if state.outcome else None
        _logger.warning("Waiting for the database (%d tries): %s", state.attempt_number, error)
