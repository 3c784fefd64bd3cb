"""Edits of a transcript: text, speakers, splitting, merging and removing segments; each can be undone.

Locking is optimistic: the client sends what it saw (`was`). If the segment was changed meanwhile, nothing is written
and ConflictError is raised. Each edit plans a list of `Change`, which `_save` applies and records.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.text import Truncator

from transcription.editing import changes, split_merge
from transcription.editing.changes import (
    CONTENT_FIELDS,
    SPEAKER_FIELDS,
    Change,
    ConflictError,
    fields_of,
)
from transcription.locks import lock_job
from transcription.models import Diarization, Edit, Job, Segment, SegmentEdit, speaker_of_channel
from transcription.transcript.word_alignment import shown_words

Kind = Edit.Kind
Seen = dict[str, Any]
"""A segment's text, speaker or both, as the client saw them."""

MAX_TEXT_LENGTH = 5000
"""Characters of a segment's text: five minutes of fast speech."""
JOB_IS_ACTIVE = (
    "The job is not finished, so only the text of segments can be edited. "
    "Change speakers, or split, merge or remove segments, after it has ended."
)
CHANGED_MEANWHILE = (
    "This segment was changed meanwhile. Your change was not saved: reload the segment."
)


class UnknownSpeakerError(Exception):
    """No speaker has the name; the message says who there are."""


@dataclass(frozen=True, slots=True)
class Edited:
    """An edit's outcome: the changed segments as they are now, and the ids of the deleted ones."""

    edit: Edit | None
    """None if there was nothing to change."""
    revision: int
    segments: list[Segment] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


# ---- One segment


def change(*, segment_id: int, values: dict[str, Any], was: Seen, done_by: str) -> Edited:
    """Change a segment's text, its speaker (None: nobody), or both.

    Raises Segment.DoesNotExist, ConflictError.
    """
    with transaction.atomic():
        job, segment = _lock_segment(segment_id, was)
        new: dict[str, Any] = {}
        if values.get("text", segment.text) != segment.text:
            new["text"] = values["text"]
        if values.get("speaker", segment.speaker) != segment.speaker:
            _require_ended(job)
            new |= {"speaker": values["speaker"], "speaker_confidence": None}
        if not new:
            return Edited(None, job.revision, [segment])
        names = [
            *(CONTENT_FIELDS if "text" in new else ()),
            *(SPEAKER_FIELDS if "speaker" in new else ()),
        ]
        before = {name: getattr(segment, name) for name in names}
        kind = Kind.TEXT if "text" in new else Kind.SPEAKER
        summary = f"“{_shorten(segment.text)}”"
        if "text" in new:
            summary = f"{summary} → “{_shorten(new['text'])}”"
        if "speaker" in new:
            summary = f"{new['speaker'] or 'no speaker'}: {summary}"
        return _save(job, kind, summary, [Change(segment.pk, before, {**before, **new})], done_by)


def remove(*, segment_id: int, was: Seen, done_by: str) -> Edited:
    """Delete a segment from the transcript. Raises Segment.DoesNotExist, ConflictError."""
    with transaction.atomic():
        job, segment = _lock_segment(segment_id, was)
        _require_ended(job)
        summary = f"“{_shorten(segment.text)}”"
        planned = [
            Change(segment.pk, fields_of(segment), None),
            *_detach_later_parts(job, segment),
        ]
        return _save(job, Kind.REMOVE, summary, planned, done_by)


def split(*, segment_id: int, position: int, was: Seen, done_by: str) -> Edited:
    """Split a segment between two words, as near to `position`, an index into its text, as possible.

    Raises Segment.DoesNotExist, ConflictError.
    """
    with transaction.atomic():
        job, segment = _lock_segment(segment_id, was)
        _require_ended(job)
        words = shown_words(segment)
        cut = split_merge.nearest_cut(words, position)
        if cut is None:
            raise ConflictError(
                "A segment of one word cannot be split. Edit its text, or reload it if it was longer."
            )
        of_channel = job.segments.filter(chunk__channel=segment.chunk.channel)
        following = _segments_after(of_channel, segment).first()
        left, right = split_merge.split_fields(
            segment, words, cut, next_start=following.start if following else None
        )
        planned = [
            Change(segment.pk, fields_of(segment), left),
            Change(None, None, right),
            *_detach_later_parts(job, segment),
        ]
        summary = f"“{_shorten(left['text'])}” | “{_shorten(right['text'])}”"
        return _save(job, Kind.SPLIT, summary, planned, done_by)


