"""What each person may use: checked before an upload is read, and once more in the transaction that makes its job.

A person's row is locked while it is checked and the use is written down, so two uploads at once cannot both take what
is left for one. Locks: after the job's row, if that is locked; nothing else is locked after it.

Seconds of audio count as declared until the recording is decoded, then as decoded. A job that fails or is cancelled
counts all the same: the work was done, and else somebody could go on for ever with jobs that fail. One whose recording
cannot be read counts nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeGuard
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.timesince import timeuntil
from rest_framework import exceptions, status

from accounts.models import Limits, Use
from transcription import access, hooks
from transcription.models import Job, Recording

DAY = timedelta(days=1)
KEPT = timedelta(days=2)
GB = 10**9
JOB_SECONDS = 60
"""When to try again where a job has to end first, which nobody can foresee."""
STORED_SECONDS = 3600
"""When to try again where something has to be deleted first."""


class LimitReached(exceptions.APIException):
    """A person has used all that they may. REST framework makes `wait` the response's Retry-After, in seconds."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS

    def __init__(self, detail: str, *, wait: float) -> None:
        super().__init__(f"{detail} An administrator can raise the limit.")
        self.wait = max(wait, 1.0)


@dataclass(frozen=True, slots=True)
class Allowed:
    """A person's limits; 0 is none."""

    audio_minutes: int
    stored_gb: int
    jobs: int
    llm_requests: int


def allowed(person_id: int) -> Allowed:
    """The person's limits, those of the settings where they have none of their own."""
    own = Limits.objects.filter(pk=person_id).first() or Limits()
    return Allowed(
        **{
            name: default if (value := getattr(own, name)) is None else value
            for name, default in _defaults().items()
        }
    )


def _defaults() -> dict[str, int]:
    return {
        "audio_minutes": settings.TRANSCRIBER_LIMIT_AUDIO_MINUTES,
        "stored_gb": settings.TRANSCRIBER_LIMIT_STORED_GB,
        "jobs": settings.TRANSCRIBER_LIMIT_JOBS,
        "llm_requests": settings.TRANSCRIBER_LIMIT_LLM_REQUESTS,
    }


# ---- Checks


def on_upload(*, owner_id: int | None, n_bytes: int, **_: Any) -> None:
    """Refuse an upload for which nothing is left, before it is read. Raises LimitReached."""
    if not _is_limited(owner_id):
        return
    may = allowed(owner_id)
    _check_jobs(owner_id, may)
    _check_stored(owner_id, may, n_bytes=n_bytes)
    _check_audio(owner_id, may, seconds=0.0)


def on_job(*, owner_id: int | None, job_id: UUID, n_bytes: int, seconds: float, **_: Any) -> None:
    """Count a job that is about to be made. Raises LimitReached."""
    if not _is_limited(owner_id):
        return
    with _locked(owner_id) as may:
        _check_jobs(owner_id, may)
        _check_stored(owner_id, may, n_bytes=n_bytes)
        _check_audio(owner_id, may, seconds=seconds)
        Use.objects.create(person_id=owner_id, kind=Use.Kind.AUDIO, amount=seconds, job_id=job_id)


def on_retranslation(*, owner_id: int | None, seconds: float, **_: Any) -> None:
    """Count audio that is about to be transcribed again. Raises LimitReached."""
    if not _is_limited(owner_id):
        return
    with _locked(owner_id) as may:
        _check_audio(owner_id, may, seconds=seconds)
        Use.objects.create(person_id=owner_id, kind=Use.Kind.AUDIO, amount=seconds, job_id=None)


def on_retry(*, owner_id: int | None, **_: Any) -> None:
    """Refuse to take up a job again beside too many others; it counts as active by now. Raises LimitReached."""
    if not _is_limited(owner_id):
        return
    with _locked(owner_id) as may:
        _check_jobs(owner_id, may, n_more=0)


def on_recording_read(*, job_id: UUID, seconds: float, **_: Any) -> None:
    """Count the seconds that a recording has by what was decoded."""
    Use.objects.filter(job_id=job_id, kind=Use.Kind.AUDIO).update(amount=seconds)


