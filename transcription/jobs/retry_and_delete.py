"""What an operator does with existing jobs: retry what failed, run all again, delete, let expire."""

from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from transcription import access, hooks, recordings
from transcription.jobs import status
from transcription.jobs.lifecycle import advance
from transcription.leasing import leases
from transcription.locks import lock_job
from transcription.models import Chunk, Diarization, Job, Leased, Recording, Stage
from transcription.wake import wake_listeners, wake_preparers, wake_speech_workers

MAX_EXPIRED_AT_ONCE = 100
"""Jobs deleted in one recovery: a retention period that is set late may find many."""


def retry_failed(*, job_id: UUID) -> bool:
    """Requeue the stages and chunks that are not done of a failed or cancelled job. False if it is neither."""
    with transaction.atomic():
        ended = (Job.Status.FAILED, Job.Status.CANCELLED)
        changed = Job.objects.filter(pk=job_id, status__in=ended).update(
            status=Case(
                When(started_at=None, then=Value(Job.Status.QUEUED)),
                default=Value(Job.Status.RUNNING),
            ),
            message=status.WAITING,
            # Who listens again has segments of later chunks than those that are missing.
            revision=F("revision") + 1,
            finished_at=None,
            updated_at=Now(),
        )
        if not changed:
            return False
        owner_id = Job.objects.values_list("owner", flat=True).get(pk=job_id)
        hooks.before_retry.send(sender=Job, owner_id=owner_id)
        for model in (Stage, Chunk):
            model._default_manager.filter(job=job_id).exclude(state=Leased.State.DONE).update(
                **leases.RESET_TO_TODO
            )
        wake_preparers()
        n_chunks = Chunk.objects.filter(job=job_id, state=Leased.State.TODO).count()
        wake_speech_workers(n=max(n_chunks, 1))  # one for a diarization alone
    advance(job_id)
    return True


def rerun(*, job_id: UUID) -> bool:
    """Delete the job's chunks, segments and edits, and queue all of it again. False if it was deleted.

    A worker that still holds a chunk of it cannot commit it: the row is gone.
    """
    with transaction.atomic():
        try:
            job = lock_job(job_id)
        except Job.DoesNotExist:
            return False
        job.chunks.all().delete()
        job.edits.all().delete()  # they refer to segments that are gone
        Diarization.objects.filter(job=job).delete()
        job.stages.update(**leases.RESET_TO_TODO, progress=0)
        if job.diarize:
            Stage.objects.get_or_create(job=job, kind=Stage.Kind.DIARIZE)
        else:
            job.stages.filter(kind=Stage.Kind.DIARIZE).delete()
        Job.objects.filter(pk=job_id).update(
            status=Job.Status.QUEUED,
            message=status.WAITING,
            progress=0,
            run=F("run") + 1,
            removed_segments=[],
            paused=timedelta(),
            language=F("requested_language"),
            started_at=None,
            finished_at=None,
            served_at=None,
            updated_at=Now(),
        )
        wake_preparers()
        wake_listeners(job_id)
    return True


def delete_job(*, job_id: UUID) -> bool:
    """Delete a job with its transcript, and its recording unless another job has it. False if it was deleted before."""
    with transaction.atomic():
        try:
            job = lock_job(job_id)  # so that no edit, chunk or segment is added meanwhile
        except Job.DoesNotExist:
            return False
        _delete(job)
    return True


def expire_jobs() -> int:
    """Delete jobs that ended more than TRANSCRIBER_RETENTION_DAYS ago; returns how many. 0 days: none."""
    if not settings.TRANSCRIBER_RETENTION_DAYS:
        return 0
    retention = timedelta(days=settings.TRANSCRIBER_RETENTION_DAYS)
    expired = Job.objects.exclude(status__in=Job.ACTIVE).filter(finished_at__lt=Now() - retention)
    n_deleted = 0
    for job_id in list(
        expired.order_by("finished_at").values_list("pk", flat=True)[:MAX_EXPIRED_AT_ONCE]
    ):
        with transaction.atomic():
            try:
                job = lock_job(job_id)
            except Job.DoesNotExist:
                continue
            if expired.filter(pk=job_id).exists():  # else it was retried meanwhile
                _delete(job)
                n_deleted += 1
    return n_deleted


def _delete(job: Job) -> None:
    """Delete a job whose row is locked. Raises PermissionDenied."""
    access.refuse_but_owner(job.recording, to="delete")
    job_id = job.pk
    job.delete()
    if not job.recording.jobs.exists():
        delete_recording(recording_id=job.recording_id)
    wake_listeners(job_id)


def delete_recording(*, recording_id: UUID) -> bool:
    """Delete a recording with its jobs, and after the commit its files. False if it was deleted before."""
    with transaction.atomic():
        recording = Recording.objects.filter(pk=recording_id).first()
        if recording is None:
            return False
        access.refuse_but_owner(recording, to="delete")
        for job_id in list(recording.jobs.order_by("pk").values_list("pk", flat=True)):
            with suppress(Job.DoesNotExist):  # it was deleted meanwhile
                lock_job(job_id)
            wake_listeners(job_id)
        Recording.objects.filter(pk=recording_id).delete()  # `recording` keeps its id
        transaction.on_commit(partial(recordings.delete_files, recording), robust=True)
    return True
