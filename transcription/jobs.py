"""The life of a job: create, claim, advance, finish, fail, cancel, recover."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Now

from transcription import leases, recordings, wakeups
from transcription.leases import Lease, LeaseLostError
from transcription.models import Chunk, Job, Leased, Recording, Segment, Stage
from transcription.speech.chunks import PlannedChunk
from transcription.speech.engines.base import TranscribedSegment

_logger = logging.getLogger(__name__)

WAITING = "Waiting for a worker"
ENDS_EARLY_SECONDS = 1.0


def create_job(*, recording: Recording, model_name: str, language: str, diarize: bool) -> Job:
    """Save a stored upload and its job together; the files go again if that fails."""
    try:
        with transaction.atomic():
            recording.save(force_insert=True)
            job = Job.objects.create(
                recording=recording,
                model_name=model_name,
                requested_language=language,
                language=language,
                diarize=diarize,
                message=WAITING,
            )
            Stage.objects.create(job=job, kind=Stage.Kind.PREPARE)
            wakeups.wake_preparers()
    except BaseException:
        recordings.delete_files(recording)
        raise
    return job


# ---- Preparation


def claim_preparation() -> Stage | None:
    stages = Stage.objects.filter(kind=Stage.Kind.PREPARE, job__status__in=Job.ACTIVE)
    stage = leases.claim(stages.select_related("job__recording").order_by("job__created_at"))
    if stage is not None:
        _start(stage.job, message="Reading the recording")
    return stage


def wanted() -> Q:
    """What a worker checks with each renewal: the job was not cancelled."""
    return Q(job__status__in=Job.ACTIVE)


def add_chunks(
    *, lease: Lease, job: Job, planned: Sequence[PlannedChunk], first_index: int
) -> None:
    """Make work known. A preparation that is done again finds its chunks there already and adds none twice."""
    if not planned:
        return
    with transaction.atomic():
        if not lease.rows().update(lease_until=F("lease_until")):
            raise LeaseLostError
        Chunk.objects.bulk_create(
            [
                Chunk(
                    job=job,
                    index=index,
                    start=chunk.start,
                    end=chunk.end,
                    streams=[[span.start, span.end] for span in chunk.streams],
                    speech=[[span.start, span.end] for span in chunk.speech],
                )
                for index, chunk in enumerate(planned, first_index)
            ],
            ignore_conflicts=True,
        )
        wakeups.wake_transcribers(n=len(planned))


def finish_preparation(*, lease: Lease, job: Job, duration: float) -> None:
    with transaction.atomic():
        if not lease.rows().update(state=Leased.State.DONE, finished_at=Now(), lease_until=None):
            raise LeaseLostError
        Recording.objects.filter(pk=job.recording_id).update(duration=duration)
    advance(job.pk)


# ---- Chunks


def claimable_chunks() -> "QuerySet[Chunk]":
    """Chunks to transcribe, jobs taking turns.

    Until a job's language is known its first chunk alone can be taken: who takes it detects the language.
    """
    return Chunk.objects.filter(
        Q(job__language__gt="") | Q(index=0), leases.claimable(), job__status__in=Job.ACTIVE
    )


def _in_turn(chunks: "QuerySet[Chunk]") -> "QuerySet[Chunk]":
    return chunks.select_related("job__recording").order_by(
        F("job__served_at").asc(nulls_first=True), "job__created_at", "index"
    )


def next_job() -> Job | None:
    """The job whose turn it is to have a chunk transcribed, or None when there is nothing to do."""
    chunk = _in_turn(claimable_chunks()).first()
    return None if chunk is None else chunk.job


def claim_chunk(*, model_name: str) -> Chunk | None:
    """Take the next chunk of a job with this model, or None when there is none."""
    with transaction.atomic():
        chunk = leases.claim(_in_turn(claimable_chunks().filter(job__model_name=model_name)))
        if chunk is not None:
            Job.objects.filter(pk=chunk.job_id).update(served_at=Now())
            if chunk.index == 0:  # until now the message was of the preparation
                say(job_id=chunk.job_id, message=_progress(chunk.job)[1])
    return chunk


def set_language(*, job: Job, language: str) -> None:
    Job.objects.filter(pk=job.pk, language="").update(language=language, updated_at=Now())
    job.refresh_from_db(fields=["language"])
    wakeups.wake_transcribers()


def finish_chunk(
    *, lease: Lease, chunk: Chunk, segments: Sequence[TranscribedSegment], engine: str, device: str
) -> None:
    """Commit a chunk with its segments. Raises LeaseLostError, and writes nothing, if it is another's by now."""
    with transaction.atomic():
        # The job's row is locked, so that progress counts in one order; a job that was deleted has none.
        active = Job.objects.select_for_update().filter(pk=chunk.job_id, status__in=Job.ACTIVE)
        job = active.first()
        if job is None or not lease.rows().update(
            state=Leased.State.DONE, progress=100, finished_at=Now(), lease_until=None, error=""
        ):
            raise LeaseLostError
        Segment.objects.bulk_create(_segment(chunk, segment) for segment in segments)
        progress, message = _progress(job)
        Job.objects.filter(pk=job.pk).update(
            progress=progress, message=message, engine=engine, device=device, updated_at=Now()
        )
        wakeups.wake_listeners(job.pk)
    advance(job.pk)


