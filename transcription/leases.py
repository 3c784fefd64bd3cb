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
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import psutil
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from transcription.models import Leased

Row = TypeVar("Row", bound=Leased)

MOST_ATTEMPTS = 10
"""Work that was begun so often and never came to an end, good or bad, is what kills its workers."""
RENEWAL_SECONDS = 1.0
CLAIM_FIELDS = ["state", "worker", "lease_until", "attempts", "started_at", "finished_at"]

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
    """A claim on `row`. A thread renews it once a second, and tells when there is nothing left to renew."""

    def __init__(self, row: Leased, *, still_wanted: Callable[[], Q]) -> None:
        self.row = row
        self.progress: int | None = None
        self._still_wanted = still_wanted
        self._lost = threading.Event()
        self._ended = threading.Event()

    def check(self) -> None:
        """Raises LeaseLostError when the work is not wanted any more."""
        if self._lost.is_set():
            raise LeaseLostError

    def give_back(self) -> None:
        """Leave the work for another, as if it had not been begun."""
        self.rows().update(state=Leased.State.TODO, lease_until=None, attempts=F("attempts") - 1)

    def rows(self) -> "QuerySet[Leased]":
        """The row, if it is still held under this claim; what is to be updated on behalf of it."""
        return type(self.row)._default_manager.filter(
            pk=self.row.pk, state=Leased.State.DOING, worker=self.row.worker
        )

    def _renew_until_ended(self) -> None:
        try:
            while not self._ended.wait(RENEWAL_SECONDS):
                try:
                    if not self._renew():
                        self._lost.set()
                        return
                except DatabaseError:
                    _logger.warning("A lease could not be renewed.", exc_info=True)
                    connection.close()
        finally:
            connection.close()

    def _renew(self) -> bool:
        values = {"lease_until": _lease_end()}
        if self.progress is not None:
            values["progress"] = self.progress
        return bool(self.rows().filter(self._still_wanted()).update(**values))


def claimable() -> Q:
    """Rows that nobody works at: never begun, or begun by a worker that stopped renewing its lease."""
    waiting = Q(state=Leased.State.TODO) | Q(state=Leased.State.DOING, lease_until__lt=Now())
    return waiting & Q(attempts__lt=MOST_ATTEMPTS)


def claim(candidates: "QuerySet[Row]") -> Row | None:
    """Take the first of `candidates` (in their order) that is claimable, or None."""
    with transaction.atomic():
        waiting = candidates.filter(claimable())
        if connection.features.has_select_for_update_skip_locked:
            waiting = waiting.select_for_update(skip_locked=True, of=("self",))
        row = waiting.first()
        if row is None:
            return None
        worker = f"{_process_name()}/{uuid.uuid4().hex[:12]}"
        taken = (
            type(row)
            ._default_manager.filter(claimable(), pk=row.pk)
            .update(
                state=Leased.State.DOING,
                worker=worker,
                lease_until=_lease_end(),
                attempts=F("attempts") + 1,
                started_at=Now(),
                finished_at=None,
            )
        )
        if not taken:
            return None  # somebody else was first
        row.refresh_from_db(fields=CLAIM_FIELDS)  # these alone: what was selected with it stays
        return row


@contextmanager
def held(row: Leased, *, still_wanted: Callable[[], Q]) -> Iterator[Lease]:
    """Keep the claim on `row` alive inside the block."""
    lease = Lease(row, still_wanted=still_wanted)
    renewer = threading.Thread(target=lease._renew_until_ended, name="lease", daemon=True)
    renewer.start()
    try:
        yield lease
    finally:
        lease._ended.set()
        renewer.join()


def release_of_the_dead(model: type[Leased]) -> int:
    """Give up what processes of this machine held that are gone: no need to wait for the lease's end."""
    held_here = model._default_manager.filter(
        state=Leased.State.DOING, worker__startswith=f"{_machine()}/"
    )
    workers = {worker for worker in held_here.values_list("worker", flat=True) if _is_dead(worker)}
    return held_here.filter(worker__in=workers).update(state=Leased.State.TODO, lease_until=None)


def _lease_end() -> object:
    return Now() + timedelta(seconds=settings.TRANSCRIBER_LEASE_SECONDS)


@cache
def _machine() -> str:
    """This machine, or container: where process numbers mean the same."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}:{namespace}"


def _process_name() -> str:
    process = psutil.Process()
    return f"{_machine()}/{process.pid}/{process.create_time():.2f}"


def _is_dead(worker: str) -> bool:
    _machine_name, pid, created, _claim = worker.rsplit("/", 3)
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(created)) < 1
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
