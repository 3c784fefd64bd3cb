"""The pages: upload and the list of jobs, and the review of one. Server-rendered, on the services of the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.middleware import HtmxDetails

from transcription.jobs import lifecycle, retry_and_delete
from transcription.jobs.installed_models import list_models
from transcription.jobs.status import status_messages
from transcription.models import Job, Segment
from transcription.request_checks import find_job
from transcription.serializers import MOST_SPEAKERS, TranscriptionRequest
from transcription.speech import catalogue, fetching
from transcription.speech.diarization.loading import TAKE_A_COUNT
from transcription.transcript import search
from transcription.transcript.exports import FORMATS

STATIC = Path(__file__).parent / "static"
REVIEW_MODULES = sorted(
    path.relative_to(STATIC).as_posix() for path in STATIC.glob("transcription/review/*.js")
)
"""Fetched at once by the page: a module that is known only from another's imports would be waited for."""
FORMAT_TITLES = {
    "srt": "SRT, subtitles",
    "vtt": "VTT, subtitles",
    "txt": "Text",
    "docx": "Word (DOCX)",
    "csv": "CSV, a table",
    "json": "JSON, as from the API",
}
REVIEW_SPEEDS = ("0.5", "0.75", "1", "1.25", "1.5", "1.75", "2", "2.5", "3")
JOBS_A_PAGE = 20
STATUS_FILTERS: dict[str, tuple[str, tuple[Job.Status, ...]]] = {
    "active": ("Under way", Job.ACTIVE),
    "completed": ("Completed", (Job.Status.COMPLETED,)),
    "failed": ("Failed", (Job.Status.FAILED,)),
    "cancelled": ("Cancelled", (Job.Status.CANCELLED,)),
}
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self' ws: wss:",
        "object-src 'none'",
        "base-uri 'self'",
        "frame-ancestors 'none'",
    )
)
View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """For whole pages: they run no script but the service's own, are never shown as they once were, and an
    unknown job is answered for people to read."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            response = gone(request)
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response["Cache-Control"] = "no-cache, private"
        return response

    return require_safe(answer)


def gone(request: HttpRequest) -> HttpResponse:
    return render(request, "transcription/gone.html", status=404)


# ---- Upload, and the jobs below


class HtmxRequest(HttpRequest):
    htmx: HtmxDetails


@dataclass(frozen=True, slots=True)
class Row:
    """A job as the list shows it."""

    job: Job
    message: str
    duration: timedelta | None
    excerpts: Sequence[search.Excerpt]
    last_segment: int | None
    """What its listener need not be sent, if it is under way."""

    @property
    def is_active(self) -> bool:
        return self.job.status in Job.ACTIVE

    @property
    def can_be_retried(self) -> bool:
        return self.job.status in (Job.Status.FAILED, Job.Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    name: str
    size_mb: float
    description: str
    languages: str
    """Codes, with blanks between."""


@page
@vary_on_headers("HX-Request", "HX-History-Restore-Request")
def app(request: HtmxRequest) -> HttpResponse:
    """Upload, and the jobs below; to htmx the list of jobs alone."""
    if request.htmx and not request.htmx.history_restore_request:
        return render(request, "transcription/_jobs.html", _listed(request))
    takes_count = settings.TRANSCRIBER_DIARIZATION_ENGINE in TAKE_A_COUNT
    context = {
        **_listed(request),
        "statuses": {name: label for name, (label, _) in STATUS_FILTERS.items()},
        "models": _models(downloaded=True),
        "default_model": TranscriptionRequest().fields["model_name"].get_default(),
        "most_speakers": MOST_SPEAKERS if takes_count else None,
        "max_bytes": settings.TRANSCRIBER_MAX_UPLOAD_BYTES,
    }
    return render(request, "transcription/app.html", context)


@require_safe
def downloadable_models(request: HttpRequest) -> HttpResponse:
    """The models that would be downloaded, while the hub can be reached. Apart from the page: it may take seconds."""
    found = _models(downloaded=False)
    # One stands for all: they lie in the same place, and each that is asked for may take seconds.
    is_there = bool(found) and fetching.can_download(
        catalogue.MODELS[found[0].name], engine=settings.TRANSCRIBER_ENGINE
    )
    return render(
        request, "transcription/_job_models.html", {"downloadable": found if is_there else ()}
    )


@require_safe
def job_row(request: HttpRequest, job_id: str) -> HttpResponse:
    """A job's row in the list, as it stands now."""
    return _answer_row(request, job_id)


