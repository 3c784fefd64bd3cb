"""What finds work that lost its worker or its message: at the start of a worker, and once a minute."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from transcription.jobs import lifecycle, speakers
from transcription.leasing import leases, wakeups, workers
from transcription.models import Chunk, Job, Leased, Stage

_logger = logging.getLogger(__name__)


class FailForGood(Protocol):
    def __call__(self, row: Any, *, error: str) -> None: ...


def recover() -> None:
    """Set going again what stands still; safe to call at any time, by anyone."""
    for model in (Stage, Chunk):
        leases.release_of_the_dead(model)
        give_up_on_killers(model, fail_for_good=lifecycle.fail_for_good, hold=_hold_job)
    unfinished = Job.objects.filter(status__in=Job.ACTIVE).exclude(
        chunks__state__in=(Leased.State.TODO, Leased.State.DOING)
    )
    for job_id in list(unfinished.values_list("pk", flat=True)):
        try:
            lifecycle.advance(job_id)
        except DatabaseError:
            _logger.warning(
                "Job %s could not go on; the next look will try.", job_id, exc_info=True
            )
    workers.forget_the_gone()
    if not wakeups.n_waiting(wakeups.INTERACTIVE) and _claimable_preparations().exists():
        wakeups.wake_preparers()
    n_claimable = lifecycle.claimable_chunks().count() + speakers.claimable_diarizations().count()
    if n_claimable and not wakeups.n_waiting(wakeups.SPEECH):
        wakeups.wake_speech_workers(n=n_claimable)


def _claimable_preparations() -> "QuerySet[Stage]":
    return Stage.objects.filter(
        leases.claimable(), kind=Stage.Kind.PREPARE, job__status__in=Job.ACTIVE
    )


def _hold_job(row: Leased) -> None:
    lifecycle.hold(row.job_id)


def give_up_on_killers(
    model: type[Leased],
    *,
    fail_for_good: FailForGood,
    hold: Callable[[Any], None] = lambda _: None,
) -> None:
    """End what was begun too often; `fail_for_good` does what that means to whom the work was for.

    `hold` locks what is to be locked before the row itself.
    """
    exhausted = model._default_manager.filter(
        Q(state=Leased.State.TODO) | Q(state=Leased.State.DOING, lease_until__lt=Now()),
        attempts__gte=leases.MOST_ATTEMPTS,
    )
    for row in exhausted:
        error = f"Given up: {row.attempts} workers were lost at it."
        if row.error:
            error += f" The last error was: {row.error}"
        with transaction.atomic():
            hold(row)
            if exhausted.filter(pk=row.pk).update(state=Leased.State.FAILED, error=error):
                fail_for_good(row, error=error)
