"""Wake-up messages: hints to look at the rows. Losing one costs time alone; what is left to do is in the rows."""

import asyncio
import logging
import os
import threading
from concurrent.futures import Future
from functools import cache

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction
from django_q.brokers import get_broker
from django_q.tasks import async_task

from transcription.leasing import registry, workers

MAX_QUEUED = 64
"""A message makes its worker look for all work there is, so more messages than workers serve no purpose."""
SEND_SECONDS = 5.0

_logger = logging.getLogger(__name__)


def wake_workers(task: str, *, n: int = 1) -> None:
    """Enqueue `n` messages for a registered task once the current transaction has committed."""
    cluster = registry.cluster_of(task)

    def enqueue() -> None:
        for _ in range(n):
            if queue_length(cluster) >= MAX_QUEUED:  # other processes enqueue too
                return
            async_task(task, cluster=cluster)

    transaction.on_commit(
        enqueue, robust=True
    )  # a broker that is down costs a hint, not the commit


def queue_length(cluster: str) -> int:
    """The number of messages that no worker has fetched yet."""
    return int(get_broker(cluster).queue_size())


def may_be_lost(cluster: str) -> bool:
    """Whether so few messages are queued that waiting work may have none; then more do not pile up."""
    return queue_length(cluster) <= workers.alive().filter(role=cluster).count()


def wake_group(group: str, *, message_type: str) -> None:
    """Send a message to a channel-layer group once the current transaction has committed.

    Does nothing without Redis: the embedded service's feeds poll.
    """
    if settings.REDIS_URL:
        transaction.on_commit(lambda: _send(group, message_type), robust=True)


def _send(group: str, message_type: str) -> None:
    """Send from a background thread with one connection, so that the committing thread never waits for Redis."""
    sending = asyncio.run_coroutine_threadsafe(
        _send_to_group(group, message_type), _event_loop(os.getpid())
    )
    sending.add_done_callback(_log_failure)


async def _send_to_group(group: str, message_type: str) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await get_channel_layer().group_send(group, {"type": message_type})


def _log_failure(sending: "Future[None]") -> None:
    if error := sending.exception():
        _logger.warning("Listeners could not be woken; they poll instead: %r", error)


@cache
def _event_loop(pid: int) -> asyncio.AbstractEventLoop:
    """A running event loop for each process: after a fork the parent's thread is gone."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="wakeups", daemon=True).start()
    return loop
