"""Queue entry points. A message only says "look": what is to do is read from the rows."""

import logging

from summaries import recovery, services, threads

_logger = logging.getLogger(__name__)


def work() -> None:
    threads.wake()


def recover() -> None:
    recovery.recover()
    services.expire()


def on_worker_start() -> None:
    """A worker begins: perhaps in the place of one that was lost, so look at once what that one left."""
    try:
        recovery.recover()
    except Exception:
        _logger.exception("A new worker could not look for lost summaries; the schedule will.")
