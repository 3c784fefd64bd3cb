"""Changes of a transcript's segments: applies and reverts them, and wakes the job's listeners.

Edits, accepted retranslations and the attribution of speakers are lists of `Change`, written by `apply` and `revert`.
Both must run in a transaction that has locked the job's row, as must everything that writes segments (see `locks`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from transcription.models import Diarization, Edit, Job, Segment, SegmentEdit
from transcription.speech.diarization.attribution import attribute, parts
from transcription.speech.engines.base import Span
from transcription.wake import wake_listeners

Fields = dict[str, Any]
"""Fields of a segment's row, without its id and its job."""

CHANGED_SINCE = "This part of the transcript was changed since: undo that first."
NEIGHBOURS_MERGED = (
    "The segments before and after it were merged since: "
    "undo that, or split the merged segment there, first."
)
BATCH_SIZE = 500
DECODER_FIELDS = ("avg_logprob", "no_speech_prob", "compression_ratio", "temperature")
FIELDS = (
    "chunk_id",
    "start",
    "end",
    "text",
    "words",
    "speaker",
    "speaker_confidence",
    "phrase",
    *DECODER_FIELDS,
)
"""All of a segment's fields."""
SPEAKER_FIELDS = ("speaker", "speaker_confidence")
CONTENT_FIELDS = ("start", "end", "text", "words")
"""A segment's text and times. They depend on each other, so a conflict in one of them is a conflict in all."""


class ConflictError(Exception):
    """The change conflicts with the present rows; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One segment's fields before and after: all of them if it is added or deleted, else those that change."""

    segment_pk: int | None
    """None before a segment is added."""
    before: Fields | None
    """None if the segment is added."""
    after: Fields | None
    """None if the segment is deleted."""

    def changed(self) -> Fields:
        """The fields of `after` that differ from `before`."""
        assert self.before is not None
        assert self.after is not None
        before = self.before
        return {name: value for name, value in self.after.items() if before[name] != value}

    def inverse(self) -> "Change":
        return Change(self.segment_pk, self.after, self.before)


def fields_of(segment: Segment) -> Fields:
    """The values of FIELDS in the segment's row."""
    return {name: getattr(segment, name) for name in FIELDS}


def apply(job: Job, changes: Iterable[Change]) -> list[Change]:
    """Write the changes, increment the job's revision, and wake its listeners.

    Returns the changes with the ids of the added segments. The job's row must be locked.
    """
    written = _write(job, list(changes))
    deleted = {change.segment_pk for change in written if change.after is None}
    added = {change.segment_pk for change in written if change.before is None}
    removed = [pk for pk in job.removed_segments if pk not in added]
    removed += sorted(pk for pk in deleted if pk is not None and pk not in removed)
    Job.objects.filter(pk=job.pk).update(
        revision=F("revision") + 1, removed_segments=removed, updated_at=Now()
    )
    job.refresh_from_db(fields=["revision", "removed_segments"])
    wake_listeners(job.pk)
    return written


def revert(job: Job, changes: Iterable[Change], *, since: int) -> list[Change]:
    """Apply the inverse of changes that made the job's revision `since`. Returns the changes that were written.

    Later changes of other fields stay. Raises ConflictError if the same fields were changed since.
    """
    changes = list(changes)
    _check_unchanged(job, changes)
    inverse = [change.inverse() for change in changes]
    return apply(job, _with_present_speakers(job, inverse, since=since))


def _write(job: Job, changes: Sequence[Change]) -> list[Change]:
    added = [change for change in changes if change.before is None]
    segments = [Segment(pk=one.segment_pk, job=job, **(one.after or {})) for one in added]
    Segment.objects.bulk_create(segments, batch_size=BATCH_SIZE)
    new_pks = iter([segment.pk for segment in segments])
    _update([one for one in changes if one.before is not None and one.after is not None])
    for batch in batches([change.segment_pk for change in changes if change.after is None]):
        Segment.objects.filter(pk__in=batch).delete()
    return [
        Change(next(new_pks) if one.before is None else one.segment_pk, one.before, one.after)
        for one in changes
    ]


def _update(changes: Iterable[Change]) -> None:
    """Update segments in bulk: with UPDATE if all get the same values (a renamed speaker), else with upserts."""
    by_names: dict[frozenset[str], dict[int, Fields]] = {}
    for change in changes:
        if change.segment_pk is not None and (fields := change.changed()):
            by_names.setdefault(frozenset(fields), {})[change.segment_pk] = fields
    for names, fields_by_pk in by_names.items():
        first = next(iter(fields_by_pk.values()))
        if all(fields == first for fields in fields_by_pk.values()):
            for batch in batches(fields_by_pk):
                Segment.objects.filter(pk__in=batch).update(**first)
        else:
            _upsert(sorted(names), fields_by_pk)


