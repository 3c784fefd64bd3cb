"""What finds work that lost its worker or its message: at the start of a worker, and once a minute."""

from retranslation import services
from retranslation.models import Retranslation
from transcription.jobs.recovery import give_up_on_killers
from transcription.leasing import leases, wakeups


def recover() -> None:
    """Set going again what stands still; safe to call at any time, by anyone."""
    leases.release_of_the_dead(Retranslation)
    give_up_on_killers(Retranslation, fail_for_good=services.fail_for_good)
    if n := services.waiting().count():
        services.wake_workers(n=n)
    # While messages wait, or a row is in hand, one of them goes on with the batches.
    if not wakeups.n_waiting(wakeups.INTERACTIVE) and services.waiting_in_batches().exists():
        services.wake_for_batches()
