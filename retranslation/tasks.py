"""Queue tasks of retranslations. A message only says "look": the rows say what to do."""

import time
from collections.abc import Callable

from django.db.models import QuerySet

from retranslation import services
from retranslation.models import Retranslation
from retranslation.work import work_on_one

PAUSE_SECONDS = 0.5
"""How long a worker leaves to others what it cannot do."""


def work() -> None:
    """Transcribe one range that a person waits for; what is left gets another message at the queue's end."""
    _work_on_one_of(services.claimable_requests, wake=services.wake_workers)


def work_on_batches() -> None:
    """Transcribe one range of a batch; the rest gets a message at the queue's end, behind what people wait for."""
    _work_on_one_of(services.claimable_in_batches, wake=services.wake_for_batches)


def _work_on_one_of(
    waiting: "Callable[[], QuerySet[Retranslation]]", *, wake: Callable[[], None]
) -> None:
    was_done = work_on_one(waiting())
    if not waiting().exists():
        return
    if not was_done:
        time.sleep(PAUSE_SECONDS)  # only other workers can do it, so pass the message on
    wake()
