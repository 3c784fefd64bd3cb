"""Queue entry points. A message only says "look": what is to do is read from the rows."""

import logging
import signal

from django_q.conf import Conf

from transcription.jobs import prepare as preparing
from transcription.jobs import recovery, retry_and_delete, transcribe
from transcription.leasing import wakeups, workers

_logger = logging.getLogger(__name__)


def prepare() -> None:
    if preparing.prepare_next():
        wakeups.wake_preparers()  # at the queue's end, so that what else waits there gets its turn


def work_on_speech() -> None:
    transcribe.work_on_speech()


def recover() -> None:
    recovery.recover()
    retry_and_delete.expire_jobs()


def on_worker_start() -> None:
    """A worker begins: perhaps in the place of one that was lost, so look at once what that one left.

    Here and not in a task, which would wait for what the interactive worker has in hand.
    """
    transcribe.stopping.clear()
    signal.signal(signal.SIGTERM, lambda *_: transcribe.stopping.set())
    workers.report_until(transcribe.stopping, role=Conf.CLUSTER_NAME)
    try:
        recovery.recover()
    except Exception:
        _logger.exception("A new worker could not look for lost work; the schedule will.")
