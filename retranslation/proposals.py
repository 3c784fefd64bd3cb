"""Proposals of retranslations, and decisions about them: accept, reject, undo.

A proposal stores the segments that it would change as they are. It can be accepted only while they still are so, in one
transaction that has locked the job's row, as does all else that writes segments: of two decisions at once one is first.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce, Now

from retranslation import plan_changes
from retranslation.models import Retranslation, SegmentChange
from transcription.editing import changes
from transcription.editing.changes import CONTENT_FIELDS, Change, ConflictError, Fields
from transcription.locks import lock_job
from transcription.models import Chunk, Diarization, Job, Leased, Segment, Stage
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

Decision = Retranslation.Decision

BEYOND_SECONDS = 0.5
"""So much more than a segment is asked for so that none of its words are missed."""

CHANGED_MEANWHILE = "The transcript was changed here meanwhile: transcribe this part again."
NOT_TRANSCRIBED_YET = "This part of the recording is not transcribed yet."
NO_JOB = "This was a clip without a job_id: there is no transcript to put it into."

MESSAGES = {
    Leased.State.TODO: "Waiting for a worker",
    Leased.State.DOING: "Transcribing",
    Leased.State.DONE: "Completed",
}
API_STATUS = {
    Leased.State.TODO: "processing",
    Leased.State.DOING: "processing",
    Leased.State.DONE: "completed",
    Leased.State.FAILED: "failed",
}


def propose(*, retranslation: Retranslation) -> None:
    """Note what accepting it would change. Best in the transaction that commits its text; again does no harm.

    Where nothing could be changed as the rows are, nothing is noted; who accepts it is told why.
    """
    with transaction.atomic():
        job = lock_job_of(retranslation)
        if job is None:
            return
        try:
            planned = _plan(job, retranslation)
        except ConflictError:
            planned = []
        retranslation.changes.all().delete()
        SegmentChange.objects.bulk_create(_row(retranslation, change) for change in planned)


def accept(*, retranslation_id: UUID, decided_by: str) -> dict[str, Any]:
    """Put it into the transcript, all or nothing. Returns its document.

    Raises ConflictError and Retranslation.DoesNotExist.
    """
    with transaction.atomic():
        retranslation = Retranslation.objects.get(pk=retranslation_id)
        job = lock_job_of(retranslation)
        if job is None:
            raise ConflictError(NO_JOB)
        _decide(retranslation, was=Decision.NONE, now=Decision.ACCEPTED, by=decided_by)
        planned = _plan(job, retranslation)
        proposed = retranslation.changes.all()
        if not _is_as_proposed(planned, proposed):
            raise ConflictError(CHANGED_MEANWHILE)
        proposed.delete()
        written = changes.apply(job, planned)
        SegmentChange.objects.bulk_create(_row(retranslation, change) for change in written)
    return document(retranslation)


def reject(*, retranslation_id: UUID, decided_by: str) -> dict[str, Any]:
    """Drop it: the transcript stays as it is. Raises ConflictError and Retranslation.DoesNotExist."""
    with transaction.atomic():
        retranslation = Retranslation.objects.get(pk=retranslation_id)
        _decide(retranslation, was=Decision.NONE, now=Decision.REJECTED, by=decided_by)
    return document(retranslation)


def undo(*, retranslation_id: UUID, decided_by: str) -> dict[str, Any]:
    """Take a decision back, after which it may be decided again; an accepted one's segments are as they were.

    Raises ConflictError and Retranslation.DoesNotExist.
    """
    with transaction.atomic():
        retranslation = Retranslation.objects.get(pk=retranslation_id)
        job = lock_job_of(retranslation)
        retranslation.refresh_from_db(fields=["decision", "decided_at"])  # as of the lock
        was = Decision(retranslation.decision)
        if was == Decision.NONE:
            raise ConflictError("Nothing was decided about it that could be undone.")
        if was == Decision.ACCEPTED and job is not None:
            _restore(job, retranslation)
        _decide(retranslation, was=was, now=Decision.NONE, by=decided_by)
    return document(retranslation)


def lock_job_of(retranslation: Retranslation) -> Job | None:
    """Lock the job's row. None if the retranslation is of a clip alone; if the job was deleted so was this row."""
    if retranslation.job_id is None:
        return None
    try:
        return lock_job(retranslation.job_id)
    except Job.DoesNotExist:
        raise Retranslation.DoesNotExist from None


def history(*, job: Job, segment_pk: int) -> list[SegmentChange]:
    """What was done to a segment, or proposed, oldest first, each with its retranslation."""
    changes = SegmentChange.objects.filter(retranslation__job=job, segment_pk=segment_pk)
    when = Coalesce("retranslation__decided_at", "retranslation__created_at")
    return list(changes.select_related("retranslation").order_by(when, "pk"))