def merge(*, segment_id: int, next_id: int, was: Seen, next_was: Seen, done_by: str) -> Edited:
    """Merge a segment with the next one; it takes that one's speaker if it has none.

    Raises Segment.DoesNotExist, ConflictError.
    """
    with transaction.atomic():
        job, segment = _lock_segment(segment_id, was)
        _require_ended(job)
        following = _segments_after(job.segments.all(), segment).first()
        if following is None:
            raise ConflictError(
                "This is the last segment: there is none after it to merge with. "
                "Merge the segment before it instead."
            )
        if following.pk != next_id:
            raise ConflictError(CHANGED_MEANWHILE)
        _check_seen(following, next_was)
        merged = split_merge.merged_fields(segment, following)
        if len(merged["text"]) > MAX_TEXT_LENGTH:
            raise ConflictError(
                f"The merged segment would be longer than {MAX_TEXT_LENGTH:,} characters. "
                "Split one of the two, or shorten its text, first."
            )
        planned = [
            Change(segment.pk, fields_of(segment), merged),
            Change(following.pk, fields_of(following), None),
        ]
        if following.phrase != segment.phrase:
            planned += _detach_later_parts(job, following)
        summary = f"“{_shorten(segment.text)}” + “{_shorten(following.text)}”"
        return _save(job, Kind.MERGE, summary, planned, done_by)


# ---- Speakers


def rename(*, job_id: UUID, name: str, new_name: str, done_by: str) -> Edited:
    """Rename a speaker in all segments; if another speaker has the new name, the two are merged.

    Raises Job.DoesNotExist, ConflictError, UnknownSpeakerError.
    """
    with transaction.atomic():
        job = lock_job(job_id)
        _require_ended(job)
        if name == new_name:
            return Edited(None, job.revision)
        pks = list(job.segments.filter(speaker=name).values_list("pk", flat=True))
        before, after = _speaker_names(job, name, new_name)
        if not pks and not after:
            speakers = job.segments.order_by("speaker").exclude(speaker=None)
            names = ", ".join(map(str, speakers.values_list("speaker", flat=True).distinct()))
            raise UnknownSpeakerError(
                f"No speaker is called {name}. " + (f"Speakers: {names}." if names else "")
            )
        planned = [Change(pk, {"speaker": name}, {"speaker": new_name}) for pk in pks]
        _rename_speakers(job, before, after)
        summary = f"{name} → {new_name}"
        return _save(job, Kind.RENAME, summary, planned, done_by, names=(before, after))


