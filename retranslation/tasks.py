"""Queue tasks of retranslations. A message only says "look": the rows say what to do."""

import time
from collections.abc import Callable

from django.db.models import QuerySet

from retranslation import services
from retranslation.models import Retranslation
from retranslation.work import transcribe_next

PAUSE_SECONDS = 0.5
"""How long a worker leaves work that it cannot do to other workers."""


def work() -> None:
    """Transcribe one range that a client waits for; if more wait, enqueue another message."""
    _transcribe_one(services.claimable_requests, wake=services.wake_workers)


def work_on_batches() -> None:
    """Transcribe one range of a batch; if more wait, enqueue another message, behind what clients wait for."""
    _transcribe_one(services.claimable_in_batches, wake=services.wake_batch_worker)


def _transcribe_one(
    claimable: "Callable[[], QuerySet[Retranslation]]", *, wake: Callable[[], None]
) -> None:
    was_done = transcribe_next(claimable())
    if not claimable().exists():
        return
    if not was_done:  # this worker lacks the weights or the files: leave it to another
        time.sleep(PAUSE_SECONDS)
    wake()
