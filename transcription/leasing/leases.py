"""Leases: one worker at a time holds a unit of work, and loses it when it stops renewing.

Every state change is a conditional UPDATE whose row count is checked. Times come from the database's clock, so
workers need no synchronized clocks.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from transcription.leasing import schema
from transcription.leasing.models import Leased

Row = TypeVar("Row", bound=Leased)

MAX_ATTEMPTS = 10
"""Work that was started this often without ending in success or error is assumed to kill its workers."""
RENEWAL_SECONDS = 0.5
"""Workers notice a cancellation at a renewal; a promise of two seconds leaves room for one decoder step."""

RESET_TO_TODO: dict[str, Any] = {
    "state": Leased.State.TODO,
    "attempts": 0,
    "failures": 0,
    "error": "",
    "lease_until": None,
    "worker": "",
}
"""Column values that put a row back into the queue; a worker that still holds it loses its lease."""

_logger = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """The work no longer belongs to this worker: it was cancelled, deleted, reset, or claimed by another."""


class StoppingError(Exception):
    """This process is to stop, and the work is not to be finished first."""


class Lease:
    """A claim on `row`, renewed twice a second by a background thread; see `keep_renewed`.

    `condition` returns a Q that must hold at each renewal, such as "the job is active". It may use the row's own
    columns and subqueries, never a join: Django would move the whole WHERE clause of the renewal into a subquery,
    and PostgreSQL does not check that again after it has waited for a concurrent commit.

    `stopping` is the event that tells this process to stop, after which the work may go on for `grace_seconds`.
    """

    def __init__(
        self,
        row: Leased,
        *,
        condition: Callable[[], Q],
        stopping: threading.Event | None = None,
        grace_seconds: float = 0.0,
    ) -> None:
        self.row = row
        self.progress: int | None = None
        self._condition = condition
        self._stopping = stopping
        self._grace_seconds = grace_seconds
        self._stop_at: float | None = None
        self._lost = threading.Event()

    def check(self) -> None:
        """Raises LeaseLostError if the last renewal failed, StoppingError if the process is to stop."""
        if self._lost.is_set():
            raise LeaseLostError
        if self._stopping is not None and self._stopping.is_set():
            now = time.monotonic()
            self._stop_at = now + self._grace_seconds if self._stop_at is None else self._stop_at
            if now >= self._stop_at:
                raise StoppingError

    def release(self, *, reason: str = "", counts: bool = False) -> bool:
        """Put the work back into the queue. False if the lease was lost.

        The attempt counts only if it `counts`: that bounds how often work is repeated that may cause its trouble.
        """
        attempts = F("attempts") if counts else F("attempts") - 1
        released = self.held_rows().update(
            state=Leased.State.TODO, lease_until=None, attempts=attempts, error=reason
        )
        return bool(released)

    def held_rows(self) -> "QuerySet[Leased]":
        """The row while it is held under this claim, else an empty queryset; every UPDATE goes through it."""
        return type(self.row)._default_manager.filter(
            pk=self.row.pk, state=Leased.State.DOING, worker=self.row.worker
        )

    def renew(self) -> bool:
        """Extend the lease, and save `progress`. False, and remembered for `check`, if the lease was lost."""
        values = {"lease_until": _lease_end()}
        if self.progress is not None:
            values["progress"] = self.progress
        renewed = self.held_rows().filter(self._condition()).update(**values)
        if not renewed:
            self._lost.set()
        return bool(renewed)


class _Renewer:
    """Renews all leases of this process in one thread, with one connection that is open while any lease is held."""

    def __init__(self) -> None:
        self._leases: list[Lease] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        with self._changed:
            self._leases.append(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, lease: Lease) -> None:
        with self._changed:
            self._leases.remove(lease)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            for lease in self._wait_until_due():
                try:
                    lease.renew()
                except DatabaseFailure as error:
                    _logger.warning("Leases could not be renewed: %s", error)
                    connection.close()
                    break  # the remaining renewals would fail too, each after its own timeout
                except Exception:  # no exception may end the only renewing thread
                    _logger.exception("A lease could not be renewed.")

    def _wait_until_due(self) -> list[Lease]:
        with self._changed:
            if not self._leases:
                connection.close()
                self._changed.wait_for(lambda: self._leases)
            self._changed.wait_for(lambda: not self._leases, timeout=RENEWAL_SECONDS)
            return list(self._leases)


_renewer = _Renewer()


def claimable() -> Q:
    """Rows that no worker holds: in the queue, or with an expired lease."""
    waiting = Q(state=Leased.State.TODO) | Q(state=Leased.State.DOING, lease_until__lt=Now())
    return waiting & Q(attempts__lt=F("failures") + MAX_ATTEMPTS)


def claim(candidates: "QuerySet[Row]") -> Row | None:
    """Claim the first claimable row of `candidates`, in their order. None if there is none, or this process may not.

    Of the changed columns the returned row has `state`, `worker` and `attempts` up to date.
    """
    if not schema.is_fit():
        return None
    with transaction.atomic():  # on SQLite this takes the database's write lock
        waiting = candidates.filter(claimable())
        if connection.features.has_select_for_update_skip_locked:
            waiting = waiting.select_for_update(skip_locked=True, of=("self",))
        row = waiting.first()
        if row is None:
            return None
        row.state = Leased.State.DOING
        row.worker = f"{process_name()}/{uuid.uuid4().hex[:12]}"
        claimed = (
            type(row)
            ._default_manager.filter(pk=row.pk, attempts=row.attempts)
            .update(
                state=row.state,
                worker=row.worker,
                lease_until=_lease_end(),
                attempts=row.attempts + 1,
                started_at=Now(),
                finished_at=None,
            )
        )
        row.attempts += 1
    return row if claimed else None  # another worker was first


@contextmanager
def keep_renewed(
    row: Leased,
    *,
    condition: Callable[[], Q],
    stopping: threading.Event | None = None,
    grace_seconds: float = 0.0,
) -> Iterator[Lease]:
    """Renew the lease on the claimed `row` while the block runs; see `Lease` for the arguments."""
    lease = Lease(row, condition=condition, stopping=stopping, grace_seconds=grace_seconds)
    _renewer.add(lease)
    try:
        yield lease
    finally:
        _renewer.remove(lease)


# ---- Recovery


class OnExhausted(Protocol):
    """Called for a row that was failed by `fail_exhausted`, in the same transaction."""

    def __call__(self, row: Any, *, error: str) -> None: ...


def release_rows_of_dead_workers(model: type[Leased]) -> int:
    """Release what processes on this machine held that have died, before their leases expire; returns how many."""
    held_here = model._default_manager.filter(
        state=Leased.State.DOING, worker__startswith=name_prefix()
    )
    workers = {
        worker
        for worker in held_here.values_list("worker", flat=True)
        if is_process_dead(worker.rpartition("/")[0])
    }
    return held_here.filter(worker__in=workers).update(state=Leased.State.TODO, lease_until=None)


def fail_exhausted(
    model: type[Leased],
    *,
    on_exhausted: OnExhausted,
    lock: Callable[[Any], object] = lambda _: None,
) -> None:
    """Fail rows whose attempts ended MAX_ATTEMPTS times without an error: they presumably kill their workers.

    `lock` is called with the row first, and takes the locks that come before the row's own in the lock order.
    """
    exhausted = model._default_manager.filter(
        Q(state=Leased.State.TODO) | Q(state=Leased.State.DOING, lease_until__lt=Now()),
        attempts__gte=F("failures") + MAX_ATTEMPTS,
    )
    for row in exhausted:
        error = f"Given up: {row.attempts - row.failures} workers died while working on it."
        if row.error:
            error += f" The last error was: {row.error}"
        with transaction.atomic():
            lock(row)
            if exhausted.filter(pk=row.pk).update(state=Leased.State.FAILED, error=error):
                on_exhausted(row, error=error)


def past_retention(rows: "QuerySet[Row]") -> "QuerySet[Row]":
    """The rows that ended more than TRANSCRIBER_RETENTION_DAYS ago; none if that is 0."""
    if not settings.TRANSCRIBER_RETENTION_DAYS:
        return rows.none()
    retention = timedelta(days=settings.TRANSCRIBER_RETENTION_DAYS)
    ended = (Leased.State.DONE, Leased.State.FAILED)
    return rows.filter(state__in=ended, finished_at__lt=Now() - retention)


# ---- Identity of processes


def _lease_end() -> object:
    return Now() + timedelta(seconds=settings.TRANSCRIBER_LEASE_SECONDS)


@cache
def _machine() -> str:
    """The machine or container in which process ids are unique. Host names alone may be given twice."""
    namespace, installed = 0, ""
    with suppress(OSError):
        namespace = os.stat("/proc/self/ns/pid").st_ino
    with suppress(OSError):
        installed = Path("/etc/machine-id").read_text()[:8].strip()
    return f"{machine_name()}:{installed}:{namespace}"


def name_prefix() -> str:
    """What the names of all processes of this machine begin with."""
    return f"{_machine()}/"


def machine_name() -> str:
    return socket.gethostname()[:100]


def process_name() -> str:
    """A name for this process that is unique across machines: machine, process id, and start time.

    The start time tells processes apart to which the system gave the same id.
    """
    return _process_name(os.getpid())


@cache
def _process_name(pid: int) -> str:
    return f"{_machine()}/{pid}/{_start_time(pid)}"


def _start_time(pid: int) -> str:
    """When a process started, constant for its lifetime. Raises psutil.NoSuchProcess.

    On Linux counted from boot (field 22 of proc(5)'s stat), because the wall clock may be set.
    """
    process = psutil.Process(pid)
    try:
        # The second field, a name in parentheses, may contain blanks.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return f"{process.create_time():.0f}"


def is_process_dead(name: str) -> bool:
    """Whether a process of this machine has ended; `name` is what `process_name` was in it."""
    _machine_name, pid, started = name.rsplit("/", 2)
    try:
        is_zombie = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
        return is_zombie or _start_time(int(pid)) != started
    except psutil.NoSuchProcess:
        return True
