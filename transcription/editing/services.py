"""What people put right in a transcript by hand: text, speakers, where segments begin and end; each edit can be undone.

Who edits says what they saw (`was`). Where a segment says something else by now, somebody else was first: nothing is
written, and ConflictError says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.text import Truncator

from transcription.editing import changes as revising
from transcription.editing import split_merge
from transcription.editing.changes import (
    SAID_FIELDS,
    SPEAKER_FIELDS,
    Change,
    ConflictError,
    fields_of,
)
from transcription.models import Diarization, Edit, Job, Segment, SegmentEdit
from transcription.transcript.word_alignment import shown_words

Kind = Edit.Kind
Seen = dict[str, Any]
"""The fields of a segment that somebody saw, some of text and speaker."""

MOST_LETTERS = 5000
"""Of a segment's text: five minutes of fast speech."""
UNDER_WAY = (
    "The job is under way. Texts can be edited at any time; speakers, and where segments begin and end, "
    "when it has ended."
)
MEANWHILE = "This segment was changed meanwhile: look at it again. Nothing of yours was saved."


class NotPossibleError(Exception):
    """What is asked for makes no sense, whatever else happens; says why."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit did: the segments as they are now, and the ids of those that are gone."""

    edit: Edit | None
    """None where there was nothing to change."""
    revision: int
    segments: list[Segment] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


# ---- One segment


def change(*, segment_id: int, values: dict[str, Any], was: Seen, done_by: str) -> Edited:
    """Give a segment another text, another speaker (None: nobody), or both.

    Raises Segment.DoesNotExist, ConflictError.
    """
    with transaction.atomic():
        job, segment = _held(segment_id, was)
        new: dict[str, Any] = {}
        if values.get("text", segment.text) != segment.text:
            new["text"] = values["text"]
        if values.get("speaker", segment.speaker) != segment.speaker:
            _require_ended(job)
            new |= {"speaker": values["speaker"], "speaker_confidence": None}
        if not new:
            return Edited(None, job.revision, [segment])
        names = [
            *(SAID_FIELDS if "text" in new else ()),
            *(SPEAKER_FIELDS if "speaker" in new else ()),
        ]
        before = {name: getattr(segment, name) for name in names}
        kind = Kind.TEXT if "text" in new else Kind.SPEAKER
        summary = f"“{_short(segment.text)}”"
        if "text" in new:
            summary = f"{summary} → “{_short(new['text'])}”"
        if "speaker" in new:
            summary = f"{new['speaker'] or 'no speaker'}: {summary}"
        return _commit(job, kind, summary, [Change(segment.pk, before, {**before, **new})], done_by)


def remove(*, segment_id: int, was: Seen, done_by: str) -> Edited:
    """Take a segment out of the transcript. Raises Segment.DoesNotExist, ConflictError."""
    with transaction.atomic():
        job, segment = _held(segment_id, was)
        _require_ended(job)
        summary = f"“{_short(segment.text)}”"
        changes = [
            Change(segment.pk, fields_of(segment), None),
            *_later_parts_apart(job, segment),
        ]
        return _commit(job, Kind.REMOVE, summary, changes, done_by)


def split(*, segment_id: int, position: int, was: Seen, done_by: str) -> Edited:
    """Cut a segment between two words, where it is nearest to `position`, an index into its text.

    Raises Segment.DoesNotExist, ConflictError, NotPossibleError.
    """
    with transaction.atomic():
        job, segment = _held(segment_id, was)
        _require_ended(job)
        words = shown_words(segment)
        cut = split_merge.nearest_cut(words, position)
        if cut is None:
            raise NotPossibleError("A segment of one word cannot be split.")
        following = _after(job.segments.all(), segment).first()
        left, right = split_merge.halves(
            segment, words, cut, next_start=following.start if following else None
        )
        changes = [
            Change(segment.pk, fields_of(segment), left),
            Change(None, None, right),
            *_later_parts_apart(job, segment),
        ]
        summary = f"“{_short(left['text'])}” | “{_short(right['text'])}”"
        return _commit(job, Kind.SPLIT, summary, changes, done_by)


