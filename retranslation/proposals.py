"""Proposals, the changes that retranslations would make, and decisions about them: accept, reject, undo.

A proposal stores its segments as they were when it was made, and is accepted only while they are still the same. Every
decision runs in one transaction that has locked the job's row, like all else that writes segments (`locks`).
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Now

from retranslation import plan_changes
from retranslation.models import Retranslation, SegmentChange
from transcription.editing import changes
from transcription.editing.changes import CONTENT_FIELDS, Change, ConflictError
from transcription.jobs.status import API_STATUS_OF_STATE
from transcription.locks import lock_job
from transcription.models import Chunk, Diarization, Job, Leased, Segment, Stage
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

Decision = Retranslation.Decision

CHANNEL = "channel"
"""The key of a word's channel, if channels are speakers."""
MARGIN_SECONDS = 0.5
"""A range that extends a segment by at most this at either side is a retranslation of that segment alone."""

CHANGED_SINCE = (
    "This part of the transcript was changed since it was retranslated: retranslate it again."
)
WHOSE_CLIP = (
    "The job's channels are its speakers, and the clip does not say whose it is: "
    "send it with the segment_id of one of that speaker's segments."
)
NO_JOB = "This is a clip without a job_id: there is no transcript to put it into."

STATE_MESSAGES = {
    Leased.State.TODO: "Waiting for a worker",
    Leased.State.DOING: "Transcribing",
    Leased.State.DONE: "Completed",
}
"""The message of a failed one is its error."""


