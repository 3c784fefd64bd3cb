"""Row locks, and the one order in which they are taken.

Lock order: the job's row first, then its stages and chunks, then its diarization, segments, edits, retranslations
and summaries. Whoever writes several rows of a job, or any of its segments, locks the job's row first. Transactions
that take the same locks in another order can deadlock, and PostgreSQL then aborts one of them.

Outside that order, because neither waits while it holds another lock: `leases.claim` locks one row and skips rows
that are locked; `Lease.renew` is an UPDATE of one row. Before its claim `retranslation.services.claim` locks the
rows of workers, which nobody locks who holds another lock. On SQLite each transaction holds the database's only write
lock from its start, so nothing can deadlock there. What listens to `hooks.before_job` and `before_retry` may lock rows
of its own after the job's, and then no other.
"""

from uuid import UUID

from django.db.models import QuerySet

from transcription.models import Job


def lock_job(job_id: UUID) -> Job:
    """The job with its recording, locked until the transaction ends. Raises Job.DoesNotExist."""
    return _locking().get(pk=job_id)


def lock_active_job(job_id: UUID) -> Job | None:
    """The job with its recording, locked until the transaction ends. None if it ended or was deleted."""
    return _locking().filter(pk=job_id, status__in=Job.ACTIVE).first()


def _locking() -> "QuerySet[Job]":
    return Job.objects.select_related("recording").select_for_update(of=("self",))
