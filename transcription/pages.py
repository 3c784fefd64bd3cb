"""Server-rendered pages: upload with the list of jobs, and the review of one job. They use the API's services."""

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

from transcription import access, hooks
from transcription.jobs import lifecycle, retry_and_delete
from transcription.jobs.installed_models import list_models
from transcription.jobs.status import status_messages
from transcription.models import Job, Segment, Share
from transcription.request_checks import find_job
from transcription.serializers import MAX_SPEAKERS, TranscriptionRequest
from transcription.sharing import links, services
from transcription.speech import catalogue, fetching
from transcription.speech.diarization.loading import TAKE_A_COUNT
from transcription.transcript import search
from transcription.transcript.exports import FORMATS

STATIC = Path(__file__).parent / "static"
REVIEW_MODULES = sorted(
    path.relative_to(STATIC).as_posix() for path in STATIC.glob("transcription/review/*.js")
)
"""Preloaded by the page: otherwise each level of imports costs a round trip."""
FORMAT_TITLES = {
    "srt": "SRT, subtitles",
    "vtt": "VTT, subtitles",
    "txt": "Text",
    "docx": "Word (DOCX)",
    "csv": "CSV, a table",
    "json": "JSON, as from the API",
}
REVIEW_SPEEDS = ("0.5", "0.75", "1", "1.25", "1.5", "1.75", "2", "2.5", "3")
JOBS_PER_PAGE = 20
STATUS_FILTERS: dict[str, tuple[str, tuple[Job.Status, ...]]] = {
    "active": ("In progress", Job.ACTIVE),
    "completed": ("Completed", (Job.Status.COMPLETED,)),
    "failed": ("Failed", (Job.Status.FAILED,)),
    "cancelled": ("Cancelled", (Job.Status.CANCELLED,)),
}
View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """Decorate a view of a whole page: make the browser revalidate its cached copy, and answer an unknown job with
    an HTML page."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            response = job_not_found(request)
        response["Cache-Control"] = "no-cache, private"
        return response

    return require_safe(wrapper)


def job_not_found(request: HttpRequest) -> HttpResponse:
    return render(request, "transcription/job_not_found.html", status=404)


# ---- Upload and the list of jobs


class HtmxRequest(HttpRequest):
    htmx: HtmxDetails


@dataclass(frozen=True, slots=True)
class Row:
    """A job in the list."""

    job: Job
    message: str
    duration: timedelta | None
    excerpts: Sequence[search.Excerpt]
    last_segment: int | None
    """The id of its last segment, if the job is active: its WebSocket starts after that."""
    sharing: services.SharedByOther | None
    """By whom the recording is shared with who asks, and as what; None if it is their own."""

    @property
    def can_change(self) -> bool:
        return self.sharing is None or self.sharing.can_change

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
    """Codes, separated by spaces."""


@page
@vary_on_headers("HX-Request", "HX-History-Restore-Request")
def app(request: HtmxRequest) -> HttpResponse:
    """Upload and the list of jobs; for htmx only the list."""
    if request.htmx and not request.htmx.history_restore_request:
        return render(request, "transcription/_jobs.html", _list_context(request))
    takes_count = settings.TRANSCRIBER_DIARIZATION_ENGINE in TAKE_A_COUNT
    context = {
        **_list_context(request),
        "statuses": {name: label for name, (label, _) in STATUS_FILTERS.items()},
        "models": _models(downloaded=True),
        "default_model": TranscriptionRequest().fields["model_name"].get_default(),
        "max_speakers": MAX_SPEAKERS if takes_count else None,
        "max_bytes": settings.TRANSCRIBER_MAX_UPLOAD_BYTES,
    }
    return render(request, "transcription/app.html", context)


@require_safe
def downloadable_models(request: HttpRequest) -> HttpResponse:
    """The models that can be downloaded, if the model hub answers. A separate request: that may take seconds."""
    downloadable = _models(downloaded=False)
    # Check one model only: all are on the same hub, and each check may take seconds.
    is_available = bool(downloadable) and fetching.can_download(
        catalogue.MODELS[downloadable[0].name], engine=settings.TRANSCRIBER_ENGINE
    )
    return render(
        request,
        "transcription/_job_models.html",
        {"downloadable": downloadable if is_available else ()},
    )


@require_safe
def job_row(request: HttpRequest, job_id: str) -> HttpResponse:
    """The job's row in the list."""
    return _render_row(request, job_id)


@require_POST
def retry(request: HttpRequest, job_id: str) -> HttpResponse:
    """Retry the failed or cancelled parts of a job. Returns the row, or 409 if there are none."""
    job = find_job(job_id)
    if not retry_and_delete.retry_failed(job_id=job.pk):
        return _conflict(job, "there is nothing to retry.")
    hooks.report(request, hooks.RETRY, job)
    return _render_row(request, job_id)


