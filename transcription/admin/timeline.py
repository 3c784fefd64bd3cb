"""A job's timeline: its events in order of time, read from its rows.

The rows keep only the last attempt of each chunk and stage.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from transcription import access
from transcription.admin.base import counted, list_url, page_url
from transcription.models import Chunk, Diarization, Edit, Job, Leased, Stage
from transcription.transcript.segments import clock_time, display_time

END_CHUNKS = 25
MAX_NOTABLE = 100
MAX_EDITS = 25
NOTABLE = Q(attempts__gt=1) | Q(failures__gt=0) | Q(state__in=("failed", "doing"))
"""Chunks that failed, were retried or are running: always of interest."""
WAITING = Q(state=Leased.State.TODO, attempts=0)
"""Not started, or reset by a retry."""
CHUNK_STATES = {
    "done": ("done", Q(state=Leased.State.DONE)),
    "doing": ("doing", Q(state=Leased.State.DOING)),
    "waiting": ("waiting", WAITING),
    "retry": ("to be retried", Q(state=Leased.State.TODO, attempts__gt=0)),
    "failed": ("failed", Q(state=Leased.State.FAILED)),
}
"""Label and filter of each state that the summary of chunks counts."""
STAGE_NAMES = {Stage.Kind.PREPARE: "Preparation", Stage.Kind.DIARIZE: "Diarization"}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that started or happened at a time, or has not started yet (`at` is None)."""

    at: datetime | None
    title: str
    state: str = ""
    url: str = ""
    details: str = ""
    """A message, an error, or what was edited."""
    by: str = ""
    """A worker or a person."""
    attempts: int = 0
    failures: int = 0
    seconds: float | None = None
    """Its duration, so far if it is still running."""
    since_upload: str = ""

    @property
    def took(self) -> str:
        return "" if self.seconds is None else display_time(self.seconds)


@dataclass(frozen=True, slots=True)
class Timeline:
    events: list[Event]
    longest: float
    """The longest duration of an event, in seconds."""
    notes: list[str]
    """How many chunks there are in each state, and what is not shown."""
    chunks_url: str
    edits_url: str


def timeline(job: Job) -> Timeline:
    """Build the timeline with a few queries; at most about 200 events, however long the job is."""
    now = timezone.now()
    query = f"job__id__exact={job.pk}"
    stages = list(job.stages.all())
    chunks, notes = _chunks(job)
    edits = list(job.edits.order_by("-pk")[:MAX_EDITS])
    if len(edits) == MAX_EDITS and (n_edits := job.edits.count()) > MAX_EDITS:
        notes.append(f"The last {MAX_EDITS} of {n_edits:,} edits are shown.")
    events = [
        *_job_events(job, stages),
        *(_work_event(stage, STAGE_NAMES[Stage.Kind(stage.kind)], now) for stage in stages),
        *(_work_event(chunk, _chunk_title(chunk), now) for chunk in chunks),
        *(event for edit in edits for event in _edit_events(edit)),
        *_diarization_events(job),
    ]
    return Timeline(
        events=[_with_offset(event, job) for event in sorted(events, key=_sort_key)],
        longest=max((event.seconds or 0.0 for event in events), default=0.0) or 1.0,
        notes=notes,
        chunks_url=list_url(Chunk, query),
        edits_url=list_url(Edit, query),
    )


@access.as_service()
def masked_timeline(job: Job) -> Timeline:
    """The timeline of somebody else's job: when it did what, without names, texts, messages and errors."""
    now = timezone.now()
    stages = list(job.stages.all())
    chunks, notes = _chunks(job)
    events = [
        *_job_events(job, stages),
        *(_work_event(stage, STAGE_NAMES[Stage.Kind(stage.kind)], now) for stage in stages),
        *(_work_event(chunk, _chunk_title(chunk), now) for chunk in chunks),
        *_diarization_events(job),
    ]
    events = [replace(_with_offset(event, job), details="", url="") for event in events]
    return Timeline(
        events=sorted(events, key=_sort_key),
        longest=max((event.seconds or 0.0 for event in events), default=0.0) or 1.0,
        notes=notes,
        chunks_url="",
        edits_url="",
    )


def _sort_key(event: Event) -> tuple[bool, float]:
    return event.at is None, event.at.timestamp() if event.at else 0.0


def _with_offset(event: Event, job: Job) -> Event:
    if event.at is None:
        return event
    seconds = (event.at - job.created_at).total_seconds()
    return replace(event, since_upload=clock_time(max(seconds, 0.0)))


