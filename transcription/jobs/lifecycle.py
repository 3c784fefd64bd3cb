"""A job's life: create, fail, cancel, complete. The stages' own work is in `prepare`, `transcribe` and `diarize`."""

import logging
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from transcription import access, hooks, recordings
from transcription.jobs import status
from transcription.jobs.attribute_speakers import attribute_speakers
from transcription.leasing.leases import Lease
from transcription.locks import lock_active_job
from transcription.models import Chunk, Job, Leased, Recording, Stage
from transcription.speech.diarization.base import SpeakerCount
from transcription.wake import wake_listeners, wake_preparers, wake_speech_workers

_logger = logging.getLogger(__name__)


def create_job(
    *,
    recording: Recording,
    model_name: str,
    language: str,
    diarize: bool,
    count: SpeakerCount | None = None,
    channels: str = Job.Channels.AUTO,
) -> Job:
    """Save a stored upload and its job in one transaction, and wake a worker.

    Deletes the files if that fails, or if a listener of `before_job` refuses it.
    """
    diarize = diarize and channels != Job.Channels.SPEAKERS  # then the channels tell who speaks
    recording.owner_id = owner = access.owner_id()
    job_id = uuid4()
    try:
        with transaction.atomic():
            hooks.before_job.send(
                sender=Job,
                owner_id=owner,
                job_id=job_id,
                n_bytes=recording.size,
                seconds=recording.declared_duration or 0.0,
            )
            recording.save(force_insert=True)
            job = Job.objects.create(
                id=job_id,
                recording=recording,
                model_name=model_name,
                requested_language=language,
                language=language,
                channels=channels,
                diarize=diarize,
                message=status.WAITING,
                owner_id=owner,
                **speaker_count_fields(count or SpeakerCount()),
            )
            Stage.objects.create(job=job, kind=Stage.Kind.PREPARE)
            if diarize:
                Stage.objects.create(job=job, kind=Stage.Kind.DIARIZE)
            wake_preparers()
    except BaseException:
        recordings.delete_files(recording)
        raise
    return job


def speaker_count_fields(count: SpeakerCount) -> dict[str, Any]:
    """The job's columns that hold a speaker count."""
    return {
        "num_speakers": count.exactly,
        "min_speakers": count.at_least,
        "max_speakers": count.at_most,
    }


def active_job_filter() -> Q:
    """Rows of active jobs: the condition of stages' and chunks' leases. A subquery, never a join: see `Lease`."""
    return Q(job__in=Job.objects.filter(status__in=Job.ACTIVE))


# ---- Failure


def fail_work(*, lease: Lease, job_id: UUID, error: str, can_retry: bool) -> None:
    """Save why a stage or chunk failed, and requeue it; after its last try fail the job with the same message.

    Does nothing if the lease was lost.
    """
    limit = settings.TRANSCRIBER_CHUNK_ATTEMPTS if can_retry else 1
    failures = lease.held_rows().values_list("failures", flat=True).first()
    if failures is None:
        return
    is_final = failures + 1 >= limit
    with transaction.atomic():
        lock_active_job(job_id)
        changed = lease.held_rows().update(
            state=Leased.State.FAILED if is_final else Leased.State.TODO,
            failures=F("failures") + 1,
            error=error,
            lease_until=None,
            finished_at=Now(),
        )
        if not changed:
            return
        if is_final:
            on_work_failed(lease.row, error=error)
    if is_final:
        advance(job_id)
    elif _is_stage(lease.row, Stage.Kind.PREPARE):
        wake_preparers()
    else:
        wake_speech_workers()


def on_work_failed(row: Leased, *, error: str) -> None:
    """Fail the job of a stage or chunk that failed for good; without its diarization a job completes all the same."""
    assert isinstance(row, Stage | Chunk)
    if _is_stage(row, Stage.Kind.PREPARE):
        hooks.recording_read.send(sender=Job, job_id=row.job_id, seconds=0.0)
    if not _is_stage(row, Stage.Kind.DIARIZE):
        fail_job(job_id=row.job_id, message=error)


def _is_stage(row: Leased, kind: Stage.Kind) -> bool:
    return isinstance(row, Stage) and row.kind == kind


def fail_job(*, job_id: UUID, message: str) -> bool:
    """Fail an active job; its segments remain readable. False if it had ended already."""
    return _end(job_id, status=Job.Status.FAILED, message=message)


def cancel_job(*, job_id: UUID) -> bool:
    """Cancel an active job; its workers notice at their next lease renewal. False if it had ended already.

    A complete transcript is kept: then the diarization alone is cancelled, and the job completes.
    """
    with transaction.atomic():
        job = lock_active_job(job_id)
        if job is None:
            return False
        if not status.is_transcribed(job.stages.all(), n_unfinished=_n_unfinished(job_id)):
            return _end(job_id, status=Job.Status.CANCELLED, message="Cancelled")
        job.stages.filter(
            kind=Stage.Kind.DIARIZE, state__in=(Leased.State.TODO, Leased.State.DOING)
        ).update(state=Leased.State.FAILED, error="cancelled", lease_until=None, finished_at=Now())
        return _complete(job)


def _end(job_id: UUID, *, status: Job.Status, message: str, **values: object) -> bool:
    with transaction.atomic():
        ended = Job.objects.filter(pk=job_id, status__in=Job.ACTIVE).update(
            status=status, message=message, finished_at=Now(), updated_at=Now(), **values
        )
        if ended:
            wake_listeners(job_id)
    return bool(ended)


# ---- Completion


def advance(job_id: UUID) -> None:
    """Complete the job if its rows say that nothing is left to do; idempotent."""
    if not _is_finished(job_id):
        return
    with transaction.atomic():
        job = lock_active_job(job_id)
        if job is not None and _is_finished(job_id):  # else another process completed it
            _complete(job)


def _is_finished(job_id: UUID) -> bool:
    stages = list(Stage.objects.filter(job=job_id))
    ended = (Leased.State.DONE, Leased.State.FAILED)
    return status.is_transcribed(stages, n_unfinished=_n_unfinished(job_id)) and all(
        stage.state in ended for stage in stages if stage.kind == Stage.Kind.DIARIZE
    )


def _n_unfinished(job_id: UUID) -> int:
    return Chunk.objects.filter(job=job_id).exclude(state=Leased.State.DONE).count()


def _complete(job: Job) -> bool:
    """Attribute the speakers and complete the job, whose row is locked.

    Speakers are written here, in the transaction that completes the job, so that no reader sees half of them.
    """
    diarization = job.stages.filter(kind=Stage.Kind.DIARIZE).first()
    if diarization is not None and diarization.state == Leased.State.DONE:
        _attribute(job, diarization)
    message = status.completion_message(job, diarization)
    return _end(job.pk, status=Job.Status.COMPLETED, message=message, progress=100)


def _attribute(job: Job, stage: Stage) -> None:
    try:
        with transaction.atomic():
            attribute_speakers(job=job, diarization=job.diarization)
    except DatabaseError:
        raise  # recovery tries again
    except Exception as error:  # a retry would fail alike, and the job would never end
        _logger.exception("The speakers of job %s could not be attributed.", job.pk)
        stage.state, stage.error = Leased.State.FAILED, f"they could not be attributed: {error}"
        stage.save(update_fields=["state", "error"])