def on_language_model(*, owner_id: int | None, job_id: UUID | None, **_: Any) -> None:
    """Count a request to a provider's language model. Raises LimitReached.

    Whoever has a share link asks at the expense of the recording's owner, who let them.
    """
    if owner_id is None and job_id is not None:
        recordings = Recording.objects.filter(jobs=job_id)
        owner_id = recordings.values_list("owner", flat=True).first()
    if not _is_limited(owner_id):
        return
    with _locked(owner_id) as may:
        used = _used(owner_id, Use.Kind.LANGUAGE_MODEL)
        if may.llm_requests and used + 1 > may.llm_requests:
            wait = _seconds_until_free(owner_id, Use.Kind.LANGUAGE_MODEL, 1.0)
            raise LimitReached(
                f"You have used the language models {used:.0f} times within 24 hours, and may "
                f"{may.llm_requests} times: 0 are left. Try again in {_in_words(wait)}, or use the "
                "built-in model, which is not counted.",
                wait=wait,
            )
        Use.objects.create(person_id=owner_id, kind=Use.Kind.LANGUAGE_MODEL, amount=1.0)


def expire() -> int:
    """Delete what no longer counts; returns how many rows."""
    return Use.objects.filter(at__lt=Now() - KEPT).delete()[0]


def _is_limited(owner_id: int | None) -> TypeGuard[int]:
    return settings.TRANSCRIBER_ACCOUNTS != "off" and owner_id is not None


@contextmanager
def _locked(person_id: int) -> Iterator[Allowed]:
    """The person's limits; whoever checks them at the same time waits until the transaction ends."""
    with transaction.atomic(), access.as_service():
        Limits.objects.get_or_create(pk=person_id)
        Limits.objects.select_for_update().get(pk=person_id)
        yield allowed(person_id)


@access.as_service()
def _check_jobs(person_id: int, may: Allowed, *, n_more: int = 1) -> None:
    n_active = Job.objects.filter(owner=person_id, status__in=Job.ACTIVE).count()
    if may.jobs and n_active + n_more > may.jobs:
        n_others = n_active + n_more - 1
        raise LimitReached(
            f"You have {n_others} jobs in progress, and may have {may.jobs} at once: 0 are left. "
            "Try again when one has ended, or cancel one.",
            wait=JOB_SECONDS,
        )


@access.as_service()
def _check_stored(person_id: int, may: Allowed, *, n_bytes: int) -> None:
    if not may.stored_gb:
        return
    sizes = Recording.objects.filter(owner=person_id).aggregate(n=Sum("size"))
    stored = sizes["n"] or 0
    left = max(may.stored_gb * GB - stored, 0)
    if n_bytes > left:
        raise LimitReached(
            f"Your recordings take {stored / GB:.2f} of the {may.stored_gb} GB that you may store: "
            f"{left / GB:.2f} GB are left, and this one takes {n_bytes / GB:.2f}. Delete some first.",
            wait=STORED_SECONDS,
        )


def _check_audio(person_id: int, may: Allowed, *, seconds: float) -> None:
    if not may.audio_minutes:
        return
    used = _used(person_id, Use.Kind.AUDIO)
    left = max(60.0 * may.audio_minutes - used, 0.0)
    if seconds > left or not left:
        wait = _seconds_until_free(person_id, Use.Kind.AUDIO, max(seconds - left, 1.0))
        raise LimitReached(
            f"You have used {used / 60:.1f} of the {may.audio_minutes} minutes of audio that you may "
            f"have transcribed within 24 hours: {left / 60:.1f} are left, and this recording has "
            f"{_minutes(seconds)}. Try again in {_in_words(wait)}.",
            wait=wait,
        )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds else "some"


# ---- What was used


def _today(person_id: int, kind: Use.Kind) -> "QuerySet[Use]":
    return Use.objects.filter(person=person_id, kind=kind, at__gt=Now() - DAY)


def _used(person_id: int, kind: Use.Kind) -> float:
    total = _today(person_id, kind).aggregate(total=Sum("amount"))["total"]
    return float(total or 0.0)


def _seconds_until_free(person_id: int, kind: Use.Kind, amount: float) -> float:
    """Seconds until so much of what was used is a day ago; those of a day if it never is so much."""
    freed = 0.0
    rows = _today(person_id, kind).order_by("at")
    for used, at in rows.values_list("amount", "at"):
        freed += used
        if freed >= amount:
            return (at + DAY - timezone.now()).total_seconds()
    return DAY.total_seconds()


def _in_words(seconds: float) -> str:
    now = timezone.now()
    return timeuntil(now + timedelta(seconds=max(seconds, 60.0)), now, depth=1)


def connect() -> None:
    """Listen to the questions of `transcription`."""
    hooks.before_upload.connect(on_upload, dispatch_uid="limits")
    hooks.before_job.connect(on_job, dispatch_uid="limits")
    hooks.before_retry.connect(on_retry, dispatch_uid="limits")
    hooks.before_retranslation.connect(on_retranslation, dispatch_uid="limits")
    hooks.before_language_model.connect(on_language_model, dispatch_uid="limits")
    hooks.recording_read.connect(on_recording_read, dispatch_uid="limits")
