"""Recovery of jobs that lost their worker or message, and of lost files: when a worker starts, and periodically."""

import logging

from django.db import DatabaseError
from django.db.models import QuerySet

from transcription.jobs.diarize import claimable_diarizations
from transcription.jobs.lifecycle import advance, on_work_failed
from transcription.jobs.prepare import claimable_preparations
from transcription.jobs.retry_and_delete import expire_jobs
from transcription.jobs.transcribe import claimable_chunks
from transcription.leasing import leases, workers
from transcription.leasing.registry import INTERACTIVE, SPEECH
from transcription.leasing.wakeups import may_be_lost, queue_length
from transcription.locks import lock_active_job
from transcription.models import Chunk, Job, Leased, Recording, Stage
from transcription.sweeping import sweep_recordings, sweep_uploads
from transcription.wake import wake_preparers, wake_speech_workers

_logger = logging.getLogger(__name__)


def recover() -> None:
    """Take up stalled jobs; delete expired ones, and lost files. Idempotent; safe in several processes at once."""
    for model in (Stage, Chunk):
        leases.release_rows_of_dead_workers(model)
        leases.fail_exhausted(
            model, on_exhausted=on_work_failed, lock=lambda row: lock_active_job(row.job_id)
        )
    for job_id in list(_jobs_without_chunks_to_do().values_list("pk", flat=True)):
        try:
            advance(job_id)
        except DatabaseError:
            _logger.warning(
                "Job %s could not be completed; the next recovery tries.", job_id, exc_info=True
            )
    workers.forget_dead()
    if may_be_lost(INTERACTIVE) and claimable_preparations().exists():
        wake_preparers()
    n_claimable = claimable_chunks().count() + claimable_diarizations().count()
    if n_claimable and not queue_length(SPEECH):
        wake_speech_workers(n=n_claimable)
    expire_jobs()
    sweep_recordings(Recording.objects.all())
    sweep_uploads()


def _jobs_without_chunks_to_do() -> "QuerySet[Job]":
    return Job.objects.filter(status__in=Job.ACTIVE).exclude(
        chunks__state__in=(Leased.State.TODO, Leased.State.DOING)
    )
