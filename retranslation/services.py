"""The life of a retranslation: request, claim, finish, fail, try again, delete. What is decided of it: `proposals`."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Literal, cast
from uuid import UUID, uuid4

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from retranslation import proposals
from retranslation.models import Batch, Retranslation
from transcription.leasing import leases
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.registry import INTERACTIVE
from transcription.leasing.wakeups import queue_length
from transcription.leasing.wakeups import wake_workers as wake
from transcription.locks import lock_job
from transcription.models import Job, Leased
from transcription.speech import catalogue
from transcription.speech.engines.base import Span
from transcription.transcript.suspects import Suspect

MOST_SECONDS = 600.0
"""The longest range, and the longest clip, that somebody may wait for."""
LIMIT_HOLDS_FOR_SECONDS = 60.0
"""The time limit is that of a range of this length; a longer one has more in proportion."""


# ---- Requests


def request_range(
    *, job: Job, segment_id: str, span: Span, model_name: str, language: str, asked_by: str
) -> Retranslation:
    """Have a range of the job's recording transcribed once more. Raises Job.DoesNotExist."""
    with transaction.atomic():
        lock_job(job.pk)
        retranslation = Retranslation.objects.create(
            job=job,
            segment_id=segment_id,
            start=span.start,
            end=span.end,
            model_name=model_name,
            requested_language=language or language_of(job, model_name),
            asked_by=asked_by,
        )
        wake_workers()
    return retranslation


def request_clip(
    *,
    upload: "UploadedFile[Any]",
    job: Job | None,
    segment_id: str,
    span: Span,
    model_name: str,
    language: str,
    asked_by: str,
) -> Retranslation:
    """Keep a clip that was sent, and have it transcribed. `span` is its place in the recording.

    Raises Job.DoesNotExist.
    """
    retranslation = Retranslation(
        id=uuid4(),
        job=job,
        segment_id=segment_id,
        start=span.start,
        end=span.end,
        model_name=model_name,
        requested_language=language or (language_of(job, model_name) if job else ""),
        asked_by=asked_by,
    )
    suffix = PurePath(upload.name or "").suffix.lower()
    suffix = suffix if suffix[1:].isalnum() and len(suffix) <= 10 else ""
    retranslation.clip.name = default_storage.save(
        f"retranslations/{retranslation.pk}{suffix}", upload
    )
    try:
        with transaction.atomic():
            if job is not None:
                lock_job(job.pk)
            retranslation.save(force_insert=True)
            wake_workers()
    except BaseException:
        default_storage.delete(retranslation.clip.name)
        raise
    return retranslation


def request_suspects(
    *, job: Job, suspects: Sequence[Suspect], model_name: str, asked_by: str
) -> Batch:
    """Have all that is suspect transcribed once more, after whatever somebody waits for. Raises Job.DoesNotExist."""
    language = language_of(job, model_name)
    with transaction.atomic():
        lock_job(job.pk)
        batch = Batch.objects.create(job=job, model_name=model_name, asked_by=asked_by)
        Retranslation.objects.bulk_create(
            Retranslation(
                job=job,
                batch=batch,
                segment_id="" if suspect.segment is None else str(suspect.segment.pk),
                start=suspect.start,
                end=suspect.end,
                reasons=list(suspect.reasons),
                model_name=model_name,
                requested_language=language,
                asked_by=asked_by,
            )
            for suspect in suspects
        )
        wake_for_batches()
    return batch


def language_of(job: Job, model_name: str) -> str:
    """The job's language: a few seconds alone may sound like another. Empty where the model cannot do it."""
    model = catalogue.resolve(model_name)
    if model.is_english_only:
        return "en"
    return job.language if catalogue.supports_language(model, job.language) else ""


def seconds_to_wait(retranslation: Retranslation) -> float:
    """How long whoever asked for it is kept waiting."""
    length = retranslation.end - retranslation.start
    limit: int = settings.TRANSCRIBER_RETRANSLATION_SECONDS
    return limit * max(1.0, length / LIMIT_HOLDS_FOR_SECONDS)


def wake_workers(*, n: int = 1) -> None:
    """Enqueue a message for each range that a person waits for."""
    wake("retranslation.tasks.work", n=n)


def wake_for_batches() -> None:
    """Enqueue one message, which is enqueued again, behind all others, until the batches are done."""
    wake("retranslation.tasks.work_on_batches")


# ---- Work


def claimable_requests() -> "QuerySet[Retranslation]":
    """What somebody waits for, in order of turn."""
    return Retranslation.objects.filter(leases.claimable(), batch=None).order_by("created_at")