def _segment(chunk: Chunk, segment: TranscribedSegment) -> Segment:
    return Segment(
        job_id=chunk.job_id,
        chunk=chunk,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        words=[asdict(word) for word in segment.words],
        avg_logprob=segment.avg_logprob,
        no_speech_prob=segment.no_speech_prob,
        compression_ratio=segment.compression_ratio,
        temperature=segment.temperature,
    )


def _progress(job: Job) -> tuple[int, str]:
    """Per cent and message. Until all chunks are known, the whole is what the container declares."""
    totals = job.chunks.aggregate(
        seconds=Sum(F("end") - F("start")),
        done=Sum(F("end") - F("start"), filter=Q(state=Leased.State.DONE)),
        n=Count("pk"),
        n_done=Count("pk", filter=Q(state=Leased.State.DONE)),
    )
    whole = totals["seconds"] or 0.0
    if job.recording.duration is None:
        whole = max(whole, job.recording.declared_duration or 0.0)
    percent = int(100 * (totals["done"] or 0.0) / whole) if whole else 0
    percent = max(job.progress, min(percent, 99))
    current = min(totals["n_done"] + 1, totals["n"])
    return percent, f"Processing chunk {current}/{totals['n']} ({percent}%)"


# ---- Failure


def fail_work(*, lease: Lease, job_id: UUID, error: str, can_retry: bool) -> None:
    """Note why a piece of work failed; after the last try the job fails with the same words."""
    limit = settings.TRANSCRIBER_CHUNK_ATTEMPTS if can_retry else 1
    failures = lease.rows().values_list("failures", flat=True).first()
    if failures is None:
        return  # it is another's by now, or was deleted
    final = failures + 1 >= limit
    with transaction.atomic():
        changed = lease.rows().update(
            state=Leased.State.FAILED if final else Leased.State.TODO,
            failures=F("failures") + 1,
            error=error,
            lease_until=None,
            finished_at=Now(),
        )
        if not changed:
            return  # it is another's by now
        if final:
            fail_job(job_id=job_id, message=error)
            return
    if isinstance(lease.row, Chunk):
        wakeups.wake_transcribers()
    else:
        wakeups.wake_preparers()


def fail_job(*, job_id: UUID, message: str) -> bool:
    """End a job; what was transcribed remains. False when it had ended already."""
    return _end(job_id, status=Job.Status.FAILED, message=message)


def cancel_job(*, job_id: UUID) -> bool:
    """End a job at somebody's wish; its workers learn of it with their next renewal."""
    return _end(job_id, status=Job.Status.CANCELLED, message="Cancelled")


