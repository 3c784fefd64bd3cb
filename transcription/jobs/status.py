"""A job's progress and message, computed from its rows, and the documented status documents."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import (
    Case,
    Count,
    F,
    Func,
    IntegerField,
    Q,
    QuerySet,
    Subquery,
    Sum,
    When,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from transcription import access
from transcription.leasing.work import WAITING_FOR_SPACE
from transcription.locks import lock_active_job
from transcription.models import Job, Leased, Stage
from transcription.wake import wake_listeners

WAITING = "Waiting for a worker"
SEPARATE_VOICES = (
    "Its channels hold a speaker each: upload it with channels=speakers, "
    "and each is transcribed by itself, also where they speak at once"
)
TRUNCATED_SECONDS = 1.0
TRANSCRIBED_PERCENT = 80
"""A job's progress when it is transcribed and diarization remains."""
API_STATUS = {
    Job.Status.QUEUED: "processing",
    Job.Status.RUNNING: "processing",
    Job.Status.COMPLETED: "completed",
    Job.Status.FAILED: "failed",
    Job.Status.CANCELLED: "failed",
}
"""The documented names: the message tells queued from running, and cancelled from failed."""
API_STATUS_OF_STATE = {
    Leased.State.TODO: "processing",
    Leased.State.DOING: "processing",
    Leased.State.DONE: "completed",
    Leased.State.FAILED: "failed",
}
"""The same for summaries and retranslations, which are leased themselves."""


# ---- Progress


@dataclass(frozen=True, slots=True)
class Progress:
    percent: int
    message: str
    n_unfinished: int
    """Known chunks that are not done."""


def measure_progress(job: Job) -> Progress:
    """Compute the job's progress. Until all chunks are known, the container's declared duration is the whole."""
    totals = job.chunks.aggregate(
        seconds=Sum(F("end") - F("start")),
        done=Sum(F("end") - F("start"), filter=Q(state=Leased.State.DONE)),
        n=Count("pk"),
        n_done=Count("pk", filter=Q(state=Leased.State.DONE)),
        n_channels=Count(
            "channel", distinct=True
        ),  # each is as long as the recording; none if mixed
    )
    n_unfinished = totals["n"] - totals["n_done"]
    whole = totals["seconds"] or 0.0
    if job.recording.duration is None:
        declared = job.recording.declared_duration or 0.0
        whole = max(whole, declared * max(totals["n_channels"], 1))
    percent = 100 * (totals["done"] or 0.0) / whole if whole else 0.0
    stages = {stage.kind: stage for stage in job.stages.all()} if job.diarize else {}
    diarization = stages.get(Stage.Kind.DIARIZE)
    transcribed = is_transcribed(stages.values(), n_unfinished=n_unfinished)
    if diarization is not None:
        share = TRANSCRIBED_PERCENT / 100
        percent = share * (100.0 if transcribed else percent) + (1 - share) * diarization.progress
    percent = max(job.progress, min(int(percent), 99))
    if diarization is not None and transcribed:
        return Progress(percent, f"Finding out who speaks ({diarization.progress}%)", n_unfinished)
    current = min(totals["n_done"] + 1, totals["n"])
    message = f"Processing chunk {current}/{totals['n']} ({percent}%)"
    if _waits_for_space(job):
        message = WAITING_FOR_SPACE
    return Progress(percent, message, n_unfinished)


def _waits_for_space(job: Job) -> bool:
    if job.recording.duration is not None:
        return False
    preparation = job.stages.filter(kind=Stage.Kind.PREPARE, state=Leased.State.TODO)
    return preparation.filter(error=WAITING_FOR_SPACE).exists()


def is_transcribed(stages: Iterable[Stage], *, n_unfinished: int) -> bool:
    """Whether all chunks are known (the recording is prepared) and done."""
    kind, done = Stage.Kind.PREPARE, Leased.State.DONE
    return not n_unfinished and any(stage.kind == kind and stage.state == done for stage in stages)


def update_progress(*, job_id: UUID) -> None:
    """Save the job's progress and message, computed from its rows, and wake listeners."""
    with transaction.atomic():
        job = lock_active_job(job_id)
        if job is None:
            return
        progress = measure_progress(job)
        Job.objects.filter(pk=job_id).update(
            progress=progress.percent, message=progress.message, updated_at=Now()
        )
        wake_listeners(job_id)


def set_message(*, job_id: UUID, message: str) -> None:
    """Save the message of an active job and wake listeners."""
    with transaction.atomic():
        Job.objects.filter(pk=job_id, status__in=Job.ACTIVE).update(
            message=message, updated_at=Now()
        )
        wake_listeners(job_id)


def processing_seconds(job: Job) -> float | None:
    """Seconds of work, up to the last update of an active job; None before the job is started."""
    if job.started_at is None:
        return None
    return ((job.finished_at or job.updated_at) - job.started_at - job.paused).total_seconds()


def real_time_factor(job: Job) -> float | None:
    """Seconds of work for a second of audio; None until the job is completed."""
    seconds, duration = processing_seconds(job), job.recording.duration
    if job.status != Job.Status.COMPLETED or job.finished_at is None or seconds is None:
        return None
    return seconds / duration if duration else None


# ---- Messages


