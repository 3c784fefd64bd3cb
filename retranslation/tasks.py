"""Queue entry points. A message only says "look": what is to do is read from the rows."""

import logging

from retranslation import recovery, services
from retranslation.work import work_on_one

_logger = logging.getLogger(__name__)


def work() -> None:
    """One row a message; what failed and is to be tried again goes to the queue's end."""
    if work_on_one(services.waiting()) and services.waiting().exists():
        services.wake_workers()


def work_on_batches() -> None:
    """One row, then to the queue's end, so that what else waits there gets its turn."""
    if work_on_one(services.waiting_in_batches()) and services.waiting_in_batches().exists():
        services.wake_for_batches()


def recover() -> None:
    recovery.recover()
    services.expire()


def on_worker_start() -> None:
    """A worker begins: perhaps in the place of one that was lost, so look at once what that one left."""
    try:
        recovery.recover()
    except Exception:
        _logger.exception("A new worker could not look for lost retranslations; the schedule will.")
