"""The life of a summary: create, claim, note how far it is, finish, fail, try again, delete."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from chat.llm.base import Passage, Style, Transcript
from chat.llm.text import count_words, well_formed
from summaries.models import Summary
from transcription.leasing import leases, wakeups
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.locks import lock_job
from transcription.models import Leased

WAITING = "Waiting for a worker"
COMPLETED = "Completed"
PROGRESS_SAVED: dict[str, Any] = {"attempts": 1, "failures": 0}
"""Progress was saved: reset the attempt and failure counters."""
PAUSE_SECONDS = (2.0, 10.0, 60.0)
"""After the first failure in a row, the second, and all others."""
NOT_NEEDED_ANY_MORE: dict[str, Any] = {"transcript": {}, "partials": []}


def create_summary(
    *,
    transcript: Transcript,
    transcription_id: UUID | None,
    model_name: str,
    style: Style,
    max_length: int,
) -> Summary:
    """Keep what is to be summarized, as it is now, and have it worked at. Raises Job.DoesNotExist."""
    with transaction.atomic():
        if transcription_id is not None:
            lock_job(transcription_id)
        summary = Summary.objects.create(
            transcript={
                "language": transcript.language,
                "passages": stored_passages(transcript.passages),
            },
            transcription_id=transcription_id,
            model_name=model_name,
            style=style,
            max_length=max_length,
            message=WAITING,
        )
        wake_workers()
    return summary


def wake_workers() -> None:
    wakeups.wake_workers("summaries.tasks.work")


def stored_passages(passages: Iterable[Passage]) -> list[list[Any]]:
    return [[well_formed(p.text), p.start, p.end, p.speaker] for p in passages]


def passages_of(stored: Iterable[list[Any]]) -> tuple[Passage, ...]:
    return tuple(Passage(*values) for values in stored)


def transcript_of(summary: Summary) -> Transcript:
    stored = summary.transcript
    return Transcript(passages_of(stored["passages"]), stored["language"])


# ---- Work


def claimable() -> "QuerySet[Summary]":
    """What can be worked at just now, in order of turn."""
    due = Q(not_before=None) | Q(not_before__lte=Now())
    return Summary.objects.filter(due, leases.claimable()).order_by("created_at")


def claim() -> Summary | None:
    return leases.claim(claimable())


def begin(*, lease: Lease, summary: Summary, model_used: str) -> None:
    """Note what runs; what another model had made of it by now is not mixed with what this one will."""
    if summary.model_used not in ("", model_used):
        _write(lease, summary, {"model_used": model_used, "partials": [], "summary": ""})
    else:
        _write(lease, summary, {"model_used": model_used})


def say(*, lease: Lease, summary: Summary, message: str, percent: int) -> None:
    """Tell how far it is. What is done again after a new start takes nothing back of the progress."""
    progress = max(percent, summary.progress)
    _write(lease, summary, {"message": f"{message} ({progress}%)", "progress": progress})


def save_partials(*, lease: Lease, summary: Summary, partials: list[dict[str, Any]]) -> None:
    """Keep what the parts came to."""
    _write(lease, summary, {"partials": partials, **PROGRESS_SAVED})


def save_text(*, lease: Lease, summary: Summary, text: str) -> None:
    text = well_formed(text)
    _write(lease, summary, {"summary": text, "length": count_words(text), **PROGRESS_SAVED})


def finish(*, lease: Lease, summary: Summary, topics: Iterable[str]) -> None:
    _write(
        lease,
        summary,
        {
            "topics": [well_formed(topic) for topic in topics],
            "message": COMPLETED,
            "progress": 100,
            "state": Leased.State.DONE,
            "error": "",
            "lease_until": None,
            "finished_at": Now(),
            **NOT_NEEDED_ANY_MORE,
        },
    )


def _write(lease: Lease, summary: Summary, values: dict[str, Any]) -> None:
    """Write to the row and to `summary` alike. Raises LeaseLostError when it is another's by now, or deleted."""
    if not _held(lease).update(**values, updated_at=Now()):
        raise LeaseLostError
    for name, value in values.items():
        setattr(summary, name, value)


def _held(lease: Lease) -> "QuerySet[Summary]":
    return cast("QuerySet[Summary]", lease.held_rows())


# ---- Failure


def fail(*, lease: Lease, summary: Summary, error: str, can_retry: bool) -> float | None:
    """Note why it failed. Returns after how many seconds it may be tried again; None: it is not to be."""
    failures = summary.failures + 1
    if not can_retry or failures >= settings.TRANSCRIBER_CHUNK_ATTEMPTS:
        _held(lease).update(
            **_failed(error), state=Leased.State.FAILED, failures=failures, lease_until=None
        )
        return None
    pause = PAUSE_SECONDS[min(failures, len(PAUSE_SECONDS)) - 1]
    _held(lease).update(
        state=Leased.State.TODO,
        failures=failures,
        error=error,
        message=f"To be tried again in {pause:.0f} s: {error}",
        not_before=Now() + timedelta(seconds=pause),
        lease_until=None,
        updated_at=Now(),
    )  # no row: it is another's by now, or deleted
    return pause


def on_exhausted(row: Summary, *, error: str) -> None:
    Summary.objects.filter(pk=row.pk).update(**_failed(error))


def _failed(error: str) -> dict[str, Any]:
    return {"error": error, "message": error, "finished_at": Now(), "updated_at": Now()}


# ---- What an operator does


def retry_failed(*, summary_id: UUID) -> bool:
    """Go on where it failed. False when it did not fail."""
    with transaction.atomic():
        changed = Summary.objects.filter(pk=summary_id, state=Leased.State.FAILED).update(
            **leases.RESET_TO_TODO,
            message=WAITING,
            not_before=None,
            finished_at=None,
            updated_at=Now(),
        )
        if changed:
            wake_workers()
    return bool(changed)


def delete_summary(*, summary_id: UUID) -> bool:
    """Delete it; whoever works at it learns that with the next renewal. False when it is gone."""
    deleted, _by_model = Summary.objects.filter(pk=summary_id).delete()
    return bool(deleted)


# ---- Recovery


def recover() -> None:
    """Take up summaries that lost their worker or message, and delete expired ones. Idempotent."""
    leases.release_rows_of_dead_workers(Summary)
    leases.fail_exhausted(Summary, on_exhausted=on_exhausted)
    if claimable().exists():
        wake_workers()
    # Those of transcripts that were sent; a job's are deleted with it.
    leases.past_retention(Summary.objects.filter(transcription=None)).delete()
