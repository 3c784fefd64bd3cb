"""What finds summaries that lost their worker or their message: at the start of a worker, and once a minute."""

from summaries import services
from summaries.models import Summary
from transcription.jobs.recovery import give_up_on_killers
from transcription.leasing import leases


def recover() -> None:
    """Set going again what stands still; safe to call at any time, by anyone."""
    leases.release_of_the_dead(Summary)
    give_up_on_killers(Summary, fail_for_good=services.fail_for_good)
    if services.claimable().exists():
        services.wake_workers()
