"""Worker processes: their heartbeats, and the event that tells this one to stop. The database's clock is used."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import psutil
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from transcription.leasing import leases, schema
from transcription.leasing.models import Worker

HEARTBEAT_SECONDS = 15.0
ALIVE_WITHIN = timedelta(minutes=1)
FORGOTTEN_AFTER = timedelta(hours=1)
TOO_OLD = " (old)"
"""Follows the role of a worker that is older than the schema: it serves no queue, and counts for none."""
SCHEMA_LOG_SECONDS = 60.0

_logger = logging.getLogger(__name__)

stopping = threading.Event()
"""Set when this worker process is to end: it finishes the chunks in hand and claims no more."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a worker has: the model it loaded, the models whose weights it has, and which files folder it sees."""

    model_name: str = ""
    device: str = ""
    weights: list[str] = field(default_factory=list)
    files_id: str = ""
    """Empty if the files folder cannot be used: such a worker does not count as one of this service."""


def repeat_until_stopping(
    act: Callable[[], object], *, seconds: float, name: str, delay: float = 0.0
) -> None:
    """Start a thread that calls `act` every so many seconds, first after `delay`, until this process is to stop.

    The thread keeps no database connection between calls. An error is logged, and the next call tries again.
    """

    stop = stopping  # a test has one of its own, which its threads obey when it is over too

    def run() -> None:
        stop.wait(delay)
        while not stop.is_set():
            try:
                act()
            except Exception as error:
                _logger.warning("%s failed and will be tried again: %r", name, error)
            finally:
                connection.close()
            stop.wait(seconds)

    threading.Thread(target=run, name=name, daemon=True).start()


def watch_schema(*, on_fit: Callable[[], object]) -> None:
    """Look at the schema now and every few seconds until this process is to stop; call `on_fit` when it comes to fit.

    While it does not, the log says so once a minute. A look that fails, as the database is down, changes nothing.
    """
    logged_at = time.monotonic()

    def look() -> None:
        nonlocal logged_at
        was_fit = schema.is_fit()
        is_fit = schema.look_again()
        if is_fit and not was_fit:
            on_fit()
        if was_fit or is_fit:
            logged_at = time.monotonic()
        elif time.monotonic() - logged_at >= SCHEMA_LOG_SECONDS:
            logged_at = time.monotonic()
            schema.log()

    try:
        schema.look_again()
    except DatabaseFailure as error:
        _logger.warning("The database's schema could not be looked at: %s", error)
        connection.close()
    seconds = schema.LOOK_SECONDS
    repeat_until_stopping(look, seconds=seconds, delay=seconds, name="schema")


def send_heartbeat(*, role: str, capabilities: Capabilities) -> None:
    """Save that this process is alive, which queue it serves (`role`), and what it has.

    A worker that waits for a migration sends none: the table may not be there yet.
    """
    if schema.seen().unknown:
        role += TOO_OLD
    elif schema.seen().missing:
        return
    name = leases.process_name()
    values: dict[str, Any] = {
        "machine": leases.machine_name(),
        "role": role,
        "model_name": capabilities.model_name,
        "device": capabilities.device,
        "weights": capabilities.weights,
        "secret_id": secret_id(),
        "files_id": capabilities.files_id,
        "seen_at": Now(),
    }
    if not Worker.objects.filter(pk=name).update(**values):
        started_at = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
        Worker.objects.create(pk=name, started_at=started_at, **values)


def alive() -> "QuerySet[Worker]":
    """The workers whose last heartbeat is less than a minute old."""
    return Worker.objects.filter(seen_at__gte=Now() - ALIVE_WITHIN)


def weights_of_workers(*, role: str, recently: bool = False) -> set[str]:
    """The names of the models whose weights some live worker has; with `recently`, of the last hour's workers."""
    workers = Worker.objects.all() if recently else alive()
    lists = workers.filter(role=role).values_list("weights", flat=True)
    return {name for names in lists for name in names}


def may_work_here(*, role: str) -> bool:
    """Whether this machine may have a worker of `role`: false if all live ones are on other machines."""
    machines = set(alive().filter(role=role).values_list("machine", flat=True))
    return not machines or leases.machine_name() in machines


def forget_dead() -> None:
    """Delete workers of this machine that are dead, and all without a heartbeat for an hour."""
    dead = [name for name in _names_here() if leases.is_process_dead(name)]
    Worker.objects.filter(Q(seen_at__lt=Now() - FORGOTTEN_AFTER) | Q(pk__in=dead)).delete()


def _names_here() -> list[str]:
    here = Worker.objects.filter(pk__startswith=leases.name_prefix())
    return list(here.values_list("pk", flat=True))


def secret_id() -> str:
    """A fingerprint of the secret key, without revealing it: tasks signed with another key are refused."""
    return sha256(b"transcriber/" + settings.SECRET_KEY.encode()).hexdigest()[:16]
