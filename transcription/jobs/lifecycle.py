"""The life of a job: create, claim, advance, finish, fail, cancel."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from transcription import recordings
from transcription.jobs import progress
from transcription.leasing import leases, wakeups
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.models import Chunk, Job, Leased, Recording, Segment, Stage
from transcription.speech.chunks import PlannedChunk
from transcription.speech.diarization.base import SpeakerCount
from transcription.speech.engines.base import TranscribedSegment
from transcription.transcript import speaker_split

_logger = logging.getLogger(__name__)


def create_job(
    *,
    recording: Recording,
    model_name: str,
    language: str,
    diarize: bool,
    count: SpeakerCount | None = None,
) -> Job:
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
                message=progress.WAITING,
                **count_fields(count or SpeakerCount()),
            )
            Stage.objects.create(job=job, kind=Stage.Kind.PREPARE)
            if diarize:
                Stage.objects.create(job=job, kind=Stage.Kind.DIARIZE)
            wakeups.wake_preparers()
    except BaseException:
        recordings.delete_files(recording)
        raise
    return job


def count_fields(count: SpeakerCount) -> dict[str, Any]:
    return {
        "num_speakers": count.exactly,
        "min_speakers": count.at_least,
        "max_speakers": count.at_most,
    }


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
        hold(job.pk)
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
        Job.objects.filter(pk=job.pk, status__in=Job.ACTIVE, served_at=None).update(
            message=progress.WAITING, updated_at=Now()
        )
        wakeups.wake_speech_workers(n=len(planned))


def finish_preparation(*, lease: Lease, job: Job, duration: float) -> None:
    with transaction.atomic():
        hold(job.pk)
        if not lease.rows().update(
            state=Leased.State.DONE, finished_at=Now(), lease_until=None, error=""
        ):
            raise LeaseLostError
        Recording.objects.filter(pk=job.recording_id).update(duration=duration)
        _wake_diarizers(job.pk)
    advance(job.pk)


def hold(job_id: UUID) -> None:
    """Whoever writes to a job's other rows holds the job's own first: two who hold each other's wait for ever."""
    list(Job.objects.select_for_update().filter(pk=job_id).values_list("pk"))


def hold_existing(job_id: UUID) -> None:
    """The same before rows are added to it by somebody else's wish. Raises Job.DoesNotExist if it was deleted."""
    Job.objects.select_for_update().only("pk").get(pk=job_id)


# ---- Chunks


def claimable_chunks() -> "QuerySet[Chunk]":
    """Chunks that wait to be transcribed."""
    return _chunks_to_transcribe().filter(leases.claimable())


def _chunks_to_transcribe() -> "QuerySet[Chunk]":
    """Until a job's language is known its first chunk alone can be taken: who takes it detects the language."""
    return Chunk.objects.filter(Q(job__language__gt="") | Q(index=0), job__status__in=Job.ACTIVE)


def _in_turn(chunks: "QuerySet[Chunk]") -> "QuerySet[Chunk]":
    """Those first whose job was served longest ago."""
    return chunks.select_related("job__recording").order_by(
        F("job__served_at").asc(nulls_first=True), "job__created_at", "index"
    )


def next_job(*, but_with: Collection[str] = ()) -> Job | None:
    """The job whose turn it is to have a chunk transcribed, with another model than those, or None."""
    chunk = _in_turn(claimable_chunks().exclude(job__model_name__in=but_with)).first()
    return None if chunk is None else chunk.job


def claim_chunk(*, model_name: str) -> Chunk | None:
    """Take the next chunk of a job with this model, or None when there is none."""
    waiting = _chunks_to_transcribe().filter(job__model_name=model_name)
    chunk = leases.claim(_in_turn(waiting))
    if chunk is None:
        return None
    # Apart from the claim, which holds the chunk's row and may not wait for the job's: see hold.
    Job.objects.filter(pk=chunk.job_id).update(served_at=Now())
    if chunk.index == 0:  # until now the message was of the preparation
        say(job_id=chunk.job_id, message=progress.measure(chunk.job).message)
    if chunk.job.diarize:
        _wake_diarizers(chunk.job_id)
    return chunk


def _wake_diarizers(job_id: UUID) -> None:
    """To be called when a chunk is taken and when the preparation ends: it can begin with whichever comes last."""
    states = dict(Stage.objects.filter(job=job_id).values_list("kind", "state"))
    if states.get(Stage.Kind.DIARIZE) != Leased.State.TODO:
        return
    if states.get(Stage.Kind.PREPARE) != Leased.State.DONE:
        return
    if not Chunk.objects.filter(job=job_id, state=Leased.State.TODO).exists():
        wakeups.wake_speech_workers()


def set_language(*, job: Job, language: str) -> None:
    Job.objects.filter(pk=job.pk, language="").update(language=language, updated_at=Now())
    job.refresh_from_db(fields=["language"])
    wakeups.wake_speech_workers()


