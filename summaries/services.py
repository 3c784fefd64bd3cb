"""The life of a summary: create, claim, save progress, finish, fail, retry, delete."""

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
from transcription import access
from transcription.leasing import fairness, leases, wakeups
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.outages import is_disk_full, wait_out
from transcription.locks import lock_job
from transcription.models import Leased

WAITING = "Waiting for a worker"
COMPLETED = "Completed"
PROGRESS_SAVED: dict[str, Any] = {"attempts": 1, "failures": 0}
"""Progress was saved: reset the attempt and failure counters."""
BACKOFF_SECONDS = (2.0, 10.0, 60.0)
"""The delay before a retry after the first failure in a row, the second, and every later one."""
NO_INPUT: dict[str, Any] = {"transcript": {}, "partials": []}
"""Column values that delete a summary's input and intermediate results, which can be megabytes."""


def create_summary(
    *,
    transcript: Transcript,
    transcription_id: UUID | None,
    model_name: str,
    style: Style,
    max_length: int,
) -> Summary:
    """Save a summary to be made of `transcript` as it is now, and wake a worker. Raises Job.DoesNotExist."""
    with transaction.atomic():
        if transcription_id is not None:
            lock_job(transcription_id)
        summary = Summary.objects.create(
            transcript={
                "language": transcript.language,
                "passages": dump_passages(transcript.passages),
            },
            transcription_id=transcription_id,
            model_name=model_name,
            style=style,
            max_length=max_length,
            message=WAITING,
            owner_id=access.owner_id(),
        )
        wake_workers()
    return summary


def wake_workers() -> None:
    wakeups.wake_workers("summaries.tasks.work")


def dump_passages(passages: Iterable[Passage]) -> list[list[Any]]:
    """Passages as they are stored in JSON: text, start, end, speaker."""
    return [[well_formed(p.text), p.start, p.end, p.speaker] for p in passages]


def load_passages(stored: Iterable[list[Any]]) -> tuple[Passage, ...]:
    return tuple(Passage(*values) for values in stored)


def load_transcript(summary: Summary) -> Transcript:
    stored = summary.transcript
    return Transcript(load_passages(stored["passages"]), stored["language"])


# ---- Work


def claimable() -> "QuerySet[Summary]":
    """Summaries that a worker may claim now, in turn by person; not those whose backoff has not passed."""
    due = Q(not_before=None) | Q(not_before__lte=Now())
    in_turn = fairness.person_in_turn(fairness.SUMMARY, owner="owner")
    return Summary.objects.filter(due, leases.claimable()).order_by(in_turn, "created_at")


def claim() -> Summary | None:
    summary = leases.claim(claimable())
    if summary is not None:
        fairness.note_served(fairness.SUMMARY, person_id=summary.owner_id)
    return summary


def set_model_used(*, lease: Lease, summary: Summary, model_used: str) -> None:
    """Save which model runs. Results of another model are discarded: one summary is made by one model."""
    if summary.model_used not in ("", model_used):
        _write(lease, summary, {"model_used": model_used, "partials": [], "summary": ""})
    else:
        _write(lease, summary, {"model_used": model_used})


def save_progress(*, lease: Lease, summary: Summary, message: str, percent: int) -> None:
    """Save the message and the progress, which never decreases, not even when a retry repeats work."""
    progress = max(percent, summary.progress)
    _write(lease, summary, {"message": f"{message} ({progress}%)", "progress": progress})


def set_message(*, summary: Summary, message: str) -> None:
    """Save the message of a summary that is not being made."""
    Summary.objects.filter(pk=summary.pk).update(message=message, updated_at=Now())


def save_partials(*, lease: Lease, summary: Summary, partials: list[dict[str, Any]]) -> None:
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
            **NO_INPUT,
        },
    )


def _write(lease: Lease, summary: Summary, values: dict[str, Any]) -> None:
    """Write `values` to the row and to `summary`.

    Waits out an outage of the database, but not a full disk. Raises LeaseLostError, and writes nothing, if the lease
    was lost.
    """
    rows = _held_rows(lease)
    if not wait_out(lambda: rows.update(**values, updated_at=Now()), unless=is_disk_full):
        raise LeaseLostError
    for name, value in values.items():
        setattr(summary, name, value)


def _held_rows(lease: Lease) -> "QuerySet[Summary]":
    return cast("QuerySet[Summary]", lease.held_rows())


# ---- Failure


def fail(*, lease: Lease, summary: Summary, error: str, can_retry: bool) -> float | None:
    """Save why it failed. Returns the backoff in seconds before it may be retried; None if it failed for good."""
    failures = summary.failures + 1
    if not can_retry or failures >= settings.TRANSCRIBER_CHUNK_ATTEMPTS:
        _held_rows(lease).update(
            **_failure(error), state=Leased.State.FAILED, failures=failures, lease_until=None
        )
        return None
    delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
    _held_rows(lease).update(
        state=Leased.State.TODO,
        failures=failures,
        error=error,
        message=f"Failed, will be retried in {delay:.0f} s: {error}",
        not_before=Now() + timedelta(seconds=delay),
        lease_until=None,
        updated_at=Now(),
    )  # zero rows: the lease was lost
    return delay


def on_exhausted(row: Summary, *, error: str) -> None:
    Summary.objects.filter(pk=row.pk).update(**_failure(error))


def _failure(error: str) -> dict[str, Any]:
    return {"error": error, "message": error, "finished_at": Now(), "updated_at": Now()}


# ---- Retry and delete


def retry_failed(*, summary_id: UUID) -> bool:
    """Queue a failed summary again; it resumes after what was saved. False if it has not failed."""
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
    """Delete a summary; its worker notices at the next lease renewal. False if there is none."""
    deleted, _by_model = Summary.objects.filter(pk=summary_id).delete()
    return bool(deleted)


# ---- Recovery


def recover() -> None:
    """Requeue summaries of dead workers, wake a worker if any wait, and delete expired ones. Idempotent."""
    leases.release_rows_of_dead_workers(Summary)
    leases.fail_exhausted(Summary, on_exhausted=on_exhausted)
    if claimable().exists():
        wake_workers()
    # Summaries of a job are deleted with it; these are of transcripts that a client sent.
    leases.past_retention(Summary.objects.filter(transcription=None)).delete()
