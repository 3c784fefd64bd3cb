"""The diarization stage of a job: claim it, find out who speaks when, commit; or request it once more."""

import time
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Coalesce, Now

from transcription.jobs import status, work
from transcription.jobs.lifecycle import advance, speaker_count_fields
from transcription.leasing import fairness, leases
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.outages import DATABASE_ERRORS, wait_out
from transcription.locks import lock_active_job
from transcription.models import Chunk, Diarization, Job, Leased, Stage
from transcription.recordings import StoredSamples
from transcription.speech.diarization.base import Diarization as FoundSpeakers
from transcription.speech.diarization.base import SpeakerCount
from transcription.speech.diarization.loading import load
from transcription.speech.engines.base import SpeechError
from transcription.wake import wake_listeners, wake_speech_workers

SHOW_SECONDS = 1.0
"""How often progress is saved for those who watch, at most."""

# ---- Request


def request_diarization(*, job_id: UUID, count: SpeakerCount | None = None) -> bool:
    """Queue a completed job's diarization, again or for the first time; the transcript stays readable meanwhile.

    `count` replaces the job's speaker count, unless it is None. False if the job is not completed, or its channels are
    its speakers.
    """
    with transaction.atomic():
        completed = Job.objects.filter(pk=job_id, status=Job.Status.COMPLETED)
        changed = completed.exclude(channels=Job.Channels.SPEAKERS).update(
            paused=F("paused") + (Now() - Coalesce("finished_at", Now())),
            status=Job.Status.RUNNING,
            message=status.WAITING,
            progress=status.TRANSCRIBED_PERCENT,
            diarize=True,
            finished_at=None,
            updated_at=Now(),
            **({} if count is None else speaker_count_fields(count)),
        )
        if not changed:
            return False
        Stage.objects.update_or_create(
            job_id=job_id,
            kind=Stage.Kind.DIARIZE,
            defaults={**leases.RESET_TO_TODO, "progress": 0},
        )
        wake_speech_workers()
        wake_listeners(job_id)
    return True


# ---- Claim


def claimable_diarizations() -> "QuerySet[Stage]":
    """Diarizations of prepared recordings whose chunks are all claimed: transcription comes first."""
    job = OuterRef("job")
    prepared = Stage.objects.filter(job=job, kind=Stage.Kind.PREPARE, state=Leased.State.DONE)
    return Stage.objects.filter(
        leases.claimable(),
        Exists(prepared),
        ~Exists(_waiting_chunks(job)),
        kind=Stage.Kind.DIARIZE,
        job__status__in=Job.ACTIVE,
    )


def claim_diarization() -> Stage | None:
    """Claim the next diarization: of the person in turn, that of the oldest job. None if none waits."""
    waiting = claimable_diarizations()
    if not waiting.exists():  # polled often, and a claim takes SQLite's write lock
        return None
    in_turn = fairness.person_in_turn(fairness.DIARIZATION, owner="job__owner")
    waiting = waiting.select_related("job__recording")
    stage = leases.claim(waiting.order_by(in_turn, "job__created_at"))
    if stage is not None:
        fairness.note_served(fairness.DIARIZATION, person_id=stage.job.owner_id)
        status.update_progress(job_id=stage.job_id)
    return stage


def wake_diarizer_if_ready(job_id: UUID) -> None:
    """Wake a speech worker if the job's diarization is claimable by now.

    Called when a chunk is claimed and when the preparation ends: it becomes claimable with the later of the two.
    """
    states = dict(Stage.objects.filter(job=job_id).values_list("kind", "state"))
    if states.get(Stage.Kind.DIARIZE) != Leased.State.TODO:
        return
    if states.get(Stage.Kind.PREPARE) != Leased.State.DONE:
        return
    if not _waiting_chunks(job_id).exists():
        wake_speech_workers()