def finish_chunk(
    *, lease: Lease, chunk: Chunk, segments: Sequence[TranscribedSegment], engine: str, device: str
) -> None:
    """Commit a chunk with its segments. Raises LeaseLostError, and writes nothing, if it is another's by now."""
    with transaction.atomic():
        # The job's row is locked, so that progress counts in one order; a job that was deleted has none.
        job = _locked(chunk.job_id)
        if job is None or not lease.rows().update(
            state=Leased.State.DONE, progress=100, finished_at=Now(), lease_until=None, error=""
        ):
            raise LeaseLostError
        Segment.objects.bulk_create(_segment(chunk, segment) for segment in segments)
        found = progress.measure(job)
        Job.objects.filter(pk=job.pk).update(
            progress=found.percent,
            message=found.message,
            engine=engine,
            device=device,
            updated_at=Now(),
        )
        wakeups.wake_listeners(job.pk)
    if not found.n_undone:
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


# ---- Failure


def fail_work(*, lease: Lease, job_id: UUID, error: str, can_retry: bool) -> None:
    """Note why a piece of work failed; after the last try the job fails with the same words."""
    limit = settings.TRANSCRIBER_CHUNK_ATTEMPTS if can_retry else 1
    failures = lease.rows().values_list("failures", flat=True).first()
    if failures is None:
        return  # it is another's by now, or was deleted
    final = failures + 1 >= limit
    with transaction.atomic():
        hold(job_id)
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
            fail_for_good(lease.row, error=error)
    if final:
        advance(job_id)
    elif _is_of_kind(lease.row, Stage.Kind.PREPARE):
        wakeups.wake_preparers()
    else:
        wakeups.wake_speech_workers()


def fail_for_good(row: Leased, *, error: str) -> None:
    """What the end of a piece of work means to its job: without speakers a transcript is still one."""
    if not _is_of_kind(row, Stage.Kind.DIARIZE):
        fail_job(job_id=row.job_id, message=error)


def _is_of_kind(row: Leased, kind: Stage.Kind) -> bool:
    return isinstance(row, Stage) and row.kind == kind


def fail_job(*, job_id: UUID, message: str) -> bool:
    """End a job; what was transcribed remains. False when it had ended already."""
    return _end(job_id, status=Job.Status.FAILED, message=message)


def cancel_job(*, job_id: UUID) -> bool:
    """End a job at somebody's wish; its workers learn of it with their next renewal.

    A transcript that is there already is not thrown away: what is cancelled then is finding out who speaks.
    """
    with transaction.atomic():
        job = _locked(job_id)
        if job is None:
            return False
        is_transcribed = progress.is_transcribed(job.stages.all(), n_undone=_n_undone(job_id))
        diarizations = job.stages.filter(
            kind=Stage.Kind.DIARIZE, state__in=(Leased.State.TODO, Leased.State.DOING)
        )
        if is_transcribed:
            diarizations.update(
                state=Leased.State.FAILED, error="cancelled", lease_until=None, finished_at=Now()
            )
            return _complete(job)
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
    if not _is_done(job_id):
        return
    with transaction.atomic():
        job = _locked(job_id)
        if job is not None and _is_done(job_id):  # else somebody else was first, perhaps by far
            _complete(job)


def _is_done(job_id: UUID) -> bool:
    stages = list(Stage.objects.filter(job=job_id))
    over = (Leased.State.DONE, Leased.State.FAILED)
    return progress.is_transcribed(stages, n_undone=_n_undone(job_id)) and all(
        stage.state in over for stage in stages if stage.kind == Stage.Kind.DIARIZE
    )


def _n_undone(job_id: UUID) -> int:
    return Chunk.objects.filter(job=job_id).exclude(state=Leased.State.DONE).count()


def _locked(job_id: UUID) -> Job | None:
    """The job, if it is active, held until the transaction ends."""
    active = Job.objects.filter(pk=job_id, status__in=Job.ACTIVE)
    return active.select_related("recording").select_for_update(of=("self",)).first()


def _complete(job: Job) -> bool:
    """With the job's row held. Speakers come with the end, so that nobody sees a transcript half attributed."""
    diarization = job.stages.filter(kind=Stage.Kind.DIARIZE).first()
    if diarization is not None and diarization.state == Leased.State.DONE:
        _attribute(job, diarization)
    message = progress.last_words(job, diarization)
    return _end(job.pk, status=Job.Status.COMPLETED, message=message, progress=100)


def _attribute(job: Job, stage: Stage) -> None:
    try:
        with transaction.atomic():
            speaker_split.attribute_speakers(job=job, diarization=job.diarization)
    except DatabaseError:
        raise  # whoever looks next does it
    except Exception as error:  # nobody would ever do better, and the job would never end
        _logger.exception("The speakers of job %s could not be attributed.", job.pk)
        stage.state, stage.error = Leased.State.FAILED, f"they could not be attributed: {error}"
        stage.save(update_fields=["state", "error"])


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
    return (job.finished_at - job.started_at - job.paused).total_seconds() / job.recording.duration
