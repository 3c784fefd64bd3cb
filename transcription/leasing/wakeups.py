"""Hints that there is something to do or to see. Lose any of them: what is left to do is read from the rows."""

import asyncio
import logging
import os
import threading
from concurrent.futures import Future
from functools import cache
from uuid import UUID

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction
from django_q.brokers import get_broker
from django_q.tasks import async_task

SPEECH = "speech"
INTERACTIVE = "interactive"
MOST_MESSAGES = 64
"""A message makes its worker look for all that is to do, so more than there are workers serve nobody."""

SEND_SECONDS = 5.0

_logger = logging.getLogger(__name__)


def group(job_id: UUID | str) -> str:
    """The channel layer's group of those who watch a job."""
    return f"job.{job_id}"


def wake_speech_workers(*, n: int = 1) -> None:
    after_commit("transcription.tasks.work_on_speech", cluster=SPEECH, n=n)


def wake_preparers() -> None:
    after_commit("transcription.tasks.prepare", cluster=INTERACTIVE)


def wake_listeners(job_id: UUID) -> None:
    """Tell live feeds to look at the job's rows; the embedded service's feeds look by themselves."""
    if not settings.REDIS_URL:
        return
    transaction.on_commit(lambda: _send(job_id), robust=True)


def _send(job_id: UUID) -> None:
    """In a thread of its own, with one connection: whoever commits waits neither for Redis nor for its absence."""
    sending = asyncio.run_coroutine_threadsafe(_send_to_group(job_id), _loop(os.getpid()))
    sending.add_done_callback(_note_failure)


async def _send_to_group(job_id: UUID) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await get_channel_layer().group_send(group(job_id), {"type": "job.changed"})


def _note_failure(sending: "Future[None]") -> None:
    if error := sending.exception():
        _logger.warning("Listeners could not be woken; they look by themselves: %r", error)


@cache
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="wakeups", daemon=True).start()
    return loop


def n_waiting(cluster: str) -> int:
    """Messages that no worker has fetched yet."""
    return int(get_broker(cluster).queue_size())


def after_commit(task: str, *, cluster: str, n: int = 1) -> None:
    """Have workers of `cluster` run `task`, once what the current transaction writes is there to be seen."""

    def enqueue() -> None:
        for _ in range(n):
            if n_waiting(cluster) >= MOST_MESSAGES:  # others send, too
                return
            async_task(task, cluster=cluster)

    transaction.on_commit(enqueue, robust=True)  # a queue that is down loses a hint, no more