def save_proposal(*, retranslation: Retranslation) -> None:
    """Save the changes that accepting a retranslation would make; none if they conflict with the rows as they are.

    Call it in the transaction that saves the text. Idempotent.
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
    """Apply a proposal to the transcript. Returns the retranslation's document.

    Raises ConflictError and Retranslation.DoesNotExist; then nothing is changed.
    """
    with transaction.atomic():
        retranslation = Retranslation.objects.get(pk=retranslation_id)
        job = lock_job_of(retranslation)
        if job is None:
            raise ConflictError(NO_JOB)
        _set_decision(retranslation, was=Decision.NONE, now=Decision.ACCEPTED, by=decided_by)
        planned = _plan(job, retranslation)
        proposed = retranslation.changes.all()
        if not _matches_proposal(planned, proposed):
            raise ConflictError(CHANGED_SINCE)
        proposed.delete()
        written = changes.apply(job, planned)
        SegmentChange.objects.bulk_create(_row(retranslation, change) for change in written)
        Retranslation.objects.filter(pk=retranslation.pk).update(revision=job.revision)
    return document(retranslation)


def reject(*, retranslation_id: UUID, decided_by: str) -> dict[str, Any]:
    """Mark a proposal as rejected; the transcript is not changed. Returns the retranslation's document.

    Raises ConflictError and Retranslation.DoesNotExist.
    """
    with transaction.atomic():
        retranslation = Retranslation.objects.get(pk=retranslation_id)
        _set_decision(retranslation, was=Decision.NONE, now=Decision.REJECTED, by=decided_by)
    return document(retranslation)


def undo(*, retranslation_id: UUID, decided_by: str) -> dict[str, Any]:
    """Revert a decision, and with an accepted one its changes; it can be decided again. Returns the document.

    Raises ConflictError and Retranslation.DoesNotExist.
    """
    with transaction.atomic():
        retranslation = Retranslation.objects.get(pk=retranslation_id)
        job = lock_job_of(retranslation)
        retranslation.refresh_from_db(
            fields=["decision", "revision"]
        )  # another may have decided before the lock
        was = Decision(retranslation.decision)
        if was == Decision.NONE:
            raise ConflictError(
                "There is no decision to undo: it was neither accepted nor rejected."
            )
        if was == Decision.ACCEPTED and job is not None:
            _revert(job, retranslation)
        _set_decision(retranslation, was=was, now=Decision.NONE, by=decided_by)
    return document(retranslation)


def lock_job_of(retranslation: Retranslation) -> Job | None:
    """The job, its row locked; None for a clip without a job. Raises Retranslation.DoesNotExist.

    A retranslation is deleted with its job.
    """
    if retranslation.job_id is None:
        return None
    try:
        return lock_job(retranslation.job_id)
    except Job.DoesNotExist:
        raise Retranslation.DoesNotExist from None


def history(*, job: Job, segment_pk: int) -> list[SegmentChange]:
    """The changes of a segment that were proposed or made, oldest first, each with its retranslation."""
    changes = SegmentChange.objects.filter(retranslation__job=job, segment_pk=segment_pk)
    changed_at = Coalesce("retranslation__decided_at", "retranslation__created_at")
    return list(changes.select_related("retranslation").order_by(changed_at, "pk"))


def document(retranslation: Retranslation) -> dict[str, Any]:
    """A retranslation in the API's shape. Fetch many with prefetch_related("changes")."""
    state = Leased.State(retranslation.state)
    decided_at = retranslation.decided_at
    return {
        "id": str(retranslation.pk),
        "job_id": None if retranslation.job_id is None else str(retranslation.job_id),
        "segment_id": retranslation.segment_id,
        "start_time": retranslation.start,
        "end_time": retranslation.end,
        "status": API_STATUS_OF_STATE[state],
        "message": STATE_MESSAGES.get(state, retranslation.error),
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


# ---- Planning


def overlapping_segments(job: Job, retranslation: Retranslation) -> "QuerySet[Segment]":
    """The segments that overlap the range, in its channel if it has one."""
    segments = job.segments.filter(start__lt=retranslation.end, end__gt=retranslation.start)
    if retranslation.channel is not None:
        segments = segments.filter(chunk__channel=retranslation.channel)
    return segments


def channels_of(retranslation: Retranslation) -> list[int | None]:
    """The channels of a job's retranslation that are transcribed: those with speech in the range; [None] if mixed."""
    if retranslation.channel is not None:
        return [retranslation.channel]
    chunks = Chunk.objects.filter(job=retranslation.job, channel__isnull=False).order_by("channel")
    near = chunks.filter(start__lt=retranslation.end, end__gt=retranslation.start)
    for some in (near, chunks):
        if channels := list(some.values_list("channel", flat=True).distinct()):
            return channels
    return [None]


def _plan(job: Job, retranslation: Retranslation) -> list[Change]:
    """The changes that accepting a retranslation would make to the segments as they are. Raises ConflictError."""
    span = Span(retranslation.start, retranslation.end)
    chunks = list(job.chunks.defer("streams", "speech").order_by("index"))
    if retranslation.channel is not None:
        chunks = [chunk for chunk in chunks if chunk.channel == retranslation.channel]
    _check_transcribed(job, chunks, span)
    segments = list(overlapping_segments(job, retranslation).order_by("start", "pk"))
    words = [{name: word[name] for name in word if name != CHANNEL} for word in retranslation.words]
    for segment in segments:
        if _is_of_segment(retranslation, segment):
            return plan_changes.plan_segment(span=span, words=words, segment=segment)
    if job.channels != Job.Channels.SPEAKERS:
        return plan_changes.plan_range(
            span=span, words=words, segments=segments, chunks=chunks, turns=_turns(job)
        )
    if not all(CHANNEL in word for word in retranslation.words):
        raise ConflictError(WHOSE_CLIP)
    channel_of = {chunk.pk: chunk.channel for chunk in chunks}
    return [
        change
        for channel in channels_of(retranslation)
        if channel is not None  # there is no speech at all
        for change in _plan_channel(
            span,
            [
                word
                for word, tagged in zip(words, retranslation.words, strict=True)
                if tagged.get(CHANNEL) == channel
            ],
            [segment for segment in segments if channel_of[segment.chunk_id] == channel],
            [chunk for chunk in chunks if chunk.channel == channel],
        )
    ]


def _plan_channel(
    span: Span,
    words: Sequence[dict[str, Any]],
    segments: Sequence[Segment],
    chunks: Sequence[Chunk],
) -> list[Change]:
    """The changes of the segments of one channel, whose speaker is known without any confidence."""
    turn = Turn(span.start, span.end, str(chunks[0].find_speaker()))
    planned = plan_changes.plan_range(
        span=span, words=words, segments=segments, chunks=chunks, turns=[turn]
    )
    return [
        Change(None, None, {**change.after, "speaker_confidence": None})
        if change.before is None and change.after is not None
        else change
        for change in planned
    ]


def _is_of_segment(retranslation: Retranslation, segment: Segment) -> bool:
    """Whether it is a retranslation of this segment alone: named by its id, and without its neighbours' words."""
    return (
        str(segment.pk) == retranslation.segment_id
        and segment.start - retranslation.start <= MARGIN_SECONDS
        and retranslation.end - segment.end <= MARGIN_SECONDS
    )


def _check_transcribed(job: Job, chunks: Sequence[Chunk], span: Span) -> None:
    """Raise ConflictError if the range is not transcribed yet: its chunk would add the same words again."""
    is_unfinished = any(
        chunk.state != Leased.State.DONE and chunk.start < span.end and chunk.end > span.start
        for chunk in chunks
    )
    ends: dict[int | None, float] = {}
    for chunk in chunks:
        ends[chunk.channel] = max(ends.get(chunk.channel, 0.0), chunk.end)
    known_until = min(ends.values(), default=0.0)  # of each channel
    preparing = job.stages.filter(kind=Stage.Kind.PREPARE).exclude(state=Leased.State.DONE)
    if is_unfinished or (known_until < span.end and preparing.exists()):
        raise ConflictError(plan_changes.NOT_TRANSCRIBED_YET)


def _turns(job: Job) -> list[Turn]:
    diarization = Diarization.objects.filter(job=job).only("exclusive", "names").first()
    return diarization.named_turns() if diarization else []


def _row(retranslation: Retranslation, change: Change) -> SegmentChange:
    return SegmentChange(
        retranslation=retranslation,
        segment_pk=change.segment_pk,
        before=change.before,
        after=change.after,
    )


def _matches_proposal(planned: Sequence[Change], proposed: Collection[SegmentChange]) -> bool:
    """Whether the segments have the same content as in the proposal. Their speakers may differ."""
    return _content_before(planned) == _content_before(proposed)


def _content_before(
    changes: Collection[Change | SegmentChange],
) -> tuple[list[tuple[int | None, list[Any]]], bool]:
    """The changed segments' ids and content, and whether any segment is added."""
    existing = [
        (change.segment_pk, [change.before[name] for name in CONTENT_FIELDS])
        for change in changes
        if change.before is not None
    ]
    return existing, any(change.before is None for change in changes)


# ---- Decision


def _set_decision(retranslation: Retranslation, *, was: str, now: Decision, by: str) -> None:
    """Raises ConflictError if the decision is no longer `was`, or there is no result to decide about."""
    decided_at = None if now == Decision.NONE else Now()
    changed = Retranslation.objects.filter(
        pk=retranslation.pk, state=Leased.State.DONE, decision=was
    ).update(
        decision=now,
        decided_at=decided_at,
        decided_by="" if decided_at is None else by[:150],
    )
    retranslation.refresh_from_db()
    if changed:
        return
    state = Leased.State(retranslation.state)
    if state != Leased.State.DONE:
        message = STATE_MESSAGES.get(state, retranslation.error)
        raise ConflictError(
            f"The retranslation has no result to decide about. Its status is {API_STATUS_OF_STATE[state]}: {message}"
        )
    raise ConflictError(f"The retranslation is already {retranslation.decision}.")


def _revert(job: Job, retranslation: Retranslation) -> None:
    later = Retranslation.objects.filter(
        job=job,
        decision=Decision.ACCEPTED,
        revision__gt=retranslation.revision,
        start__lt=retranslation.end,
        end__gt=retranslation.start,
    )
    if later.exists():
        raise ConflictError("A later retranslation was accepted here: undo that first.")
    rows = list(retranslation.changes.all())
    changes.revert(
        job,
        [Change(row.segment_pk, row.before, row.after) for row in rows],
        since=retranslation.revision,
    )
    for row in rows:
        if row.before is None:  # the segment gets a new id if it is accepted again
            row.segment_pk = None
    SegmentChange.objects.bulk_update(rows, ["segment_pk"])
