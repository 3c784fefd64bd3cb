"""Changes of segments that people decide on: written, taken back, told to those who listen.

All of it inside a transaction that holds the job's row, as does all else that changes segments: of two who decide at
once one is first.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from transcription.leasing import wakeups
from transcription.models import Diarization, Edit, Job, Segment, SegmentEdit
from transcription.speech.diarization.attribution import attribute, parts
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

Fields = dict[str, Any]
"""Fields of a segment's row, without its id and its job."""

CHANGED_SINCE = "This part of the transcript was changed since: undo that first."
RUN_ACROSS = (
    "What was said before and after it is one segment by now: undo that, or split it there, first."
)
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
            raise ConflictError(CHANGED_SINCE)
    # Parts that were set apart may have been split further: they would not become one phrase again.
    apart = {one.after["phrase"] for one in changes if one.after and set(one.after) == {"phrase"}}
    if job.segments.filter(phrase__in=apart).exclude(pk__in=rows).exists():
        raise ConflictError(CHANGED_SINCE)


def _is_as_left(change: Change, segment: Segment | None, chunk_ids: set[int]) -> bool:
    before, after = change.before, change.after
    if after is None:
        return segment is None and before is not None and before["chunk_id"] in chunk_ids
    if before is None:  # it would go, with whatever anybody did to it
        names = {*SAID_FIELDS, "speaker", "phrase"}
    else:
        names = set(change.changed())
        if not names.isdisjoint(SAID_FIELDS):
            names.update(name for name in SAID_FIELDS if name in after)
    return segment is not None and all(getattr(segment, name) == after[name] for name in names)


def bring_back(job: Job, changes: Sequence[Change], *, since: datetime) -> list[Change]:
    """What takes other changes back, as it is to be written now. `since` is when those were made.

    The former speakers of segments may have been renamed, or found anew, since. Raises ConflictError where the
    segments around one that comes back have become one.
    """
    diarization = Diarization.objects.filter(job=job, created_at__gt=since).first()
    turns = [Turn(*turn) for turn in diarization.named_turns()] if diarization else []
    renamed = list(_renamed(job, since))
    changed = [change.segment_pk for change in changes if change.segment_pk is not None]

    def as_now(change: Change) -> Change:
        before, after = change.before, change.after
        if not after or "speaker" not in after:
            return change
        if before is None:
            become_one = job.segments.filter(start__lt=after["start"], end__gt=after["end"])
            if diarization is None:
                become_one = become_one.filter(pk__in=_merged(job, since))
            if become_one.exclude(pk__in=changed).exists():
                raise ConflictError(RUN_ACROSS)
            if diarization:
                [part] = parts(attribute([Span(after["start"], after["end"])], turns))
                who = {"speaker": part.speaker, "speaker_confidence": part.confidence}
                return Change(change.segment_pk, None, {**after, **who})
        speaker = after["speaker"]
        if before is None or before["speaker"] != speaker:
            for name, new_name in renamed:
                speaker = new_name if speaker == name else speaker
        return Change(change.segment_pk, before, {**after, "speaker": speaker})

    return [as_now(change) for change in changes]


def _merged(job: Job, since: datetime) -> "QuerySet[SegmentEdit, int]":
    """The ids of segments that were merged and are not apart again."""
    return SegmentEdit.objects.filter(
        edit__job=job,
        edit__kind=Edit.Kind.MERGE,
        edit__undone_at=None,
        edit__created_at__gt=since,
    ).values_list("segment_pk", flat=True)


def _renamed(job: Job, since: datetime) -> Iterator[tuple[str, str]]:
    """Former and new names, in the order in which they were given."""
    edits = job.edits.filter(kind=Edit.Kind.RENAME, undone_at=None, created_at__gt=since)
    for edit in edits.order_by("pk"):
        first = edit.changes.first()
        if first is not None and first.before and first.after:
            yield first.before["speaker"], first.after["speaker"]
        elif edit.names_before and edit.names_after:  # all that they had said was gone
            yield next(iter(edit.names_before.values())), next(iter(edit.names_after.values()))


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