def completion_message(job: Job, diarization: Stage | None) -> str:
    """The message of a completed job, with what its user should know: no speech, no speakers, a truncated file."""
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
        message += _too_few_speakers(job)
    declared, decoded = recording.declared_duration or 0.0, recording.duration or 0.0
    if decoded < 0.95 * declared - TRUNCATED_SECONDS:
        message += (
            f". The file breaks off: of the {declared:.0f} s that it declares, "
            f"{decoded:.0f} s could be read"
        )
    if recording.has_separate_voices and job.channels == Job.Channels.AUTO:
        message += f". {SEPARATE_VOICES}"
    return message


def _too_few_speakers(job: Job) -> str:
    """A recording may have fewer voices than its uploader said."""
    found = len(job.diarization.seconds_by_speaker())
    at_least = job.num_speakers or job.min_speakers or 0
    return f"; {found} of the {at_least} speakers asked for were found" if found < at_least else ""


def status_messages(jobs: Sequence[Job]) -> dict[UUID, str]:
    """Each job's message; a job that waits for its first chunk gets its place in the queue.

    People take turns, chunk by chunk, and each person's jobs do; jobs that had none come first. So the first waiting
    jobs of all people are before their second ones, in the order of their uploads.
    """
    messages = {job.pk: job.message for job in jobs}
    waiting = {job.pk for job in jobs if _waits_for_first_chunk(job)}
    if len(waiting) == 1:
        rows = Job.objects.filter(_IS_WAITING, pk__in=waiting)
        for job_id, place, length in rows.values_list("pk", *place_in_queue().values()):
            messages[job_id] = waiting_message(place, length)
    elif waiting:  # to read the queue once takes less than to count for each
        ids = _ids_in_turn()
        for place, job_id in enumerate(ids, 1):
            if job_id in waiting:  # else a worker claimed its first chunk just now
                messages[job_id] = waiting_message(place, len(ids))
    return messages


def _waits_for_first_chunk(job: Job) -> bool:
    return job.status in Job.ACTIVE and job.served_at is None and job.message == WAITING


_IS_WAITING = Q(status__in=Job.ACTIVE, served_at=None, message=WAITING)
"""The same in a query."""


@access.as_service()
def _queue() -> "QuerySet[Job]":
    """The jobs that wait for their first chunk, whoever they belong to."""
    return Job.objects.filter(status__in=Job.ACTIVE, served_at=None)


def _ids_in_turn() -> list[UUID]:
    """The jobs of the queue in the order in which they will be served, as far as it is known by now."""
    n_of_person: Counter[int] = Counter()
    in_turn = []
    for job_id, owner_id in _queue().order_by("created_at").values_list("pk", "owner"):
        rank = 0  # without an owner each job takes turns for itself
        if owner_id is not None:
            rank = n_of_person[owner_id]
            n_of_person[owner_id] += 1
        in_turn.append((rank, job_id))
    return [job_id for _, job_id in sorted(in_turn, key=lambda job: job[0])]


def place_in_queue() -> dict[str, Case]:
    """Annotations of a job that waits for its first chunk, null for others: `place` and `queue_length`."""
    active = [str(status) for status in Job.ACTIVE]
    place = RawSQL(_PLACE, active, output_field=IntegerField())  # noqa: S611  # no text of a request
    return {
        "place": Case(When(_IS_WAITING, then=place)),
        "queue_length": Case(When(_IS_WAITING, then=count_of(_queue()))),
    }


_PLACE = """
    SELECT place FROM (
        SELECT id, ROW_NUMBER() OVER (ORDER BY person_rank, created_at) AS place FROM (
            SELECT id, created_at, CASE WHEN owner_id IS NULL THEN 1 ELSE
                ROW_NUMBER() OVER (PARTITION BY owner_id ORDER BY created_at) END AS person_rank
            FROM transcription_job WHERE status IN (%s, %s) AND served_at IS NULL
        ) AS ranked
    ) AS placed WHERE placed.id = transcription_job.id"""
"""The place of a job of the outer query, as `_ids_in_turn` has it. Django cannot nest window functions."""


def count_of(rows: "QuerySet[Any]") -> Subquery:
    """The number of rows, as a part of another query."""
    n = Func("pk", function="COUNT", output_field=IntegerField())
    return Subquery(rows.order_by().annotate(n=n).values("n"))


def waiting_message(place: int, queue_length: int) -> str:
    return f"{WAITING} (number {place} of {queue_length} in the queue)"


# ---- Documents


def status_document(job: Job) -> dict[str, Any]:
    """The job's status in the API's shape."""
    [document] = status_documents([job])
    return document


def status_documents(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The jobs' statuses in the API's shape, in one query more than the jobs took."""
    messages = status_messages(jobs)
    return [
        {
            "job_id": str(job.pk),
            "status": API_STATUS[Job.Status(job.status)],
            "message": messages[job.pk],
            "progress": job.progress,
            "updated_at": job.updated_at.timestamp(),
        }
        for job in jobs
    ]


def not_found_document(job_id: object) -> dict[str, Any]:
    return {
        "job_id": str(job_id),
        "status": "not_found",
        "message": "Transcription job not found or expired",
        "progress": 0,
        "updated_at": time.time(),
    }


def live_status_message(
    document: dict[str, Any], *, chunk_info: dict[str, int] | None = None
) -> dict[str, Any]:
    """A status document as a message of the live WebSocket."""
    return {
        "type": "status",
        "status": document["status"],
        "message": document["message"],
        "progress": document["progress"],
        "chunk_info": chunk_info or {"current_chunk": 0, "total_chunks": 0, "chunk_progress": 0},
    }
