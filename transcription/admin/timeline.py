"""What happened to a job, in order of time, as its rows tell it: of each piece of work the last attempt."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from transcription.admin.base import counted, list_url, page_url
from transcription.models import Chunk, Diarization, Edit, Job, Leased, Stage
from transcription.transcript.segments import clock_time, display_time

END_CHUNKS = 25
MOST_NOTABLE = 100
MOST_EDITS = 25
NOTABLE = Q(attempts__gt=1) | Q(failures__gt=0) | Q(state__in=("failed", "doing"))
"""Chunks that an operator wants to see wherever they are."""
WAITING = Q(state=Leased.State.TODO, attempts=0)
"""Never begun, or to be begun anew."""
STANDINGS = {
    "done": ("done", Q(state=Leased.State.DONE)),
    "doing": ("doing", Q(state=Leased.State.DOING)),
    "waiting": ("waiting", WAITING),
    "again": ("to be tried again", Q(state=Leased.State.TODO, attempts__gt=0)),
    "failed": ("failed", Q(state=Leased.State.FAILED)),
}
"""How chunks stand, in words."""
NAMES = {Stage.Kind.PREPARE: "Preparation", Stage.Kind.DIARIZE: "Finding out who speaks"}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that began or happened at a time, or has not begun yet (None)."""

    at: datetime | None
    what: str
    state: str = ""
    url: str = ""
    said: str = ""
    """A message, an error, what was edited."""
    by: str = ""
    """A worker or a person."""
    attempts: int = 0
    failures: int = 0
    seconds: float | None = None
    """How long it took, or has taken so far."""
    since_upload: str = ""

    @property
    def took(self) -> str:
        return "" if self.seconds is None else display_time(self.seconds)


@dataclass(frozen=True, slots=True)
class Timeline:
    events: list[Event]
    longest: float
    """Seconds of the piece of work that took longest."""
    notes: list[str]
    """How much there is, and what is left out."""
    chunks_url: str
    edits_url: str


def timeline(job: Job) -> Timeline:
    """A few queries and at most some two hundred events, however long the job is."""
    now = timezone.now()
    of_job = f"job__id__exact={job.pk}"
    stages = list(job.stages.all())
    chunks, notes = _chunks(job)
    edits = list(job.edits.order_by("-pk")[:MOST_EDITS])
    if len(edits) == MOST_EDITS and (n_edits := job.edits.count()) > MOST_EDITS:
        notes.append(f"Of {n_edits:,} edits the last {MOST_EDITS} are shown.")
    events = [
        *_of_the_job(job, stages),
        *(_work(stage, NAMES[Stage.Kind(stage.kind)], now) for stage in stages),
        *(_work(chunk, _name_of_chunk(chunk), now) for chunk in chunks),
        *(event for edit in edits for event in _of_edit(edit)),
        *_of_diarization(job),
    ]
    return Timeline(
        events=[_placed(event, job) for event in sorted(events, key=_order)],
        longest=max((event.seconds or 0.0 for event in events), default=0.0) or 1.0,
        notes=notes,
        chunks_url=list_url(Chunk, of_job),
        edits_url=list_url(Edit, of_job),
    )


def _order(event: Event) -> tuple[bool, float]:
    return event.at is None, event.at.timestamp() if event.at else 0.0


def _placed(event: Event, job: Job) -> Event:
    if event.at is None:
        return event
    seconds = (event.at - job.created_at).total_seconds()
    return replace(event, since_upload=clock_time(max(seconds, 0.0)))


