"""Runs one claimed piece of work of any kind, and decides what becomes of it if it does not end.

Only an error of the work itself is a failure. If this process is to stop, in an outage, or if the database was migrated
by a newer version meanwhile, the work goes back to the queue.
"""

import logging
from collections.abc import Callable
from enum import Enum
from functools import partial

from django.db import Error as DatabaseFailure
from django.db import connection
from django.db.models import Q

from transcription.leasing import leases, schema, workers
from transcription.leasing.leases import Lease, LeaseLostError, StoppingError
from transcription.leasing.models import Leased
from transcription.leasing.outages import DATABASE_ERRORS, is_disk_full, wait_out

PAUSE_SECONDS = 10.0
"""How long a worker leaves work that it cannot do to other workers."""
WAITING_FOR_SPACE = "Waiting for space: the service's disk is full"

_logger = logging.getLogger(__name__)


class Outcome(Enum):
    ENDED = "ended"
    """The work is done or failed, or its lease was lost."""
    RETURNED = "returned"
    """It is back in the queue, and other workers were woken, except for a full disk: recovery tries again."""


def run(
    row: Leased,
    act: Callable[[Lease], None],
    *,
    name: str,
    wake: Callable[[], None],
    on_failure: Callable[[Lease, Exception], None],
    on_wait: Callable[[str], None] = lambda _: None,
    reason_files_missing: Callable[[], str | None] = lambda: None,
    condition: Callable[[], Q] = Q,
    grace_seconds: float = 0.0,
) -> Outcome:
    """Run `act` on a claimed row, whose lease is renewed meanwhile.

    `name` is the work's in the log; `wake` wakes a worker for it; `on_failure` saves that it failed, and must be
    idempotent; `on_wait` shows a user what it waits for. `reason_files_missing` says why only another machine may
    see files that `act` did not find, None if they are lost. `condition`, `grace_seconds`: see `Lease`.
    """
    with leases.keep_renewed(
        row, condition=condition, stopping=workers.stopping, grace_seconds=grace_seconds
    ) as lease:
        try:
            act(lease)
        except LeaseLostError:
            _logger.info("%s was cancelled or lost its lease.", name)
        except StoppingError:
            _logger.info("%s goes back to the queue: this worker stops.", name)
            _save(name, partial(_release, lease, wake))
            return Outcome.RETURNED
        except Exception as error:
            if _is_of_another_schema():
                _logger.warning("%s goes back to the queue, for a newer version: %r", name, error)
                _save(name, partial(_release, lease, wake))
                return Outcome.RETURNED
            reason = reason_to_wait(error, reason_files_missing)
            if reason is not None:
                return _wait(lease, reason, name=name, on_wait=on_wait, wake=wake)
            if isinstance(error, DATABASE_ERRORS):
                _logger.warning("%s met an outage of the database: %s", name, error)
                _save(name, partial(_release, lease, wake, reason=str(error), counts=True))
                return Outcome.RETURNED
            _save(name, partial(on_failure, lease, error))
    return Outcome.ENDED


def _is_of_another_schema() -> bool:
    """Whether the error may come from a migration that this process's code does not know."""
    try:
        return not schema.look_again()
    except DatabaseFailure:  # it is down
        return False


def reason_to_wait(
    error: Exception, reason_files_missing: Callable[[], str | None] = lambda: None
) -> str | None:
    """What the work has to wait for, if the error is an outage of a disk; None if it is another error."""
    if is_disk_full(error):
        return WAITING_FOR_SPACE
    return reason_files_missing() if isinstance(error, FileNotFoundError) else None


def reason_files_missing(*, is_here: bool, what: str = "the recording") -> str | None:
    """Why another machine may see files that this one does not; None on a single machine, where they are lost."""
    if is_here or connection.vendor != "postgresql":
        return None
    return (
        f"{leases.machine_name()} does not find {what}. "
        "All machines must share one TRANSCRIBER_FILES_DIR."
    )


def _wait(
    lease: Lease,
    reason: str,
    *,
    name: str,
    on_wait: Callable[[str], None],
    wake: Callable[[], None],
) -> Outcome:
    """Release the work for another worker or a later try, say why, and pause."""
    _logger.error("%s has to wait: %s", name, reason)
    released: list[bool] = []

    def release() -> None:
        released.append(lease.release(reason=reason))
        if released[-1]:
            on_wait(reason)

    _save(name, release)
    if released and not any(released):
        return Outcome.ENDED  # it was deleted, which is why its files are gone
    if reason != WAITING_FOR_SPACE:
        wake()
    workers.stopping.wait(PAUSE_SECONDS)
    return Outcome.RETURNED


def _release(
    lease: Lease, wake: Callable[[], None], *, reason: str = "", counts: bool = False
) -> None:
    if lease.release(reason=reason, counts=counts):
        wake()


def _save(name: str, save: Callable[[], None]) -> None:
    """Call `save` once the database answers; not if it is on a full disk, or this process is to stop meanwhile.

    Then the lease expires, and the work is taken up all the same.
    """
    try:
        wait_out(save, unless=is_disk_full)
    except DATABASE_ERRORS as error:
        _logger.error("What became of %s could not be saved: %s", name, error)
        connection.close()