def _speaker_names(job: Job, name: str, new_name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The old and new names of the diarization's speakers that are called `name`, by their labels."""
    diarization = Diarization.objects.filter(job=job).only("exclusive", "names").first()
    if diarization is None:
        return {}, {}
    labels = {turn[2] for turn in diarization.exclusive} | _channel_speakers(job)
    renamed = sorted(label for label in labels if diarization.names.get(label, label) == name)
    return dict.fromkeys(renamed, name), dict.fromkeys(renamed, new_name)


def _channel_speakers(job: Job) -> set[str]:
    """The labels of the speakers whose channels have chunks; none if the channels are mixed."""
    channels = job.chunks.order_by().values_list("channel", flat=True).distinct()
    return {speaker_of_channel(channel) for channel in channels if channel is not None}


def _rename_speakers(job: Job, before: dict[str, str], after: dict[str, str]) -> None:
    """Save the names of the diarization's speakers, which words attributed later get too. Raises ConflictError."""
    if not after:
        return
    diarization = Diarization.objects.filter(job=job).only("names").first()
    if diarization is None:
        raise ConflictError("Diarization was run again since: the names cannot be restored.")
    names = diarization.names
    if any(names.get(label, label) != name for label, name in before.items()):
        raise ConflictError(
            "The speakers were renamed, or diarization was run again, since: undo that first."
        )
    named = {label: name for label, name in {**names, **after}.items() if name != label}
    Diarization.objects.filter(pk=diarization.pk).update(names=named)


# ---- Undo


def undo(*, job_id: UUID, edit_id: int, done_by: str) -> Edited:
    """Undo an edit. Raises Job.DoesNotExist, Edit.DoesNotExist, ConflictError."""
    with transaction.atomic():
        job = lock_job(job_id)
        edit = job.edits.get(pk=edit_id)
        if edit.undone_at is not None:
            raise ConflictError("This edit was undone already.")
        done = [Change(row.segment_pk, row.before, row.after) for row in edit.changes.all()]
        content_alone = all(set(one.after or ()) == set(CONTENT_FIELDS) for one in done)
        if edit.kind != Kind.TEXT or not content_alone:
            _require_ended(job)
        edit.undone_at, edit.undone_by = timezone.now(), done_by[:150]
        edit.save(update_fields=["undone_at", "undone_by"])
        written = changes.revert(job, done, since=edit.revision)
        if edit.names_after:
            _rename_speakers(job, edit.names_after, edit.names_before or {})
        return _edited(job, edit, written)


def history(*, job: Job, segment_id: int | None = None) -> "QuerySet[Edit]":
    """A job's edits, or those of one of its segments, newest first."""
    edits = job.edits.order_by("-pk")
    if segment_id is not None:
        edits = edits.filter(
            pk__in=SegmentEdit.objects.filter(edit__job=job, segment_pk=segment_id).values("edit")
        )
    return edits


# ---- Shared steps


def _lock_segment(segment_id: int, was: Seen) -> tuple[Job, Segment]:
    """Lock a segment's job, and check that the segment is as the client saw it. Returns the job and the segment."""
    job_id = Segment.objects.values_list("job_id", flat=True).get(pk=segment_id)
    try:
        job = lock_job(job_id)
    except Job.DoesNotExist:
        raise Segment.DoesNotExist from None
    segment = job.segments.get(pk=segment_id)
    _check_seen(segment, was)
    return job, segment


def _check_seen(segment: Segment, was: Seen) -> None:
    if any(getattr(segment, name) != value for name, value in was.items()):
        raise ConflictError(CHANGED_MEANWHILE)


def _require_ended(job: Job) -> None:
    if job.status in Job.ACTIVE:
        raise ConflictError(JOB_IS_ACTIVE)


def _save(
    job: Job,
    kind: Edit.Kind,
    summary: str,
    planned: Sequence[Change],
    done_by: str,
    *,
    names: tuple[dict[str, str], dict[str, str]] | None = None,
) -> Edited:
    """Apply an edit's changes, and record both, so that the edit can be undone."""
    names_before, names_after = names or (None, None)
    written = changes.apply(job, planned)
    edit = Edit.objects.create(
        job=job,
        kind=kind,
        summary=summary[:255],
        done_by=done_by[:150],
        names_before=names_before,
        names_after=names_after,
        revision=job.revision,
    )
    rows = [
        SegmentEdit(edit=edit, segment_pk=one.segment_pk, before=one.before, after=one.after)
        for one in written
        if one.segment_pk is not None
    ]
    SegmentEdit.objects.bulk_create(rows, batch_size=changes.BATCH_SIZE)
    return _edited(job, edit, written)


def _edited(job: Job, edit: Edit, written: Sequence[Change]) -> Edited:
    # The response to a rename has no words: for thousands of segments they are megabytes.
    rows = job.segments.defer("words") if edit.kind == Kind.RENAME else job.segments.all()
    segments: list[Segment] = []
    for pks in changes.batches(one.segment_pk for one in written if one.after is not None):
        segments += rows.filter(pk__in=pks)
    segments.sort(key=lambda segment: (segment.start, segment.pk))
    removed = [one.segment_pk for one in written if one.after is None and one.segment_pk]
    return Edited(edit, job.revision, segments, removed)


def _shorten(text: str) -> str:
    return Truncator(text).chars(60)


def _segments_after(segments: "QuerySet[Segment]", segment: Segment) -> "QuerySet[Segment]":
    later = Q(start__gt=segment.start) | Q(start=segment.start, pk__gt=segment.pk)
    return segments.filter(later).order_by("start", "pk")


def _detach_later_parts(job: Job, segment: Segment) -> list[Change]:
    """Move the later parts of the segment's phrase to a phrase of their own.

    A later diarization may merge all parts of a phrase, and must not merge across the edited segment.
    """
    if segment.phrase is None:
        return []
    later = list(_segments_after(job.segments.filter(phrase=segment.phrase), segment))
    return [Change(part.pk, {"phrase": part.phrase}, {"phrase": later[0].pk}) for part in later]