def _of_the_job(job: Job, stages: Iterable[Stage]) -> list[Event]:
    """The end comes last of what has the same time."""
    name = job.recording.name
    events = [Event(job.created_at, "Uploaded", said=name, url=page_url(job.recording))]
    if job.started_at:
        again = f"run {job.run}: all was begun again" if job.run > 1 else ""
        # Its preparation was taken a moment before.
        taken = [stage.started_at for stage in stages if stage.attempts and stage.started_at]
        events.append(Event(min([job.started_at, *taken]), "Begun", said=again))
    if job.finished_at:
        after_all = job.finished_at + timedelta(microseconds=1)
        said = "" if job.message == job.get_status_display() else job.message
        events.append(Event(after_all, job.get_status_display(), state=job.status, said=said))
    return events


def _of_diarization(job: Job) -> list[Event]:
    """Only what is small of it: turns and voices may be megabytes."""
    found = (
        Diarization.objects.filter(job=job).only("engine", "model", "device", "created_at").first()
    )
    if found is None:
        return []
    said = f"{found.engine}, {found.model}, {found.device}"
    return [Event(found.created_at, "Speakers found", said=said, url=page_url(found))]


def _of_edit(edit: Edit) -> list[Event]:
    url, kind = page_url(edit), edit.get_kind_display().lower()
    made = Event(
        edit.created_at, f"Edit ({kind})", url=url, said=edit.summary, by=edit.done_by or "somebody"
    )
    if edit.undone_at is None:
        return [made]
    undone = replace(
        made, at=edit.undone_at, what=f"Edit undone ({kind})", by=edit.undone_by or "somebody"
    )
    return [made, undone]


def _work(row: Stage | Chunk, what: str, now: datetime) -> Event:
    """Work that has not begun, or is to begin anew, has no time: what the row still says of it is over."""
    begun = row.started_at if row.attempts or row.state != Leased.State.TODO else None
    doing = row.state == Leased.State.DOING
    end = now if doing else row.finished_at
    state: Any = row.state
    if doing and row.lease_until is not None and row.lease_until < now:
        state = "lost"
    return Event(
        at=begun,
        what=what,
        state=state,
        url=page_url(row),
        said=row.error,
        by=_worker(row.worker) if begun else "",
        attempts=row.attempts,
        failures=row.failures,
        seconds=max((end - begun).total_seconds(), 0.0) if begun and end else None,
    )


def _worker(worker: str) -> str:
    """Machine and process, of all that a claim is named by (see `leases`)."""
    machine, *rest = worker.split("/")
    return "/".join([machine.split(":")[0], *rest[:1]])


def _name_of_chunk(chunk: Chunk) -> str:
    start, end = (clock_time(seconds) for seconds in (chunk.start, chunk.end))
    return f"Chunk {chunk.index}: {start} – {end}"


def _chunks(job: Job) -> tuple[list[Chunk], list[str]]:
    """The first, the last and the notable that were begun, in their order; and how many there are."""
    counts = job.chunks.aggregate(
        n=Count("pk"),
        notable=Count("pk", filter=NOTABLE),
        **{name: Count("pk", filter=which) for name, (_, which) in STANDINGS.items()},
    )
    begun = job.chunks.exclude(WAITING).defer("streams", "speech")
    found = {
        chunk.pk: chunk
        for chunks in (
            begun.order_by("index")[:END_CHUNKS],
            begun.order_by("-index")[:END_CHUNKS],
            begun.filter(NOTABLE).order_by("index")[:MOST_NOTABLE],
        )
        for chunk in chunks
    }
    parts = [f"{counts[name]:,} {words}" for name, (words, _) in STANDINGS.items() if counts[name]]
    notes = [f"{counted(counts['n'], 'chunk')}: {', '.join(parts)}."] if counts["n"] else []
    left_out = counts["n"] - counts["waiting"] - len(found)
    if left_out:
        most = f"the first {MOST_NOTABLE} of " if counts["notable"] > MOST_NOTABLE else ""
        notes.append(
            f"{left_out:,} are left out: shown are the first {END_CHUNKS}, the last {END_CHUNKS} and "
            f"{most}those that failed, were tried more than once or are being done."
        )
    return sorted(found.values(), key=lambda chunk: chunk.index), notes
