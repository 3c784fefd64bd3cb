"""Queue entry points. A message only says "look": what is to do is read from the rows."""

import logging
import signal

from django_q.conf import Conf

from transcription import operations, pipeline, preparing, presence, recovery, wakeups

_logger = logging.getLogger(__name__)


def prepare() -> None:
    if preparing.prepare_next():
        wakeups.wake_preparers()  # at the queue's end, so that what else waits there gets its turn


def work_on_speech() -> None:
    pipeline.work_on_speech()


def recover() -> None:
    recovery.recover()
    operations.expire_jobs()


def on_worker_start() -> None:
    """A worker begins: perhaps in the place of one that was lost, so look at once what that one left.

    Here and not in a task, which would wait for what the interactive worker has in hand.
    """
    pipeline.stopping.clear()
    signal.signal(signal.SIGTERM, lambda *_: pipeline.stopping.set())
    presence.report_until(pipeline.stopping, role=Conf.CLUSTER_NAME)
    try:
        recovery.recover()
    except Exception:
        _logger.exception("A new worker could not look for lost work; the schedule will.")
