"""Queue entry points. A message only says "look": what is to do is read from the rows."""

import logging
import time
from collections.abc import Callable

from django.db.models import QuerySet

from retranslation import recovery, services
from retranslation.models import Retranslation
from retranslation.work import work_on_one

LOOK_SECONDS = 0.5
"""How long a worker leaves to others what it cannot do."""

_logger = logging.getLogger(__name__)


def work() -> None:
    """One row a message; what failed and is to be tried again goes to the queue's end."""
    _work_on_one_of(services.waiting, wake=services.wake_workers)


def work_on_batches() -> None:
    """One row, then to the queue's end, so that what else waits there gets its turn."""
    _work_on_one_of(services.waiting_in_batches, wake=services.wake_for_batches)


def _work_on_one_of(
    waiting: "Callable[[], QuerySet[Retranslation]]", *, wake: Callable[[], None]
) -> None:
    done = work_on_one(waiting())
    if not waiting().exists():
        return
    if not done:
        time.sleep(LOOK_SECONDS)  # it is for others: the message was, too
    wake()


def recover() -> None:
    recovery.recover()
    services.expire()


def on_worker_start() -> None:
    """A worker begins: perhaps in the place of one that was lost, so look at once what that one left."""
    try:
        recovery.recover()
    except Exception:
        _logger.exception("A new worker could not look for lost retranslations; the schedule will.")
