"""Changes of segments that people decide on: written, taken back, told to those who listen.

All of it inside a transaction that holds the job's row, as does all else that changes segments: of two who decide at
once one is first.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from transcription import wakeups
from transcription.models import Job, Segment

Fields = dict[str, Any]
"""Fields of a segment's row, without its id and its job."""

BATCH = 500
DECODERS_FIGURES = ("avg_logprob", "no_speech_prob", "compression_ratio", "temperature")
FIELDS = (
    "chunk_id",
    "start",
    "end",
    "text",
    "words",
    "speaker",
    "speaker_confidence",
    "phrase",
    *DECODERS_FIGURES,
)
"""All of a segment's fields."""
SPEAKER_FIELDS = ("speaker", "speaker_confidence")
SAID_FIELDS = ("start", "end", "text", "words")
"""What was said and when: whoever changed one of these has looked at all of them."""


class ConflictError(Exception):
    """It cannot be done as the rows are now; says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one segment: the fields before and after, all of them where there is no segment on one side."""

    segment_pk: int | None
    """None for one that is to be added."""
    before: Fields | None
    after: Fields | None

    def changed(self) -> Fields:
        """The fields of `after` that are not as before."""
        assert self.before is not None
        assert self.after is not None
        before = self.before
        return {name: value for name, value in self.after.items() if before[name] != value}

    def taken_back(self) -> "Change":
        return Change(self.segment_pk, self.after, self.before)


def fields_of(segment: Segment) -> Fields:
    return {name: getattr(segment, name) for name in FIELDS}


def hold(job_id: UUID | None) -> Job | None:
    """The job, held until the transaction ends; None if there is no such job."""
    return Job.objects.select_for_update().filter(pk=job_id).first() if job_id else None


def write(job: Job, changes: Sequence[Change]) -> list[Change]:
    """Bring the rows from before to after. Returns the changes, those that add a segment with its id."""
    same: dict[str, list[int | None]] = {}
    gone: list[int | None] = []
    written: list[Change] = []
    for change in changes:
        pk = change.segment_pk
        if change.after is None:
            gone.append(pk)
        elif change.before is None:
            pk = Segment.objects.create(pk=pk, job=job, **change.after).pk
        elif changed := change.changed():
            same.setdefault(json.dumps(changed, sort_keys=True), []).append(pk)
        written.append(Change(pk, change.before, change.after))
    for values, pks in same.items():
        for batch in batches(pks):
            Segment.objects.filter(pk__in=batch).update(**json.loads(values))
    for batch in batches(gone):
        Segment.objects.filter(pk__in=batch).delete()
    return written


def check_unchanged(job: Job, changes: Iterable[Change]) -> None:
    """That what `changes` did is still there to be taken back: other fields may be different. Raises ConflictError."""
    changes = list(changes)
    pks = [change.segment_pk for change in changes]
    rows: dict[int, Segment] = {}
    for batch in batches(pks):
        found = job.segments.select_for_update().filter(pk__in=batch)
        rows |= {segment.pk: segment for segment in found}
    chunk_ids = set(job.chunks.values_list("pk", flat=True))
    for change in changes:
        if not _is_as_left(change, rows.get(change.segment_pk or 0), chunk_ids):
            raise ConflictError("This part of the transcript was changed since: undo that first.")


def _is_as_left(change: Change, segment: Segment | None, chunk_ids: set[int]) -> bool:
    if change.after is None:
        before = change.before
        return segment is None and before is not None and before["chunk_id"] in chunk_ids
    left = change.after if change.before is None else change.changed()
    if any(name in left for name in SAID_FIELDS):
        left = {
            name: value for name, value in change.after.items() if name in (*left, *SAID_FIELDS)
        }
    return segment is not None and all(
        getattr(segment, name) == value for name, value in left.items()
    )


def revise(job: Job, changes: Iterable[Change]) -> None:
    """Let those who listen, and those who come back, learn what changed."""
    changes = list(changes)
    gone = {change.segment_pk for change in changes if change.after is None}
    back = {change.segment_pk for change in changes if change.before is None}
    removed = [pk for pk in job.removed_segments if pk not in back]
    removed += sorted(pk for pk in gone if pk is not None and pk not in removed)
    Job.objects.filter(pk=job.pk).update(
        revision=F("revision") + 1, removed_segments=removed, updated_at=Now()
    )
    job.refresh_from_db(fields=["revision", "removed_segments"])
    wakeups.wake_listeners(job.pk)


def batches(pks: Iterable[int | None]) -> Iterable[list[int]]:
    """As many ids at a time as a statement takes."""
    known = [pk for pk in pks if pk is not None]
    return (known[first : first + BATCH] for first in range(0, len(known), BATCH))
