"""The life of a retranslation: request, claim, finish, fail, retry, delete. Decisions are in `proposals`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, cast
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy
from django.db.models.functions import Now

from retranslation import proposals
from retranslation.models import Batch, Retranslation
from transcription import access, hooks
from transcription.leasing import fairness, leases, wakeups, workers
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.outages import is_disk_full, wait_out
from transcription.leasing.registry import INTERACTIVE
from transcription.locks import lock_job
from transcription.models import Job, Leased, Worker
from transcription.speech import catalogue
from transcription.speech.engines.base import Span
from transcription.sweeping import sweep
from transcription.transcript.suspects import Suspect

CLIPS = "retranslations"
"""The folder of clips in the storage."""
MAX_SECONDS = 600.0
"""The length of the longest range or clip."""
BASE_SECONDS = 60.0
"""TRANSCRIBER_RETRANSLATION_SECONDS is the timeout of ranges up to this length; that of longer ones is proportional."""


@dataclass(frozen=True, slots=True)
class RequestedRange:
    """What a client requests: a range of a recording, and how to transcribe it."""

    segment_id: str
    span: Span
    model_name: str
    language: str
    """Empty: the job's, or detected."""
    asked_by: str


# ---- Requests


def request_range(*, job: Job, requested: RequestedRange) -> Retranslation:
    """Enqueue a retranslation of a range of the job's recording. Raises Job.DoesNotExist."""
    retranslation = _new_retranslation(job, requested)
    _enqueue(retranslation)
    return retranslation


def request_clip(
    *, upload: "UploadedFile[Any]", job: Job | None, requested: RequestedRange
) -> Retranslation:
    """Store a clip and enqueue its transcription. Raises Job.DoesNotExist.

    `requested.span` is the clip's place in the recording.
    """
    retranslation = _new_retranslation(job, requested)
    suffix = PurePath(upload.name or "").suffix.lower()
    suffix = suffix if suffix[1:].isalnum() and len(suffix) <= 10 else ""
    retranslation.clip.name = default_storage.save(f"{CLIPS}/{retranslation.pk}{suffix}", upload)
    try:
        _enqueue(retranslation)
    except BaseException:
        default_storage.delete(retranslation.clip.name)
        raise
    return retranslation


def _new_retranslation(job: Job | None, requested: RequestedRange) -> Retranslation:
    language = default_language(job, requested.model_name) if job else ""
    return Retranslation(
        job=job,
        segment_id=requested.segment_id,
        start=requested.span.start,
        end=requested.span.end,
        channel=_channel_of_segment(job, requested.segment_id),
        model_name=requested.model_name,
        requested_language=requested.language or language,
        asked_by=requested.asked_by,
        owner_id=access.owner_id(),
    )


def _channel_of_segment(job: Job | None, segment_id: str) -> int | None:
    """The channel of the segment with this id; None if there is none, or the channels are mixed."""
    pk = segment_pk(segment_id)
    if job is None or pk is None or job.channels != Job.Channels.SPEAKERS:
        return None
    return job.segments.filter(pk=pk).values_list("chunk__channel", flat=True).first()


def segment_pk(segment_id: str) -> int | None:
    """The id as a number; None for a name of the client's own, which is no id of the transcript."""
    is_number = segment_id.isascii() and segment_id.isdigit() and len(segment_id) < 19
    return int(segment_id) if is_number else None


def _enqueue(retranslation: Retranslation) -> None:
    with transaction.atomic():
        if retranslation.job_id is not None:
            lock_job(retranslation.job_id)
        _count(retranslation.end - retranslation.start)
        retranslation.save(force_insert=True)
        wake_workers()


def _count(seconds: float) -> None:
    """Ask whether so much audio may be transcribed again. Raises what a listener refuses it with."""
    hooks.before_retranslation.send(
        sender=Retranslation, owner_id=access.owner_id(), seconds=seconds
    )