def document(retranslation: Retranslation) -> dict[str, Any]:
    """A retranslation in the API's shape. Many are to be fetched with prefetch_related("changes")."""
    state = Leased.State(retranslation.state)
    decided_at = retranslation.decided_at
    return {
        "id": str(retranslation.pk),
        "job_id": None if retranslation.job_id is None else str(retranslation.job_id),
        "segment_id": retranslation.segment_id,
        "start_time": retranslation.start,
        "end_time": retranslation.end,
        "status": API_STATUS[state],
        "message": MESSAGES.get(state, retranslation.error),
        "old_text": retranslation.old_text,
        "text": retranslation.text,
        "confidence": retranslation.confidence,
        "speaker": retranslation.speaker,
        "reasons": retranslation.reasons,
        "model_used": retranslation.model_used,
        "decision": retranslation.decision,
        "asked_by": retranslation.asked_by,
        "created_at": retranslation.created_at.timestamp(),
        "decided_by": retranslation.decided_by,
        "decided_at": None if decided_at is None else decided_at.timestamp(),
        "changes": [
            {
                "segment_id": change.segment_pk,
                "old_text": None if change.before is None else change.before["text"],
                "new_text": None if change.after is None else change.after["text"],
            }
            for change in retranslation.changes.all()
        ],
    }


# ---- What would change


def _plan(job: Job, retranslation: Retranslation) -> list[Change]:
    span = Span(retranslation.start, retranslation.end)
    chunks = list(job.chunks.defer("streams", "speech").order_by("index"))
    _check_transcribed(job, chunks, span)
    overlapping = job.segments.filter(start__lt=span.end, end__gt=span.start)
    segments = list(overlapping.order_by("start", "pk"))
    named = [one for one in segments if _is_named(one, retranslation)]
    if named:
        return plan_changes.plan_named(span=span, words=retranslation.words, segment=named[0])
    return plan_changes.plan_range(
        span=span,
        words=retranslation.words,
        segments=segments,
        chunks=chunks,
        turns=_turns(job),
    )


def _is_named(segment: Segment, retranslation: Retranslation) -> bool:
    """Whether this segment alone is meant: a range that goes far beyond it holds words of its neighbours."""
    return (
        str(segment.pk) == retranslation.segment_id
        and segment.start - retranslation.start <= BEYOND_SECONDS
        and retranslation.end - segment.end <= BEYOND_SECONDS
    )


def _check_transcribed(job: Job, chunks: Sequence[Chunk], span: Span) -> None:
    """What is transcribed later would say once more what is put there now."""
    undone = any(
        chunk.state != Leased.State.DONE and chunk.start < span.end and chunk.end > span.start
        for chunk in chunks
    )
    known_until = max((chunk.end for chunk in chunks), default=0.0)
    preparing = job.stages.filter(kind=Stage.Kind.PREPARE).exclude(state=Leased.State.DONE)
    if undone or (known_until < span.end and preparing.exists()):
        raise ConflictError(NOT_TRANSCRIBED_YET)


def _turns(job: Job) -> list[Turn]:
    diarization = Diarization.objects.filter(job=job).only("exclusive", "names").first()
    return [Turn(*turn) for turn in diarization.named_turns()] if diarization else []


def _row(retranslation: Retranslation, change: Change) -> SegmentChange:
    return SegmentChange(
        retranslation=retranslation,
        segment_pk=change.segment_pk,
        before=change.before,
        after=change.after,
    )


def _is_as_proposed(planned: Sequence[Change], proposed: Iterable[SegmentChange]) -> bool:
    """Whether the segments say what was noted; who says it may have been found out, or put right, since."""
    are = [(change.segment_pk, change.before) for change in planned if change.before is not None]
    were = [(one.segment_pk, one.before) for one in proposed if one.before is not None]
    adds = any(change.before is None for change in planned)
    added = any(one.before is None for one in proposed)
    return (
        adds == added
        and len(are) == len(were)
        and all(
            pk == noted_pk and _is_same(fields, noted)
            for (pk, fields), (noted_pk, noted) in zip(are, were, strict=True)
        )
    )


def _is_same(one: Fields | None, other: Fields | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(one[name] == other[name] for name in CONTENT_FIELDS)


# ---- Changing it


def _decide(retranslation: Retranslation, *, was: str, now: Decision, by: str) -> None:
    decided_at = None if now == Decision.NONE else Now()
    decided = Retranslation.objects.filter(
        pk=retranslation.pk, state=Leased.State.DONE, decision=was
    ).update(
        decision=now,
        decided_at=decided_at,
        decided_by="" if decided_at is None else by[:150],
    )
    retranslation.refresh_from_db()
    if decided:
        return
    if retranslation.state != Leased.State.DONE:  # not finished, or it failed
        raise ConflictError(
            f"There is nothing to decide about yet: {_state_in_words(retranslation)}"
        )
    raise ConflictError(f"It was {retranslation.decision} already.")  # somebody else was first


def _state_in_words(retranslation: Retranslation) -> str:
    state = Leased.State(retranslation.state)
    return f"{API_STATUS[state]}. {MESSAGES.get(state, retranslation.error)}"


def _restore(job: Job, retranslation: Retranslation) -> None:
    # Without the row itself: SQLite keeps times as text, in which a full second is later than itself.
    later = Retranslation.objects.exclude(pk=retranslation.pk).filter(
        job=job,
        decision=Decision.ACCEPTED,
        decided_at__gt=retranslation.decided_at,
        start__lt=retranslation.end,
        end__gt=retranslation.start,
    )
    if later.exists():
        raise ConflictError("Another one was accepted here since: undo that first.")
    rows = list(retranslation.changes.all())
    changes.take_back(
        job,
        [Change(row.segment_pk, row.before, row.after) for row in rows],
        since=retranslation.decided_at or retranslation.created_at,
    )
    for row in rows:
        if row.before is None:  # accepted again it gets a new id
            row.segment_pk = None
    SegmentChange.objects.bulk_update(rows, ["segment_pk"])
