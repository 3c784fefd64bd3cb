"""Finding out who speaks, as a stage of a job: claim, finish, ask for it once more."""

from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Coalesce, Now

from transcription.jobs import lifecycle, progress
from transcription.leasing import leases, wakeups
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.models import Chunk, Diarization, Job, Leased, Stage
from transcription.speech.diarization.base import Diarization as Found
from transcription.speech.diarization.base import SpeakerCount


def claimable_diarizations() -> "QuerySet[Stage]":
    """Those whose recording is prepared and whose chunks are all taken: transcripts come first."""
    of_job = {"job": OuterRef("job")}
    prepared = Stage.objects.filter(**of_job, kind=Stage.Kind.PREPARE, state=Leased.State.DONE)
    waiting = Chunk.objects.filter(**of_job, state=Leased.State.TODO)
    return Stage.objects.filter(
        leases.claimable(),
        Exists(prepared),
        ~Exists(waiting),
        kind=Stage.Kind.DIARIZE,
        job__status__in=Job.ACTIVE,
    )


def claim_diarization() -> Stage | None:
    """Take the diarization of the job that waits longest, or None when none is to be done."""
    waiting = claimable_diarizations()
    if not waiting.exists():  # asked often, and to claim takes SQLite's one lock
        return None
    stage = leases.claim(waiting.select_related("job__recording").order_by("job__created_at"))
    if stage is not None:
        progress.tell(job_id=stage.job_id)
    return stage


def note_progress(*, lease: Lease, job_id: UUID, percent: int) -> None:
    """Tell those who wait how far a diarization is."""
    lease.progress = percent
    lease.rows().update(progress=percent)
    progress.tell(job_id=job_id)


def finish_diarization(
    *, lease: Lease, job: Job, found: Found, engine: str, model: str, device: str
) -> None:
    """Commit who speaks when. Raises LeaseLostError, and writes nothing, if it is another's by now."""
    with transaction.atomic():
        # The job's row first, as everywhere: two who hold each other's rows would wait for ever.
        active = Job.objects.select_for_update().filter(pk=job.pk, status__in=Job.ACTIVE)
        if active.first() is None or not lease.rows().update(
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
                "created_at": Now(),
            },
        )
    lifecycle.advance(job.pk)


def request_diarization(*, job_id: UUID, count: SpeakerCount | None = None) -> bool:
    """Find out who speaks, again or for the first time; the transcript stays readable meanwhile.

    `count` replaces what was said of the number of speakers before, unless it is None.
    False when the job is not completed.
    """
    with transaction.atomic():
        completed = Job.objects.filter(pk=job_id, status=Job.Status.COMPLETED)
        changed = completed.update(
            paused=F("paused") + (Now() - Coalesce("finished_at", Now())),
            status=Job.Status.RUNNING,
            message=progress.WAITING,
            progress=progress.TRANSCRIBED_PERCENT,
            diarize=True,
            finished_at=None,
            updated_at=Now(),
            **({} if count is None else lifecycle.count_fields(count)),
        )
        if not changed:
            return False  # it is under way, or ended otherwise
        Stage.objects.update_or_create(
            job_id=job_id,
            kind=Stage.Kind.DIARIZE,
            defaults={**leases.BEGUN_ANEW, "progress": 0},
        )
        wakeups.wake_speech_workers()
        wakeups.wake_listeners(job_id)
    return True