@require_POST
def cancel(request: HttpRequest, job_id: str) -> HttpResponse:
    """Cancel an active job. Returns the row, or 409 if the job has ended."""
    job = find_job(job_id)
    if not lifecycle.cancel_job(job_id=job.pk):
        return _conflict(job, "it cannot be cancelled.")
    hooks.report(request, hooks.CANCEL, job)
    return _render_row(request, job_id)


@require_POST
def delete(request: HttpRequest, job_id: str) -> HttpResponse:
    """Delete a job with its results and its recording. Returns the list."""
    job = find_job(job_id)
    access.refuse_but_owner(job.recording, to="delete")
    if retry_and_delete.delete_job(job_id=job.pk):  # else another request was first
        hooks.report(request, hooks.DELETE, job, object_id=job_id)
    with access.to_read():
        return render(request, "transcription/_jobs.html", _list_context(request))


def _render_row(request: HttpRequest, job_id: str) -> HttpResponse:
    row = _rows([find_job(job_id)], text=_search_text(request))[0]
    return render(request, "transcription/_job.html", {"row": row})


def _conflict(job: Job, why: str) -> HttpResponse:
    """409 with the job's current status: another request, or a worker, may have changed it meanwhile."""
    status = Job.objects.filter(pk=job.pk).values_list("status", flat=True).first() or "deleted"
    return JsonResponse({"detail": f"The job is {status}: {why}"}, status=409)


def _list_context(request: HttpRequest) -> dict[str, Any]:
    hooks.report_list(request, Job)
    text, status = _search_text(request), request.GET.get("status", "")
    jobs = search.find_jobs(text=text)
    if status in STATUS_FILTERS:
        jobs = jobs.filter(status__in=STATUS_FILTERS[status][1])
    jobs_page = Paginator(jobs, JOBS_PER_PAGE).get_page(request.GET.get("page"))
    return {
        "text": text,
        "status": status,
        "page": jobs_page,
        "rows": _rows(list(jobs_page), text=text),
        "is_filtered": bool(text or status in STATUS_FILTERS),
    }


def _search_text(request: HttpRequest) -> str:
    return request.GET.get("q", "").strip()


def _rows(jobs: Sequence[Job], *, text: str) -> list[Row]:
    active = [job.pk for job in jobs if job.status in Job.ACTIVE]
    segments = Segment.objects.filter(job__in=active).order_by()
    last_segments: dict[UUID, int] = dict(segments.values_list("job").annotate(Max("pk")))
    excerpts = search.excerpts(text=text, jobs=jobs) if text else {}
    for job in jobs:
        if job.pk in excerpts:
            hooks.report(None, hooks.READ, job)
    messages = status_messages(jobs)
    shared = services.shared_by_others(jobs)
    return [
        Row(
            job,
            messages[job.pk],
            _whole_seconds(job.recording.known_duration),
            excerpts.get(job.pk, ()),
            last_segments.get(job.pk),
            shared.get(job.pk),
        )
        for job in jobs
    ]


def _whole_seconds(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=round(seconds))


def _models(*, downloaded: bool) -> list[ModelChoice]:
    """The models that the engine can run and whose weights are, or are not, downloaded."""
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


@access.open_to_links
@page
def review(request: HttpRequest, job_id: str) -> HttpResponse:
    """One job: play and correct its transcript."""
    job = find_job(job_id)
    facts = _facts(request, job)
    context = {
        "job": job,
        "message": status_messages([job])[job.pk],
        "facts": facts,
        "modules": REVIEW_MODULES,
        "formats": [(name, FORMAT_TITLES[name]) for name in FORMATS],
        "max_speakers": MAX_SPEAKERS,
        "speeds": REVIEW_SPEEDS,
    }
    if facts["can_share"]:
        context |= {
            "roles": Share.Role.choices,
            "own_groups": services.own_groups(),
            "link_days": links.DEFAULT_DAYS,
            "max_link_days": links.MAX_DAYS,
        }
    return render(request, "transcription/review.html", context)


def _facts(request: HttpRequest, job: Job) -> dict[str, Any]:
    """The job's data for the page's scripts, embedded in the page as JSON, with what may be done to it."""
    is_link, is_owner = access.is_link(), access.is_owner(job.recording)
    chat_links = links.opened_recordings(request.COOKIES, for_chat=True) if is_link else ()
    return {
        "id": str(job.pk),
        "is_active": job.status in Job.ACTIVE,
        "is_completed": job.status == Job.Status.COMPLETED,
        "has_failed": job.status in (Job.Status.FAILED, Job.Status.CANCELLED),
        "duration": job.recording.known_duration,
        "status": job.status,
        "is_decoded": job.recording.duration is not None,
        "model_name": job.model_name,
        "language": job.language,
        "takes_count": settings.TRANSCRIBER_DIARIZATION_ENGINE in TAKE_A_COUNT,
        "can_change": access.can_change(job),
        "can_share": is_owner and settings.TRANSCRIBER_ACCOUNTS != "off",
        "can_chat": not is_link or job.recording_id in chat_links,
        "is_owner": is_owner,
        "is_link": is_link,
    }