def request_suspects(
    *, job: Job, suspects: Sequence[Suspect], model_name: str, asked_by: str
) -> Batch:
    """Enqueue a batch with a retranslation of each suspect, behind what people wait for. Raises Job.DoesNotExist."""
    language = default_language(job, model_name)
    with transaction.atomic():
        lock_job(job.pk)
        _count(sum(suspect.end - suspect.start for suspect in suspects))
        owner = access.owner_id()
        batch = Batch.objects.create(
            job=job, model_name=model_name, asked_by=asked_by, owner_id=owner
        )
        Retranslation.objects.bulk_create(
            Retranslation(
                job=job,
                batch=batch,
                segment_id="" if suspect.segment is None else str(suspect.segment.pk),
                start=suspect.start,
                end=suspect.end,
                channel=suspect.channel,
                reasons=list(suspect.reasons),
                model_name=model_name,
                requested_language=language,
                asked_by=asked_by,
                owner_id=owner,
            )
            for suspect in suspects
        )
        wake_batch_worker()
    return batch


def default_language(job: Job, model_name: str) -> str:
    """The job's language, because detection is unreliable in a few seconds. Empty if the model does not support it."""
    model = catalogue.resolve(model_name)
    if model.is_english_only:
        return "en"
    return job.language if catalogue.supports_language(model, job.language) else ""


def unfinished(ids: Collection[UUID]) -> set[UUID]:
    """Those of the retranslations that wait or are being made."""
    active = (Leased.State.TODO, Leased.State.DOING)
    with access.as_service():
        rows = Retranslation.objects.filter(pk__in=ids, state__in=active)
    return set(rows.order_by().values_list("pk", flat=True))


def timeout_seconds(retranslation: Retranslation) -> float:
    """How long a request waits for the result."""
    length = retranslation.end - retranslation.start
    base: int = settings.TRANSCRIBER_RETRANSLATION_SECONDS
    return base * max(1.0, length / BASE_SECONDS)


def wake_workers(*, n: int = 1) -> None:
    """Wake `n` workers for retranslations that a client waits for."""
    wakeups.wake_workers("retranslation.tasks.work", n=n)


def wake_batch_worker() -> None:
    """Wake one worker for batches. Its task enqueues itself again, behind all others, until they are done."""
    wakeups.wake_workers("retranslation.tasks.work_on_batches")


# ---- Work


def claimable_requests() -> "QuerySet[Retranslation]":
    """Retranslations that clients wait for, in turn by person; none if too many are being made."""
    if not _leaves_a_worker_free():
        return Retranslation.objects.none()
    rows = Retranslation.objects.filter(leases.claimable(), batch=None)
    return rows.order_by(_person_in_turn(), "created_at")


def claimable_in_batches() -> "QuerySet[Retranslation]":
    """Rows of batches, in turn by person, then oldest batch first.

    None while one is being made, or if too many retranslations are.
    """
    rows = Retranslation.objects.filter(batch__isnull=False)
    if (
        not _leaves_a_worker_free()
        or rows.filter(state=Leased.State.DOING, lease_until__gte=Now()).exists()
    ):
        return rows.none()
    return rows.filter(leases.claimable()).order_by(_person_in_turn(), "batch__created_at", "start")


def _person_in_turn() -> OrderBy:
    return fairness.person_in_turn(fairness.RETRANSLATION, owner="owner")


def claim(candidates: "QuerySet[Retranslation]") -> Retranslation | None:
    """Claim the first claimable candidate. None if there is none, or too many retranslations are being made."""
    with transaction.atomic():
        # Locked, so that of several workers that claim at the same time each sees what the others claimed.
        list(_interactive_workers().select_for_update().order_by("pk").values_list("pk", flat=True))
        if not _leaves_a_worker_free():
            return None
        row = leases.claim(candidates.select_related("job__recording"))
        if row is not None:
            fairness.note_served(fairness.RETRANSLATION, person_id=row.owner_id)
        return row


def _leaves_a_worker_free() -> bool:
    """Whether one more retranslation leaves an interactive worker to prepare uploads, or it is the only one.

    A retranslation may take ten minutes, and as many as there are workers would block uploads meanwhile.
    """
    being_made = Retranslation.objects.filter(state=Leased.State.DOING, lease_until__gte=Now())
    return being_made.count() < max(1, _interactive_workers().count() - 1)


def _interactive_workers() -> "QuerySet[Worker]":
    return workers.alive().filter(role=INTERACTIVE)


def finish(*, lease: Lease, retranslation: Retranslation, **result: Any) -> None:
    """Commit the columns of the result and the proposal, and delete the clip.

    Waits out an outage of the database, but not a full disk. Raises LeaseLostError, and writes nothing, if the lease
    was lost or the row was deleted.
    """
    wait_out(lambda: _commit(lease, retranslation, result), unless=is_disk_full)