def _waiting_chunks(job: UUID | OuterRef) -> "QuerySet[Chunk]":
    # SQLite has no statistics: without the index it would go through all jobs' waiting chunks, not through this job's.
    return Chunk.objects.filter(job=job, index__gte=0, state=Leased.State.TODO)


# ---- Work


def diarize_next() -> bool:
    """Diarize the recording of the oldest job that waits for it, or save why it failed. False if none waits."""
    stage = claim_diarization()
    if stage is None:
        return False
    work.run(
        stage,
        lambda lease: _diarize(stage.job, lease),
        name="The diarization",
        wake=wake_speech_workers,
        message=_reason,
        can_retry=_can_retry,
    )
    return True


def _diarize(job: Job, lease: Lease) -> None:
    diarizer = load(
        engine=settings.TRANSCRIBER_DIARIZATION_ENGINE,
        model=settings.TRANSCRIBER_DIARIZATION_MODEL,
        token=settings.HF_TOKEN,
        device=settings.TRANSCRIBER_DEVICE,
        threads=settings.TRANSCRIBER_SPEECH_THREADS,
    )
    shown_at, shown_percent = time.monotonic(), 0

    def on_progress(fraction: float) -> None:
        nonlocal shown_at, shown_percent
        lease.check()
        percent = min(int(100 * fraction), 100)
        if percent != shown_percent and time.monotonic() - shown_at >= SHOW_SECONDS:
            shown_at, shown_percent = time.monotonic(), percent
            _show_progress(lease, job, percent)

    on_progress(0.0)
    found = diarizer.diarize(
        StoredSamples(job.recording),
        count=SpeakerCount(job.num_speakers, job.min_speakers, job.max_speakers),
        on_progress=on_progress,
    )
    finish_diarization(
        lease=lease,
        job=job,
        found=found,
        engine=settings.TRANSCRIBER_DIARIZATION_ENGINE,
        model=diarizer.model,
        device=diarizer.device,
    )


def _show_progress(lease: Lease, job: Job, percent: int) -> None:
    try:
        save_progress(lease=lease, job_id=job.pk, percent=percent)
    except DATABASE_ERRORS:
        connection.close()  # the next one is saved; the work goes on


def save_progress(*, lease: Lease, job_id: UUID, percent: int) -> None:
    """Save how far a diarization is, and wake listeners."""
    lease.progress = percent
    lease.held_rows().update(progress=percent)
    status.update_progress(job_id=job_id)


def _can_retry(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return False  # the recording will be as long the next time
    return not isinstance(error, SpeechError) or error.can_retry


def _reason(error: Exception) -> str:
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else repr(error))


# ---- Commit


def finish_diarization(
    *, lease: Lease, job: Job, found: FoundSpeakers, engine: str, model: str, device: str
) -> None:
    """Commit who speaks when, and complete the job if nothing else is left.

    Waits out an outage of the database. Raises LeaseLostError, and writes nothing, if the lease was lost.
    """
    wait_out(lambda: _commit(lease, job, found, engine, model, device))
    wait_out(lambda: advance(job.pk))


def _commit(
    lease: Lease, job: Job, found: FoundSpeakers, engine: str, model: str, device: str
) -> None:
    with transaction.atomic():
        locked = lock_active_job(job.pk)
        if locked is None or not lease.held_rows().update(
            state=Leased.State.DONE, progress=100, finished_at=Now(), lease_until=None, error=""
        ):
            raise LeaseLostError
        Diarization.objects.update_or_create(
            job=job,
            defaults={
                "engine": engine,
                "model": model[:255],
                "device": device,
                "turns": [[turn.start, turn.end, turn.speaker] for turn in found.turns],
                "exclusive": [
                    [turn.start, turn.end, turn.speaker, turn.voice] for turn in found.exclusive
                ],
                "centroids": {name: list(voice) for name, voice in found.centroids.items()},
                "names": {},
                "revision": locked.revision,
                "created_at": Now(),
            },
        )