def merge(*, segment_id: int, next_id: int, was: Seen, next_was: Seen, done_by: str) -> Edited:
    """Join a segment with the one that follows it, whose speaker it keeps if it has none itself.

    Raises Segment.DoesNotExist, ConflictError, NotPossibleError.
    """
    with transaction.atomic():
        job, segment = _held(segment_id, was)
        _require_ended(job)
        following = _after(job.segments.all(), segment).first()
        if following is None:
            raise NotPossibleError(
                "This is the last segment: there is none after it to merge with."
            )
        if following.pk != next_id:
            raise ConflictError(MEANWHILE)
        _check_seen(following, next_was)
        joined = split_merge.joined(segment, following)
        if len(joined["text"]) > MOST_LETTERS:
            raise NotPossibleError(f"Together they would be longer than {MOST_LETTERS:,} letters.")
        changes = [
            Change(segment.pk, fields_of(segment), joined),
            Change(following.pk, fields_of(following), None),
        ]
        if following.phrase != segment.phrase:
            changes += _later_parts_apart(job, following)
        summary = f"“{_short(segment.text)}” + “{_short(following.text)}”"
        return _commit(job, Kind.MERGE, summary, changes, done_by)


# ---- All of a speaker's


def rename(*, job_id: UUID, name: str, new_name: str, done_by: str) -> Edited:
    """Call a speaker something else everywhere; if somebody is called so already, the two are one from now on.

    Raises Job.DoesNotExist, ConflictError, NotPossibleError.
    """
    with transaction.atomic():
        job = _held_job(job_id)
        _require_ended(job)
        if name == new_name:
            return Edited(None, job.revision)
        said = list(job.segments.filter(speaker=name).values_list("pk", flat=True))
        before, after = _names(job, name, new_name)
        if not said and not after:
            known = job.segments.order_by("speaker").exclude(speaker=None)
            names = ", ".join(
                str(one) for one in known.values_list("speaker", flat=True).distinct()
            )
            raise NotPossibleError(
                f"Nobody is called {name} here. " + (f"Speakers: {names}." if names else "")
            )
        changes = [Change(pk, {"speaker": name}, {"speaker": new_name}) for pk in said]
        _rename_speakers(job, before, after)
        summary = f"{name} → {new_name}"
        return _commit(job, Kind.RENAME, summary, changes, done_by, names=(before, after))


def _names(job: Job, name: str, new_name: str) -> tuple[dict[str, str], dict[str, str]]:
    """What the speakers that diarization found were called and will be, by their labels: those that change."""
    diarization = Diarization.objects.filter(job=job).only("exclusive", "names").first()
    labels = {turn[2] for turn in diarization.exclusive} if diarization else set()
    known = diarization.names if diarization else {}
    called = sorted(label for label in labels if known.get(label, label) == name)
    return dict.fromkeys(called, name), dict.fromkeys(called, new_name)


def _rename_speakers(job: Job, before: dict[str, str], after: dict[str, str]) -> None:
    """So that words which are heard later are given to the people by their names. Raises ConflictError."""
    if not after:
        return
    diarization = Diarization.objects.filter(job=job).only("names").first()
    if diarization is None:
        raise ConflictError("The speakers were found anew since.")
    names = diarization.names
    if any(names.get(label, label) != name for label, name in before.items()):
        raise ConflictError("The speakers were named, or found, anew since: undo that first.")
    named = {label: name for label, name in {**names, **after}.items() if name != label}
    Diarization.objects.filter(pk=diarization.pk).update(names=named)


# ---- Undo