def _commit(lease: Lease, retranslation: Retranslation, result: dict[str, Any]) -> None:
    clip = retranslation.clip.name or ""
    values = {
        **result,
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
        if not _held_rows(lease).update(**values, finished_at=Now()):
            raise LeaseLostError
        retranslation.refresh_from_db()
        proposals.save_proposal(retranslation=retranslation)
        _delete_file_after_commit(clip)


def _held_rows(lease: Lease) -> "QuerySet[Retranslation]":
    return cast("QuerySet[Retranslation]", lease.held_rows())


def _delete_file_after_commit(name: str) -> None:
    if name:
        transaction.on_commit(lambda: default_storage.delete(name), robust=True)


# ---- Failure


def fail(*, lease: Lease, retranslation: Retranslation, error: str, can_retry: bool) -> None:
    """Save why it failed, and requeue it unless this was its last try. The caller wakes a worker."""
    limit = settings.TRANSCRIBER_CHUNK_ATTEMPTS if can_retry else 1
    is_final = retranslation.failures + 1 >= limit
    _held_rows(lease).update(
        state=Leased.State.FAILED if is_final else Leased.State.TODO,
        failures=F("failures") + 1,
        error=error,
        lease_until=None,
        finished_at=Now(),
    )  # zero rows: the lease was lost or the row was deleted


def on_exhausted(row: Retranslation, *, error: str) -> None:
    Retranslation.objects.filter(pk=row.pk).update(error=error, finished_at=Now())


# ---- Retry and delete


def retry_failed(*, retranslation_id: UUID) -> bool:
    """Queue a failed retranslation again. False if it has not failed."""
    with transaction.atomic():
        changed = Retranslation.objects.filter(
            pk=retranslation_id, state=Leased.State.FAILED
        ).update(**leases.RESET_TO_TODO, progress=0, finished_at=None)
        if changed:
            wake_workers()
            wake_batch_worker()
    return bool(changed)


def delete_retranslation(*, retranslation_id: UUID) -> bool:
    """Delete a retranslation; the transcript stays as it is, even if it was accepted. False if there is none."""
    _, by_model = Retranslation.objects.filter(pk=retranslation_id).delete()
    return bool(by_model.get(Retranslation._meta.label))


def delete_clip(*, retranslation: Retranslation) -> None:
    """Delete the clip's file after the commit. Called when the row is deleted, with its job or alone."""
    _delete_file_after_commit(retranslation.clip.name or "")


# ---- Recovery


def recover() -> None:
    """Requeue retranslations of dead workers, wake workers, delete expired rows, and clips of no row. Idempotent."""
    leases.release_rows_of_dead_workers(Retranslation)
    leases.fail_exhausted(Retranslation, on_exhausted=on_exhausted)
    if wakeups.may_be_lost(INTERACTIVE):
        if n := claimable_requests().count():
            wake_workers(n=n)
        if claimable_in_batches().exists():
            wake_batch_worker()
    # Retranslations of a job are deleted with it; these are of clips alone.
    leases.past_retention(Retranslation.objects.filter(job=None)).delete()
    sweep(CLIPS, rows=Retranslation.objects.exclude(clip=""), delete=default_storage.delete)


# ---- Batches

BatchStatus = Literal["processing", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class BatchProgress:
    status: BatchStatus
    percent: int
    message: str


def batch_progress(batch: Batch) -> BatchProgress:
    """A batch's progress, computed from its rows. It fails only if all of them do."""
    states = list(batch.retranslations.values_list("state", flat=True))
    n_failed = states.count(Leased.State.FAILED)
    n_ended = states.count(Leased.State.DONE) + n_failed
    if not states:
        return BatchProgress("completed", 100, "Nothing in the transcript is suspect")
    if n_ended < len(states):
        percent = 100 * n_ended // len(states)
        return BatchProgress("processing", percent, f"{n_ended} of {len(states)} are done")
    if n_failed == len(states):
        error = batch.retranslations.values_list("error", flat=True).first()
        return BatchProgress("failed", 100, f"All {n_failed} failed: {error}")
    message = f"Completed: {len(states) - n_failed} to accept or reject"
    return BatchProgress("completed", 100, f"{message}; {n_failed} failed" if n_failed else message)