def _upsert(names: Sequence[str], fields_by_pk: dict[int, Fields]) -> None:
    """Update existing rows by upserts, which take a third of the time of bulk_update."""
    for batch in batches(fields_by_pk):
        segments = list(Segment.objects.filter(pk__in=batch))
        for segment in segments:
            for name, value in fields_by_pk[segment.pk].items():
                setattr(segment, name, value)
        Segment.objects.bulk_create(
            segments, update_conflicts=True, unique_fields=["id"], update_fields=names
        )


def _check_unchanged(job: Job, changes: Sequence[Change]) -> None:
    """Raises ConflictError if the fields that `changes` wrote were changed since; other fields may differ."""
    pks = [change.segment_pk for change in changes]
    rows: dict[int, Segment] = {}
    for batch in batches(pks):
        rows |= {segment.pk: segment for segment in job.segments.filter(pk__in=batch)}
    chunk_ids = set(job.chunks.values_list("pk", flat=True))
    for change in changes:
        if not _is_unchanged(change, rows.get(change.segment_pk or 0), chunk_ids):
            raise ConflictError(CHANGED_SINCE)
    # Parts that were detached into a phrase of their own may have been split since, so the phrase cannot be restored.
    detached = {
        one.after["phrase"] for one in changes if one.after and set(one.after) == {"phrase"}
    }
    if job.segments.filter(phrase__in=detached).exclude(pk__in=rows).exists():
        raise ConflictError(CHANGED_SINCE)


def _is_unchanged(change: Change, segment: Segment | None, chunk_ids: set[int]) -> bool:
    """Whether the segment's row, None if it is deleted, still has the values that the change wrote."""
    before, after = change.before, change.after
    if after is None:
        return segment is None and before is not None and before["chunk_id"] in chunk_ids
    if before is None:  # a revert would delete the segment, and later changes of it
        names = {*CONTENT_FIELDS, "speaker", "phrase"}
    else:
        names = set(change.changed())
        if not names.isdisjoint(CONTENT_FIELDS):
            names.update(name for name in CONTENT_FIELDS if name in after)
    return segment is not None and all(getattr(segment, name) == after[name] for name in names)


def _with_present_speakers(job: Job, changes: Sequence[Change], *, since: int) -> list[Change]:
    """Inverse changes whose speakers have their present names, or come from a diarization after revision `since`.

    Raises ConflictError if the segments around a restored one were merged.
    """
    diarizations = Diarization.objects.exclude(engine=Diarization.CHANNELS)
    diarization = diarizations.filter(job=job, revision__gte=since).first()
    turns = diarization.named_turns() if diarization else []
    renames = list(_renames(job, since))
    changed = [change.segment_pk for change in changes if change.segment_pk is not None]

    def with_present_speaker(change: Change) -> Change:
        before, after = change.before, change.after
        if not after or "speaker" not in after:
            return change
        if before is None:
            channel = job.chunks.values_list("channel", flat=True).get(pk=after["chunk_id"])
            merged = job.segments.filter(
                start__lt=after["start"], end__gt=after["end"], chunk__channel=channel
            )
            if diarization is None:
                merged = merged.filter(pk__in=_merged_pks(job, since))
            if merged.exclude(pk__in=changed).exists():
                raise ConflictError(NEIGHBOURS_MERGED)
            if diarization:
                [part] = parts(attribute([Span(after["start"], after["end"])], turns))
                attributed = {"speaker": part.speaker, "speaker_confidence": part.confidence}
                return Change(change.segment_pk, None, {**after, **attributed})
        speaker = after["speaker"]
        if before is None or before["speaker"] != speaker:
            for name, new_name in renames:
                speaker = new_name if speaker == name else speaker
        return Change(change.segment_pk, before, {**after, "speaker": speaker})

    return [with_present_speaker(change) for change in changes]


def _merged_pks(job: Job, since: int) -> "QuerySet[SegmentEdit, int]":
    """The ids of segments that were merged since and whose merge was not undone."""
    return SegmentEdit.objects.filter(
        edit__job=job,
        edit__kind=Edit.Kind.MERGE,
        edit__undone_at=None,
        edit__revision__gt=since,
    ).values_list("segment_pk", flat=True)


def _renames(job: Job, since: int) -> Iterator[tuple[str, str]]:
    """Yield the old and new name of each speaker that was renamed since, oldest first."""
    edits = job.edits.filter(kind=Edit.Kind.RENAME, undone_at=None, revision__gt=since)
    for edit in edits.order_by("pk"):
        first = edit.changes.first()
        if first is not None and first.before and first.after:
            yield first.before["speaker"], first.after["speaker"]
        elif edit.names_before and edit.names_after:  # the speaker had no segments
            yield next(iter(edit.names_before.values())), next(iter(edit.names_after.values()))


def batches(pks: Iterable[int | None]) -> Iterator[list[int]]:
    """Split the ids that are not None into batches of BATCH_SIZE, for one statement each."""
    existing = [pk for pk in pks if pk is not None]
    return (existing[first : first + BATCH_SIZE] for first in range(0, len(existing), BATCH_SIZE))
