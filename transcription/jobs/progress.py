"""How far a job is, as its rows tell it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Now

from transcription.leasing import wakeups
from transcription.models import Job, Leased, Stage

WAITING = "Waiting for a worker"
WAITING_FOR_SPACE = "Waiting for space: the service's disk is full"
ENDS_EARLY_SECONDS = 1.0
TRANSCRIBED_PERCENT = 80
"""A job's progress when its transcript is there and it remains to be found out who speaks."""


def tell(*, job_id: UUID) -> None:
    """Tell those who wait how far the job is, by what its rows say."""
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=job_id, status__in=Job.ACTIVE).first()
        if job is None:
            return
        found = measure(job)
        Job.objects.filter(pk=job_id).update(
            progress=found.percent, message=found.message, updated_at=Now()
        )
        wakeups.wake_listeners(job_id)


@dataclass(frozen=True, slots=True)
class Measured:
    percent: int
    message: str
    n_undone: int
    """Chunks that are known and not done."""


def measure(job: Job) -> Measured:
    """How far the job is. Until all chunks are known, the whole is what the container declares."""
    totals = job.chunks.aggregate(
        seconds=Sum(F("end") - F("start")),
        done=Sum(F("end") - F("start"), filter=Q(state=Leased.State.DONE)),
        n=Count("pk"),
        n_done=Count("pk", filter=Q(state=Leased.State.DONE)),
    )
    n_undone = totals["n"] - totals["n_done"]
    whole = totals["seconds"] or 0.0
    if job.recording.duration is None:
        whole = max(whole, job.recording.declared_duration or 0.0)
    percent = 100 * (totals["done"] or 0.0) / whole if whole else 0.0
    stages = {stage.kind: stage for stage in job.stages.all()} if job.diarize else {}
    diarization = stages.get(Stage.Kind.DIARIZE)
    transcribed = is_transcribed(stages.values(), n_undone=n_undone)
    if diarization is not None:
        share = TRANSCRIBED_PERCENT / 100
        percent = share * (100.0 if transcribed else percent) + (1 - share) * diarization.progress
    percent = max(job.progress, min(int(percent), 99))
    if diarization is not None and transcribed:
        return Measured(percent, f"Finding out who speaks ({diarization.progress}%)", n_undone)
    current = min(totals["n_done"] + 1, totals["n"])
    message = f"Processing chunk {current}/{totals['n']} ({percent}%)"
    if _waits_for_space(job):
        message = WAITING_FOR_SPACE
    return Measured(percent, message, n_undone)


def _waits_for_space(job: Job) -> bool:
    if job.recording.duration is not None:
        return False
    preparation = job.stages.filter(kind=Stage.Kind.PREPARE, state=Leased.State.TODO)
    return preparation.filter(error=WAITING_FOR_SPACE).exists()


def is_transcribed(stages: Iterable[Stage], *, n_undone: int) -> bool:
    kind, done = Stage.Kind.PREPARE, Leased.State.DONE
    return not n_undone and any(stage.kind == kind and stage.state == done for stage in stages)


def last_words(job: Job, diarization: Stage | None) -> str:
    """The message of a job that is completed, and what there is to say of it."""
    recording = job.recording
    message = "Completed" if job.segments.exists() else "Completed: no speech was found"
    if diarization is not None and diarization.state == Leased.State.FAILED:
        has_speakers = job.segments.filter(speaker__isnull=False).exists()
        without = (
            "Completed; the speakers are as before"
            if has_speakers
            else "Completed, without speakers"
        )
        message = f"{without}: {diarization.error}" if job.segments.exists() else message
    elif diarization is not None and job.segments.exists():
        message += _other_than_asked(job)
    declared, decoded = recording.declared_duration or 0.0, recording.duration or 0.0
    if decoded < 0.95 * declared - ENDS_EARLY_SECONDS:
        message += (
            f". The file breaks off: of the {declared:.0f} s that it declares, "
            f"{decoded:.0f} s could be read"
        )
    return message


def _other_than_asked(job: Job) -> str:
    """A recording may hold fewer voices than somebody said."""
    found = len(job.diarization.seconds_of_speakers())
    at_least = job.num_speakers or job.min_speakers or 0
    return f"; {found} of the {at_least} speakers asked for were found" if found < at_least else ""


def messages(found: Sequence[Job]) -> dict[UUID, str]:
    """What to tell of each job: its message, and of one that waits for its first chunk its place in the queue.

    Jobs take turns, chunk by chunk, and those that have had none come first, in the order of their uploads.
    """
    said = {job.pk: job.message for job in found}
    waiting = [job.pk for job in found if _waits_for_its_first_turn(job)]
    if waiting:
        queue = Job.objects.filter(status__in=Job.ACTIVE, served_at=None).order_by("created_at")
        ids = list(queue.values_list("pk", flat=True))
        places = {job_id: place for place, job_id in enumerate(ids, 1)}
        for job_id in waiting:
            if job_id in places:  # else it was taken just now
                said[job_id] = f"{WAITING} (number {places[job_id]} of {len(ids)} in the queue)"
    return said


def _waits_for_its_first_turn(job: Job) -> bool:
    return job.status in Job.ACTIVE and job.served_at is None and job.message == WAITING
