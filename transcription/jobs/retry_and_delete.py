"""What an operator does with jobs that are there: try again, do again, delete, now or in time."""

from datetime import timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.functions import Now

from transcription import recordings
from transcription.jobs import lifecycle, progress
from transcription.leasing import leases, wakeups
from transcription.models import Chunk, Diarization, Job, Leased, Recording, Stage

MOST_EXPIRED_AT_ONCE = 100
"""In a minute; whoever sets a retention for an old installation has much to be deleted."""


def retry_failed(*, job_id: UUID) -> bool:
    """Begin again with what failed or was left over. False when the job is under way or complete."""
    with transaction.atomic():
        ended = (Job.Status.FAILED, Job.Status.CANCELLED)
        changed = Job.objects.filter(pk=job_id, status__in=ended).update(
            status=Case(
                When(started_at=None, then=Value(Job.Status.QUEUED)),
                default=Value(Job.Status.RUNNING),
            ),
            message=progress.WAITING,
            finished_at=None,
            updated_at=Now(),
        )
        if not changed:
            return False
        for model in (Stage, Chunk):
            model._default_manager.filter(job=job_id).exclude(state=Leased.State.DONE).update(
                **leases.BEGUN_ANEW
            )
        wakeups.wake_preparers()
        wakeups.wake_speech_workers()
    lifecycle.advance(job_id)
    return True


def rerun(*, job_id: UUID) -> bool:
    """Do the whole job again: its chunks and segments go, a worker that still holds one will not commit it.

    False when there is no such job any more.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=job_id).first()
        if job is None:
            return False
        job.chunks.all().delete()
        job.edits.all().delete()  # what they changed is gone
        Diarization.objects.filter(job=job).delete()
        job.stages.update(**leases.BEGUN_ANEW, progress=0)
        if job.diarize:
            Stage.objects.get_or_create(job=job, kind=Stage.Kind.DIARIZE)
        else:
            job.stages.filter(kind=Stage.Kind.DIARIZE).delete()
        Job.objects.filter(pk=job_id).update(
            status=Job.Status.QUEUED,
            message=progress.WAITING,
            progress=0,
            run=F("run") + 1,
            revision=0,
            removed_segments=[],
            paused=timedelta(),
            language=F("requested_language"),
            started_at=None,
            finished_at=None,
            served_at=None,
            updated_at=Now(),
        )
        wakeups.wake_preparers()
        wakeups.wake_listeners(job_id)
    return True


def delete_job(*, job_id: UUID) -> bool:
    """Delete a job with its transcript, and the recording unless another job needs it. False when it is gone."""
    return _delete(Job.objects.filter(pk=job_id))


def expire_jobs() -> int:
    """Delete the jobs that ended more than TRANSCRIBER_RETENTION_DAYS ago; how many. With 0 they stay for good."""
    if not settings.TRANSCRIBER_RETENTION_DAYS:
        return 0
    kept = timedelta(days=settings.TRANSCRIBER_RETENTION_DAYS)
    expired = Job.objects.exclude(status__in=Job.ACTIVE).filter(finished_at__lt=Now() - kept)
    ids = list(expired.order_by("finished_at").values_list("pk", flat=True)[:MOST_EXPIRED_AT_ONCE])
    return sum(_delete(expired.filter(pk=job_id)) for job_id in ids)


def _delete(one: "QuerySet[Job]") -> bool:
    with transaction.atomic():
        # Held, so that nothing (an edit, a chunk's segments) is added to what is being deleted.
        job = one.select_for_update(of=("self",)).select_related("recording").first()
        if job is None:
            return False
        job_id = job.pk
        job.delete()
        if not job.recording.jobs.exists():
            delete_recording(recording_id=job.recording_id)
        wakeups.wake_listeners(job_id)
    return True


def delete_recording(*, recording_id: UUID) -> bool:
    """Delete a recording with its jobs, and its files once that is committed. False when it is gone."""
    with transaction.atomic():
        recording = Recording.objects.filter(pk=recording_id).first()
        if recording is None:
            return False
        for job_id in list(recording.jobs.select_for_update().values_list("pk", flat=True)):
            wakeups.wake_listeners(job_id)
        Recording.objects.filter(pk=recording_id).delete()  # `recording` keeps its id
        transaction.on_commit(partial(recordings.delete_files, recording), robust=True)
    return True