def _end(job_id: UUID, *, status: Job.Status, message: str, **values: object) -> bool:
    with transaction.atomic():
        ended = Job.objects.filter(pk=job_id, status__in=Job.ACTIVE).update(
            status=status, message=message, finished_at=Now(), updated_at=Now(), **values
        )
        if ended:
            wakeups.wake_listeners(job_id)
    return bool(ended)


# ---- Going on


def advance(job_id: UUID) -> None:
    """Complete the job if nothing is left to do: told by the rows, not by who calls."""
    prepared = Stage.objects.filter(
        job=job_id, kind=Stage.Kind.PREPARE, state=Leased.State.DONE
    ).exists()
    if not prepared or Chunk.objects.filter(job=job_id).exclude(state=Leased.State.DONE).exists():
        return
    job = Job.objects.select_related("recording").get(pk=job_id)
    _end(job_id, status=Job.Status.COMPLETED, message=_last_words(job), progress=100)


def _last_words(job: Job) -> str:
    recording = job.recording
    message = "Completed" if job.segments.exists() else "Completed: no speech was found"
    declared, decoded = recording.declared_duration or 0.0, recording.duration or 0.0
    if decoded < 0.95 * declared - ENDS_EARLY_SECONDS:
        message += (
            f". The file breaks off: of the {declared:.0f} s that it declares, "
            f"{decoded:.0f} s could be read"
        )
    return message


def say(*, job_id: UUID, message: str) -> None:
    """Tell those who wait what is going on."""
    with transaction.atomic():
        Job.objects.filter(pk=job_id, status__in=Job.ACTIVE).update(
            message=message, updated_at=Now()
        )
        wakeups.wake_listeners(job_id)


def _start(job: Job, *, message: str) -> None:
    Job.objects.filter(pk=job.pk, status=Job.Status.QUEUED).update(
        status=Job.Status.RUNNING, started_at=Now(), updated_at=Now(), message=message
    )


def real_time_factor(job: Job) -> float | None:
    """Seconds of work for a second of audio; None until the job is completed."""
    if job.status != Job.Status.COMPLETED or not (job.started_at and job.finished_at):
        return None
    if not job.recording.duration:
        return None
    return (job.finished_at - job.started_at).total_seconds() / job.recording.duration


# ---- Recovery


def recover() -> None:
    """Find what lost its worker or its message and set it going again; safe to call at any time, by anyone."""
    for model in (Stage, Chunk):
        leases.release_of_the_dead(model)
        _give_up_on_killers(model)
    unfinished = Job.objects.filter(status__in=Job.ACTIVE).exclude(
        chunks__state__in=(Leased.State.TODO, Leased.State.DOING)
    )
    for job_id in unfinished.values_list("pk", flat=True):
        advance(job_id)
    if not wakeups.n_waiting(wakeups.INTERACTIVE) and _claimable_preparations().exists():
        wakeups.wake_preparers()
    n_chunks = claimable_chunks().count()
    if n_chunks and not wakeups.n_waiting(wakeups.SPEECH):
        wakeups.wake_transcribers(n=n_chunks)


def _claimable_preparations() -> "QuerySet[Stage]":
    return Stage.objects.filter(
        leases.claimable(), kind=Stage.Kind.PREPARE, job__status__in=Job.ACTIVE
    )


def _give_up_on_killers(model: type[Leased]) -> None:
    exhausted = model._default_manager.filter(
        Q(state=Leased.State.TODO) | Q(state=Leased.State.DOING, lease_until__lt=Now()),
        attempts__gte=leases.MOST_ATTEMPTS,
    )
    for row in exhausted:
        error = f"Given up: {row.attempts} workers were lost at it."
        if row.error:
            error += f" The last error was: {row.error}"
        with transaction.atomic():
            if exhausted.filter(pk=row.pk).update(state=Leased.State.FAILED, error=error):
                fail_job(job_id=row.job_id, message=error)