def claimable_in_batches() -> "QuerySet[Retranslation]":
    """What of batches can be worked at. One row at a time is, so that uploads find a worker free."""
    rows = Retranslation.objects.filter(batch__isnull=False)
    if rows.filter(state=Leased.State.DOING, lease_until__gte=Now()).exists():
        return rows.none()
    return rows.filter(leases.claimable()).order_by("batch__created_at", "start")


def claim(candidates: "QuerySet[Retranslation]") -> Retranslation | None:
    return leases.claim(candidates.select_related("job__recording"))


def finish(*, lease: Lease, retranslation: Retranslation, **made: Any) -> None:
    """Commit what came out, with the changes that accepting it would make; the clip is not needed any more.

    Raises LeaseLostError, and writes nothing, if it is another's by now, or deleted.
    """
    clip = retranslation.clip.name or ""
    values = {
        **made,
        "clip": "",
        "state": Leased.State.DONE,
        "progress": 100,
        "error": "",
        "lease_until": None,
    }
    with transaction.atomic():
        try:
            proposals.lock_job_of(retranslation)
        except Retranslation.DoesNotExist:
            raise LeaseLostError from None
        if not _held(lease).update(**values, finished_at=Now()):
            raise LeaseLostError
        retranslation.refresh_from_db()
        proposals.propose(retranslation=retranslation)
        _delete_file_after_commit(clip)


def _held(lease: Lease) -> "QuerySet[Retranslation]":
    return cast("QuerySet[Retranslation]", lease.held_rows())


def _delete_file_after_commit(name: str) -> None:
    if name:
        transaction.on_commit(lambda: default_storage.delete(name), robust=True)


# ---- Failure


def fail(*, lease: Lease, retranslation: Retranslation, error: str, can_retry: bool) -> None:
    """Note why it failed; what may succeed the next time is tried again, by whoever is woken next."""
    limit = settings.TRANSCRIBER_CHUNK_ATTEMPTS if can_retry else 1
    is_final = retranslation.failures + 1 >= limit
    _held(lease).update(
        state=Leased.State.FAILED if is_final else Leased.State.TODO,
        failures=F("failures") + 1,
        error=error,
        lease_until=None,
        finished_at=Now(),
    )  # no row: it is another's by now, or deleted


def on_exhausted(row: Retranslation, *, error: str) -> None:
    Retranslation.objects.filter(pk=row.pk).update(error=error, finished_at=Now())


# ---- What an operator does


def retry_failed(*, retranslation_id: UUID) -> bool:
    """Begin again what failed. False when it did not fail."""
    with transaction.atomic():
        changed = Retranslation.objects.filter(
            pk=retranslation_id, state=Leased.State.FAILED
        ).update(**leases.RESET_TO_TODO, progress=0, finished_at=None)
        if changed:
            wake_workers()
            wake_for_batches()
    return bool(changed)


def delete_retranslation(*, retranslation_id: UUID) -> bool:
    """Delete it, accepted or not: the transcript stays as it is. False when it is gone."""
    _, by_model = Retranslation.objects.filter(pk=retranslation_id).delete()
    return bool(by_model.get(Retranslation._meta.label))


def delete_clip(*, retranslation: Retranslation) -> None:
    """To be called when a row is deleted, with its job or alone."""
    _delete_file_after_commit(retranslation.clip.name or "")


# ---- Recovery


def recover() -> None:
    """Take up retranslations that lost their worker or message, and delete expired ones. Idempotent."""
    leases.release_rows_of_dead_workers(Retranslation)
    leases.fail_exhausted(Retranslation, on_exhausted=on_exhausted)
    if n := claimable_requests().count():
        wake_workers(n=n)
    # While messages wait or a row is in hand, one of them goes on with the batches.
    if not queue_length(INTERACTIVE) and claimable_in_batches().exists():
        wake_for_batches()
    # Those of clips alone; a job's are deleted with it.
    leases.past_retention(Retranslation.objects.filter(job=None)).delete()


# ---- Batches

BatchStatus = Literal["processing", "completed", "failed"]


def standing(batch: Batch) -> tuple[BatchStatus, int, str]:
    """Status, progress in per cent, and message, as its rows tell them."""
    states = list(batch.retranslations.values_list("state", flat=True))
    n_failed = states.count(Leased.State.FAILED)
    n_over = states.count(Leased.State.DONE) + n_failed
    if not states:
        return "completed", 100, "Nothing in the transcript is suspect"
    if n_over < len(states):
        return "processing", 100 * n_over // len(states), f"{n_over} of {len(states)} are done"
    if n_failed == len(states):
        error = batch.retranslations.values_list("error", flat=True).first()
        return "failed", 100, f"All {n_failed} failed: {error}"
    message = f"Completed: {len(states) - n_failed} to accept or to reject"
    return "completed", 100, f"{message}; {n_failed} failed" if n_failed else message