def undo(*, job_id: UUID, edit_id: int, done_by: str) -> Edited:
    """Take an edit back. Raises Job.DoesNotExist, Edit.DoesNotExist, ConflictError."""
    with transaction.atomic():
        job = _held_job(job_id)
        edit = job.edits.get(pk=edit_id)
        if edit.undone_at is not None:
            raise ConflictError("This edit was undone already.")
        changes = [Change(row.segment_pk, row.before, row.after) for row in edit.changes.all()]
        said_alone = all(set(one.after or ()) == set(SAID_FIELDS) for one in changes)
        if edit.kind != Kind.TEXT or not said_alone:
            _require_ended(job)
        revising.check_unchanged(job, changes)
        if edit.names_after:
            _rename_speakers(job, edit.names_after, edit.names_before or {})
        edit.undone_at, edit.undone_by = timezone.now(), done_by[:150]
        edit.save(update_fields=["undone_at", "undone_by"])
        back = revising.bring_back(
            job, [one.taken_back() for one in changes], since=edit.created_at
        )
        return _outcome(job, edit, revising.write(job, back))


def history(*, job: Job, segment_id: int | None = None) -> "QuerySet[Edit]":
    """A job's edits, or those that concerned one of its segments, the newest first."""
    edits = job.edits.order_by("-pk")
    if segment_id is not None:
        edits = edits.filter(
            pk__in=SegmentEdit.objects.filter(edit__job=job, segment_pk=segment_id).values("edit")
        )
    return edits


# ---- What they have in common


def _held_job(job_id: UUID) -> Job:
    job = revising.hold(job_id)
    if job is None:
        raise Job.DoesNotExist
    return job


def _held(segment_id: int, was: Seen) -> tuple[Job, Segment]:
    """A segment that is as it was seen, and its job, both held until the transaction ends."""
    job_id = Segment.objects.values_list("job_id", flat=True).get(pk=segment_id)
    job = revising.hold(job_id)
    if job is None:
        raise Segment.DoesNotExist
    segment = job.segments.select_for_update().get(pk=segment_id)
    _check_seen(segment, was)
    return job, segment


def _check_seen(segment: Segment, was: Seen) -> None:
    if any(getattr(segment, name) != value for name, value in was.items()):
        raise ConflictError(MEANWHILE)


def _require_ended(job: Job) -> None:
    if job.status in Job.ACTIVE:
        raise ConflictError(UNDER_WAY)


def _commit(
    job: Job,
    kind: Edit.Kind,
    summary: str,
    changes: Sequence[Change],
    done_by: str,
    *,
    names: tuple[dict[str, str], dict[str, str]] | None = None,
) -> Edited:
    before, after = names or (None, None)
    edit = Edit.objects.create(
        job=job,
        kind=kind,
        summary=summary[:255],
        done_by=done_by[:150],
        names_before=before,
        names_after=after,
    )
    written = revising.write(job, changes)
    rows = [
        SegmentEdit(edit=edit, segment_pk=one.segment_pk, before=one.before, after=one.after)
        for one in written
        if one.segment_pk is not None
    ]
    SegmentEdit.objects.bulk_create(rows, batch_size=revising.BATCH)
    return _outcome(job, edit, written)


def _outcome(job: Job, edit: Edit, written: Sequence[Change]) -> Edited:
    revising.revise(job, written)
    kept = [one.segment_pk for one in written if one.after is not None]
    found: list[Segment] = []
    # Of a renaming nobody needs the words, and of thousands of segments they are megabytes.
    segments = job.segments.defer("words") if edit.kind == Kind.RENAME else job.segments.all()
    for pks in revising.batches(kept):
        found += segments.filter(pk__in=pks)
    gone = [one.segment_pk for one in written if one.after is None and one.segment_pk]
    return Edited(edit, job.revision, sorted(found, key=lambda one: (one.start, one.pk)), gone)


def _short(text: str) -> str:
    return Truncator(text).chars(60)


def _after(segments: "QuerySet[Segment]", segment: Segment) -> "QuerySet[Segment]":
    later = Q(start__gt=segment.start) | Q(start=segment.start, pk__gt=segment.pk)
    return segments.filter(later).order_by("start", "pk")


def _later_parts_apart(job: Job, segment: Segment) -> list[Change]:
    """What came after it in its phrase is a phrase of its own: joined again, it would run across what was edited."""
    if segment.phrase is None:
        return []
    later = list(_after(job.segments.filter(phrase=segment.phrase), segment))
    return [Change(part.pk, {"phrase": part.phrase}, {"phrase": later[0].pk}) for part in later]