def _job_events(job: Job, stages: Iterable[Stage]) -> list[Event]:
    """Upload, start and end of the job."""
    name = job.recording.name
    events = [Event(job.created_at, "Uploaded", details=name, url=page_url(job.recording))]
    if job.started_at:
        details = f"run {job.run}: restarted from scratch" if job.run > 1 else ""
        # The preparation is claimed a moment before the job counts as started.
        claimed = [stage.started_at for stage in stages if stage.attempts and stage.started_at]
        events.append(Event(min([job.started_at, *claimed]), "Started", details=details))
    if job.finished_at:
        last = job.finished_at + timedelta(microseconds=1)  # after all events of the same time
        details = "" if job.message == job.get_status_display() else job.message
        events.append(Event(last, job.get_status_display(), state=job.status, details=details))
    return events


def _diarization_events(job: Job) -> list[Event]:
    # Without turns and centroids, which may be megabytes.
    small = Diarization.objects.only("engine", "model", "device", "created_at")
    diarization = small.filter(job=job).first()
    if diarization is None:
        return []
    details = f"{diarization.engine}, {diarization.model}, {diarization.device}"
    url = page_url(diarization)
    return [Event(diarization.created_at, "Speakers found", details=details, url=url)]


def _edit_events(edit: Edit) -> list[Event]:
    kind = edit.get_kind_display().lower()
    made = Event(
        at=edit.created_at,
        title=f"Edit ({kind})",
        url=page_url(edit),
        details=edit.summary,
        by=edit.done_by or "somebody",
    )
    if edit.undone_at is None:
        return [made]
    undone = replace(
        made, at=edit.undone_at, title=f"Edit undone ({kind})", by=edit.undone_by or "somebody"
    )
    return [made, undone]


def _work_event(row: Stage | Chunk, title: str, now: datetime) -> Event:
    """The last attempt of a stage or chunk. Work that was reset by a retry counts as not started."""
    started = row.started_at if row.attempts or row.state != Leased.State.TODO else None
    doing = row.state == Leased.State.DOING
    end = now if doing else row.finished_at
    state: Any = row.state
    if doing and row.lease_until is not None and row.lease_until < now:
        state = "lost"
    return Event(
        at=started,
        title=title,
        state=state,
        url=page_url(row),
        details=row.error,
        by=_short_worker_name(row.worker) if started else "",
        attempts=row.attempts,
        failures=row.failures,
        seconds=max((end - started).total_seconds(), 0.0) if started and end else None,
    )


def _short_worker_name(worker: str) -> str:
    """Machine and process id, from the full name of a claim (see `leases`)."""
    machine, *rest = worker.split("/")
    return "/".join([machine.split(":")[0], *rest[:1]])


def _chunk_title(chunk: Chunk) -> str:
    start, end = (clock_time(seconds) for seconds in (chunk.start, chunk.end))
    return f"Chunk {chunk.index}: {start} – {end}"


def _chunks(job: Job) -> tuple[list[Chunk], list[str]]:
    """The started chunks that are shown (first, last and notable) in order of time; and the notes on all chunks."""
    counts = job.chunks.aggregate(
        n=Count("pk"),
        notable=Count("pk", filter=NOTABLE),
        **{name: Count("pk", filter=query) for name, (_, query) in CHUNK_STATES.items()},
    )
    started = job.chunks.exclude(WAITING).defer("streams", "speech")
    shown = {
        chunk.pk: chunk
        for chunks in (
            started.order_by("index")[:END_CHUNKS],
            started.order_by("-index")[:END_CHUNKS],
            started.filter(NOTABLE).order_by("index")[:MAX_NOTABLE],
        )
        for chunk in chunks
    }
    parts = [
        f"{counts[name]:,} {label}" for name, (label, _) in CHUNK_STATES.items() if counts[name]
    ]
    notes = [f"{counted(counts['n'], 'chunk')}: {', '.join(parts)}."] if counts["n"] else []
    n_hidden = counts["n"] - counts["waiting"] - len(shown)
    if n_hidden:
        first = f"the first {MAX_NOTABLE} of " if counts["notable"] > MAX_NOTABLE else ""
        notes.append(
            f"{n_hidden:,} are not shown: only the first {END_CHUNKS}, the last {END_CHUNKS} and "
            f"{first}those that failed, were retried or are running."
        )
    return sorted(shown.values(), key=lambda chunk: chunk.index), notes
