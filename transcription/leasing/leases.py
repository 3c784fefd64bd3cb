"""Claiming work so that one worker at a time holds it, and giving it up when that worker is gone.

Every change of state is a conditional UPDATE whose row count is checked, and the database's clock decides,
so that workers need agree on nothing but the database.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psutil
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from transcription.models import Leased

Row = TypeVar("Row", bound=Leased)

MOST_ATTEMPTS = 10
"""Work that was begun so often and never came to an end, good or bad, is what kills its workers."""
RENEWAL_SECONDS = 0.5
"""So that who cancels is obeyed within two seconds, by a step of the decoder that takes one."""

BEGUN_ANEW: dict[str, Any] = {
    "state": Leased.State.TODO,
    "attempts": 0,
    "failures": 0,
    "error": "",
    "lease_until": None,
    "worker": "",
}
"""What a row that is to be worked at once more is set to; whoever still holds it has lost it."""

_logger = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """The work is no longer this worker's: it was cancelled, done again, or given to another."""


class Lease:
    """A claim on `row`. Twice a second it is renewed, which tells when there is nothing left to renew."""

    def __init__(self, row: Leased, *, still_wanted: Callable[[], Q]) -> None:
        self.row = row
        self.progress: int | None = None
        self._still_wanted = still_wanted
        self._lost = threading.Event()

    def check(self) -> None:
        """Raises LeaseLostError when the work is not wanted any more."""
        if self._lost.is_set():
            raise LeaseLostError

    def give_back(self, *, because: str = "") -> bool:
        """Leave the work for another, as if it had not been begun. False when it is another's by now, or gone."""
        given = self.rows().update(
            state=Leased.State.TODO, lease_until=None, attempts=F("attempts") - 1, error=because
        )
        return bool(given)

    def rows(self) -> "QuerySet[Leased]":
        """The row, if it is still held under this claim; what is to be updated on behalf of it."""
        return type(self.row)._default_manager.filter(
            pk=self.row.pk, state=Leased.State.DOING, worker=self.row.worker
        )

    def renew(self) -> bool:
        """Move the lease's end. False, and noted, when it is lost or the work is not wanted any more."""
        values = {"lease_until": _lease_end()}
        if self.progress is not None:
            values["progress"] = self.progress
        renewed = self.rows().filter(self._still_wanted()).update(**values)
        if not renewed:
            self._lost.set()
        return bool(renewed)


class _Keeper:
    """Renews every lease that this process holds, in one thread with one connection, which it has while any is held."""

    def __init__(self) -> None:
        self._leases: list[Lease] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        with self._changed:
            self._leases.append(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, lease: Lease) -> None:
        with self._changed:
            self._leases.remove(lease)
            self._changed.notify()

    def _keep(self) -> None:
        while True:
            for lease in self._when_due():
                try:
                    lease.renew()
                except DatabaseFailure as error:
                    _logger.warning("Leases could not be renewed: %s", error)
                    connection.close()
                    break  # the others would fail alike, each after some time
                except Exception:  # this thread is all that renews
                    _logger.exception("A lease could not be renewed.")

    def _when_due(self) -> list[Lease]:
        with self._changed:
            if not self._leases:
                connection.close()
                self._changed.wait_for(lambda: self._leases)
            self._changed.wait_for(lambda: not self._leases, timeout=RENEWAL_SECONDS)
            return list(self._leases)


_keeper = _Keeper()


def claimable() -> Q:
    """Rows that nobody works at: never begun, or begun by a worker that stopped renewing its lease."""
    waiting = Q(state=Leased.State.TODO) | Q(state=Leased.State.DOING, lease_until__lt=Now())
    return waiting & Q(attempts__lt=MOST_ATTEMPTS)


def claim(candidates: "QuerySet[Row]") -> Row | None:
    """Take the first of `candidates` (in their order) that is claimable, or None.

    Of the columns that this changes the row has `state`, `worker` and `attempts` as they are now.
    """
    with transaction.atomic():  # on SQLite it holds the database from its beginning
        waiting = candidates.filter(claimable())
        if connection.features.has_select_for_update_skip_locked:
            waiting = waiting.select_for_update(skip_locked=True, of=("self",))
        row = waiting.first()
        if row is None:
            return None
        row.state = Leased.State.DOING
        row.worker = f"{process_name()}/{uuid.uuid4().hex[:12]}"
        taken = (
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
    return row if taken else None  # somebody else was first


@contextmanager
def held(row: Leased, *, still_wanted: Callable[[], Q]) -> Iterator[Lease]:
    """Keep the claim on `row` alive inside the block."""
    lease = Lease(row, still_wanted=still_wanted)
    _keeper.add(lease)
    try:
        yield lease
    finally:
        _keeper.remove(lease)


def release_of_the_dead(model: type[Leased]) -> int:
    """Give up what processes of this machine held that are gone: no need to wait for the lease's end."""
    held_here = model._default_manager.filter(
        state=Leased.State.DOING, worker__startswith=f"{_machine()}/"
    )
    workers = {worker for worker in held_here.values_list("worker", flat=True) if _is_dead(worker)}
    return held_here.filter(worker__in=workers).update(state=Leased.State.TODO, lease_until=None)


def ended_long_ago(rows: "QuerySet[Row]") -> "QuerySet[Row]":
    """Those that ended more than TRANSCRIBER_RETENTION_DAYS ago; with 0 days none, they are kept for good."""
    if not settings.TRANSCRIBER_RETENTION_DAYS:
        return rows.none()
    kept = timedelta(days=settings.TRANSCRIBER_RETENTION_DAYS)
    ended = (Leased.State.DONE, Leased.State.FAILED)
    return rows.filter(state__in=ended, finished_at__lt=Now() - kept)


def _lease_end() -> object:
    return Now() + timedelta(seconds=settings.TRANSCRIBER_LEASE_SECONDS)


@cache
def _machine() -> str:
    """This machine, or container: where process numbers mean the same. Names of hosts may be given twice."""
    namespace, installed = 0, ""
    with suppress(OSError):
        namespace = os.stat("/proc/self/ns/pid").st_ino
    with suppress(OSError):
        installed = Path("/etc/machine-id").read_text()[:8].strip()
    return f"{machine_name()}:{installed}:{namespace}"


def machine_name() -> str:
    return socket.gethostname()[:100]


def process_name() -> str:
    """This process among all of all machines: its number may be given again, not with the time of its start."""
    return _process_name(os.getpid())


@cache
def _process_name(pid: int) -> str:
    return f"{_machine()}/{pid}/{_began(pid)}"


def _began(pid: int) -> str:
    """When a process began, for as long as it lives the same. Raises psutil.NoSuchProcess.

    On Linux counted from the start of the machine (field 22 of proc(5)'s stat): a clock may be set.
    """
    process = psutil.Process(pid)
    try:
        # The second field, a name in parentheses, may hold blanks.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return f"{process.create_time():.0f}"


def _is_dead(worker: str) -> bool:
    _machine_name, pid, began, _claim = worker.rsplit("/", 3)
    try:
        is_zombie = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
        return is_zombie or _began(int(pid)) != began
    except psutil.NoSuchProcess:
        return True
