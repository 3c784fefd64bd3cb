"""Queue tasks of retranslations. A message only says "look": the rows say what to do."""

from collections.abc import Callable

from django.db.models import QuerySet

from retranslation import services
from retranslation.models import Retranslation
from retranslation.work import transcribe_next
from transcription.leasing import workers
from transcription.leasing.work import Outcome

PAUSE_SECONDS = 0.5
"""How long a worker leaves work that it cannot do to other workers."""


def work() -> None:
    """Transcribe one range that a client waits for; if more ranges wait, enqueue another message."""
    _transcribe_one(services.claimable_requests, wake=services.wake_workers)


def work_on_batches() -> None:
    """Transcribe one range of a batch; if more ranges wait, enqueue another message."""
    _transcribe_one(services.claimable_in_batches, wake=services.wake_batch_worker)


def _transcribe_one(
    claimable: "Callable[[], QuerySet[Retranslation]]", *, wake: Callable[[], None]
) -> None:
    outcome = transcribe_next(claimable(), wake=wake)
    if outcome is Outcome.ENDED:
        _wake_for_next()
    elif outcome is None and claimable().exists():  # this worker lacks the weights
        workers.stopping.wait(PAUSE_SECONDS)
        wake()


def _wake_for_next() -> None:
    """Wake a worker for what waited because too many retranslations were being made; what clients wait for first."""
    if services.claimable_requests().exists():
        services.wake_workers()
    elif services.claimable_in_batches().exists():
        services.wake_batch_worker()
