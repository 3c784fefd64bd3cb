"""Queue entry points. A message only says "look": what is to do is read from the rows."""

import signal
from typing import Any

from transcription import jobs, pipeline, wakeups


def prepare() -> None:
    if pipeline.prepare_next():
        wakeups.wake_preparers()  # at the queue's end, so that what else waits there gets its turn


def transcribe() -> None:
    pipeline.transcribe_available()


def recover() -> None:
    jobs.recover()


def on_worker_start(**_: Any) -> None:
    """A worker begins: perhaps in the place of one that was lost, so look at once what that one left."""
    pipeline.stopping.clear()
    signal.signal(signal.SIGTERM, lambda *_: pipeline.stopping.set())
    wakeups.wake_recovery()