@require_POST
def retry(request: HttpRequest, job_id: str) -> HttpResponse:
    """Begin again with what failed or was cancelled; answers with the row."""
    job = find_job(job_id)
    if not retry_and_delete.retry_failed(job_id=job.pk):
        return _refused(job, "there is nothing to try again.")
    return _answer_row(request, job_id)


@require_POST
def cancel(request: HttpRequest, job_id: str) -> HttpResponse:
    """End a job that is under way; answers with the row."""
    job = find_job(job_id)
    if not lifecycle.cancel_job(job_id=job.pk):
        return _refused(job, "there is nothing to cancel any more.")
    return _answer_row(request, job_id)


@require_POST
def delete(request: HttpRequest, job_id: str) -> HttpResponse:
    """Delete a job with all that was made of it, and its recording; answers with the list."""
    job = find_job(job_id)
    retry_and_delete.delete_job(
        job_id=job.pk
    )  # False: somebody was first, and nothing is left to do
    return render(request, "transcription/_jobs.html", _listed(request))


def _answer_row(request: HttpRequest, job_id: str) -> HttpResponse:
    row = _rows([find_job(job_id)], text=_text(request))[0]
    return render(request, "transcription/_job.html", {"row": row})


def _refused(job: Job, why: str) -> HttpResponse:
    """409 where somebody was first, or the work itself."""
    status = Job.objects.filter(pk=job.pk).values_list("status", flat=True).first() or "deleted"
    return JsonResponse({"detail": f"The job is {status}: {why}"}, status=409)


def _listed(request: HttpRequest) -> dict[str, Any]:
    text, status = _text(request), request.GET.get("status", "")
    found = search.find_jobs(text=text)
    if status in STATUS_FILTERS:
        found = found.filter(status__in=STATUS_FILTERS[status][1])
    shown = Paginator(found, JOBS_A_PAGE).get_page(request.GET.get("page"))
    return {
        "text": text,
        "status": status,
        "page": shown,
        "rows": _rows(list(shown), text=text),
        "is_filtered": bool(text or status in STATUS_FILTERS),
    }


def _text(request: HttpRequest) -> str:
    return request.GET.get("q", "").strip()


def _rows(found: Sequence[Job], *, text: str) -> list[Row]:
    active = [job.pk for job in found if job.status in Job.ACTIVE]
    segments = Segment.objects.filter(job__in=active).order_by()
    last: dict[UUID, int] = dict(segments.values_list("job").annotate(Max("pk")))
    said = search.excerpts(text=text, jobs=found) if text else {}
    told = status_messages(found)
    return [
        Row(
            job,
            told[job.pk],
            _whole_seconds(job.recording.known_duration),
            said.get(job.pk, ()),
            last.get(job.pk),
        )
        for job in found
    ]


def _whole_seconds(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=round(seconds))


def _models(*, downloaded: bool) -> list[ModelChoice]:
    """The models that the engine can run and whose weights are here, or those whose are not."""
    return [
        ModelChoice(
            name=model.name,
            size_mb=model.size_mb,
            description=model.description,
            languages=" ".join(sorted(catalogue.languages(catalogue.MODELS[model.name]))),
        )
        for model in list_models()
        if model.is_downloaded == downloaded
    ]


# ---- Review


@page
def review(request: HttpRequest, job_id: str) -> HttpResponse:
    """One job: its transcript, to be heard and put right."""
    job = find_job(job_id)
    context = {
        "job": job,
        "message": status_messages([job])[job.pk],
        "facts": _facts(job),
        "modules": REVIEW_MODULES,
        "formats": [(name, FORMAT_TITLES[name]) for name in FORMATS],
        "most_speakers": MOST_SPEAKERS,
        "speeds": REVIEW_SPEEDS,
    }
    return render(request, "transcription/review.html", context)


def _facts(job: Job) -> dict[str, Any]:
    """What the page's scripts know of a job from the start."""
    return {
        "id": str(job.pk),
        "is_active": job.status in Job.ACTIVE,
        "is_completed": job.status == Job.Status.COMPLETED,
        "has_failed": job.status in (Job.Status.FAILED, Job.Status.CANCELLED),
        "duration": job.recording.known_duration,
        "status": job.status,
        "is_read": job.recording.duration is not None,
        "model_name": job.model_name,
        "language": job.language,
        "takes_count": settings.TRANSCRIBER_DIARIZATION_ENGINE in TAKE_A_COUNT,
    }
