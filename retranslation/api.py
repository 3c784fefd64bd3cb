"""The Retranslation API: validate, call one function, answer in the documented shape.

Who asks waits for the answer. The web process loads no model: it keeps what was asked for as a row, and looks at
the row until a worker is done with it.
"""

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, status
from rest_framework.decorators import api_view, parser_classes
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError

from retranslation import proposals, services
from retranslation import serializers as shapes
from retranslation.models import Batch, Retranslation
from transcription.editing.changes import ConflictError
from transcription.leasing.registry import INTERACTIVE
from transcription.models import Job, Leased
from transcription.recordings import has_samples
from transcription.request_checks import (
    Conflict,
    find_job,
    not_completed,
    person,
    probe_upload,
    require_weights,
    valid,
)
from transcription.serializers import Problem
from transcription.speech import catalogue
from transcription.speech.engines.base import Span
from transcription.transcript.suspects import find_suspects

LOOK_SECONDS = 0.05
CLIP_SECONDS = 0.5
"""Where clips are cut and how they are encoded makes them so much longer or shorter."""
TOLERANCE_SECONDS = 0.1
"""So much beyond the end of a recording is how somebody rounded."""
OVER = (Leased.State.DONE, Leased.State.FAILED)
PROBLEMS: dict[int, Any] = dict.fromkeys((400, 404, 409, 503, 504), Problem)

_logger = logging.getLogger(__name__)


class TimedOut(exceptions.APIException):
    status_code = status.HTTP_504_GATEWAY_TIMEOUT


# ---- One range, while somebody waits


@extend_schema(
    request={"multipart/form-data": shapes.ClipRequest},
    responses={200: shapes.RetranslatedSegment, **PROBLEMS, 413: Problem},
)
@api_view(["POST"])
@parser_classes([MultiPartParser])
def segment(request: Request) -> Response:
    """Transcribe a clip of a recording once more."""
    wish = valid(shapes.ClipRequest, request.data)
    job = find_job(wish["job_id"]) if wish["job_id"] else None
    span = _asked_span(wish) if job is None else _span_inside(job, wish)
    require_weights(wish["model_name"], role=INTERACTIVE)
    upload: TemporaryUploadedFile = wish["file"]
    info = probe_upload(upload)
    if (info.duration or 0.0) > services.MOST_SECONDS:
        raise ValidationError(
            {
                "file": f"The clip is {info.duration:.0f} s long; "
                f"{services.MOST_SECONDS:.0f} s are allowed. Send it in parts."
            }
        )
    if job is not None:
        _check_length(span, info.duration)
    asked = services.request_clip(
        upload=upload,
        job=job,
        segment_id=wish["segment_id"],
        span=span,
        model_name=_name_of(wish["model_name"], request.data),
        language=wish["language"],
        asked_by=person(request),
    )
    return _answer(asked)


@extend_schema(
    parameters=[shapes.JobQuery],
    request=shapes.RangeRequest,
    responses={200: shapes.RetranslatedSegment, **PROBLEMS},
)
@api_view(["POST"])
def segment_from_full(request: Request) -> Response:
    """Transcribe a range of a stored recording once more."""
    job = find_job(valid(shapes.JobQuery, request.query_params)["job_id"])
    wish = valid(shapes.RangeRequest, request.data)
    span = _span_inside(job, wish)
    if not has_samples(job.recording, span):
        raise Http404("The recording's audio is gone: it was deleted, or expired. Upload it again.")
    require_weights(wish["model_name"], role=INTERACTIVE)
    asked = services.request_range(
        job=job,
        segment_id=wish["segment_id"],
        span=span,
        model_name=_name_of(wish["model_name"], request.data),
        language=wish["language"],
        asked_by=person(request),
    )
    return _answer(asked)


def _check_length(span: Span, seconds: float | None) -> None:
    """A clip whose words are to take the place of others must be as long as these."""
    if seconds is not None and abs(seconds - span.duration) > max(
        CLIP_SECONDS, 0.1 * span.duration
    ):
        raise ValidationError(
            {
                "file": f"The clip is {seconds:.2f} s long, the range {span.duration:.2f} s: "
                "send what lies between start_time and end_time."
            }
        )


def _asked_span(wish: dict[str, Any]) -> Span:
    return Span(wish["start_time"], wish["end_time"])


def _span_inside(job: Job, wish: dict[str, Any]) -> Span:
    """The range, which must lie in the job's recording."""
    span, duration = _asked_span(wish), job.recording.duration
    if duration is None:
        raise Conflict(f"The recording has not been read to its end. Its job says: {job.message}.")
    if span.end > duration + TOLERANCE_SECONDS or span.start >= duration:
        raise ValidationError(
            {"end_time": f"The range lies outside the recording, which is {duration:.3f} s long."}
        )
    return Span(span.start, min(span.end, duration))


def _name_of(model: catalogue.ModelInfo, data: Any) -> str:
    """The model's name; in the form `whisper-base`, as documented, where it was asked for in that form."""
    written = str(data.get("model_name", shapes.DEFAULT_MODEL)).strip().lower()
    long_name = f"whisper-{model.name}"
    return long_name if written == long_name else model.name


def _answer(asked: Retranslation) -> Response:
    """Wait for what comes out. Each request has a thread of its own, so this one holds up nobody."""
    deadline = time.monotonic() + services.seconds_to_wait(asked)
    while True:
        asked = _find(str(asked.pk))
        if asked.state == Leased.State.DONE:
            return Response(_result(asked))
        if asked.state == Leased.State.FAILED:
            require_weights(catalogue.resolve(asked.model_name), role=INTERACTIVE)
            raise Conflict(f"The retranslation failed: {asked.error}")
        if time.monotonic() > deadline:
            raise TimedOut(
                f"No result within {services.seconds_to_wait(asked):.0f} s. It is still worked at, and "
                f"kept when it is there: GET /api/retranslate/{asked.pk}"
            )
        time.sleep(LOOK_SECONDS)


def _result(made: Retranslation) -> dict[str, Any]:
    return {
        "segment_id": made.segment_id,
        "text": made.text,
        "confidence": made.confidence,
        "speaker": made.speaker,
        "model_used": made.model_used,
        "id": str(made.pk),
        "start_time": made.start,
        "end_time": made.end,
    }


# ---- What there is, and what is decided


@extend_schema(
    operation_id="api_retranslate_list",
    parameters=[shapes.ListQuery],
    responses={200: shapes.Retranslations, 400: Problem, 404: Problem},
)
@api_view(["GET", "HEAD"])
def list_retranslations(request: Request) -> Response:
    """Retranslations, the newest first; of a job, or of one of its segments with the segment's history."""
    query = valid(shapes.ListQuery, request.query_params)
    found, history = Retranslation.objects.all(), None
    if "job_id" in query:
        job = find_job(query["job_id"])
        found = found.filter(job=job)
    if "segment_id" in query:
        written = query["segment_id"]
        of_segment = Q(segment_id=written)
        pk = _segment_pk(written)
        if pk is not None:
            of_segment |= Q(changes__segment_pk=pk)
        found = found.filter(of_segment).distinct()
        if "job_id" in query:
            history = [] if pk is None else _history(job, pk)
    documents = _documents(found.order_by("-created_at")[: query["limit"]])
    answer = {"retranslations": documents, "count": len(documents)}
    return Response(answer if history is None else {**answer, "history": history})


def _segment_pk(written: str) -> int | None:
    """The segment of the transcript that is meant, if one is; a client's own names are no numbers."""
    return int(written) if written.isascii() and written.isdigit() and len(written) < 19 else None


def _history(job: Job, segment_pk: int) -> list[dict[str, Any]]:
    return [
        {
            "retranslation_id": str(change.retranslation_id),
            "old_text": None if change.before is None else change.before["text"],
            "new_text": None if change.after is None else change.after["text"],
            "model_used": change.retranslation.model_used,
            "decision": change.retranslation.decision,
            "decided_by": change.retranslation.decided_by,
        }
        for change in proposals.history(job=job, segment_pk=segment_pk)
    ]


def _documents(found: "QuerySet[Retranslation]") -> list[dict[str, Any]]:
    return [proposals.document(row) for row in found.prefetch_related("changes")]


@extend_schema(responses={200: shapes.Retranslation, 404: Problem})
@api_view(["GET", "HEAD"])
def retranslation(request: Request, retranslation_id: str) -> Response:
    """One retranslation, with what accepting it changes."""
    return Response(proposals.document(_find(retranslation_id)))


@extend_schema(request=None, responses={200: shapes.Retranslation, 404: Problem, 409: Problem})
@api_view(["POST"])
def accept(request: Request, retranslation_id: str) -> Response:
    """Put it into the transcript. 409 where the transcript changed meanwhile, or it is decided already."""
    return _decide(request, retranslation_id, proposals.accept)


@extend_schema(request=None, responses={200: shapes.Retranslation, 404: Problem, 409: Problem})
@api_view(["POST"])
def reject(request: Request, retranslation_id: str) -> Response:
    """Drop it; the transcript stays as it is."""
    return _decide(request, retranslation_id, proposals.reject)


@extend_schema(request=None, responses={200: shapes.Retranslation, 404: Problem, 409: Problem})
@api_view(["POST"])
def undo(request: Request, retranslation_id: str) -> Response:
    """Take back what was decided: the transcript is then as it was before."""
    return _decide(request, retranslation_id, proposals.undo)


def _decide(request: Request, written_id: str, decide: Callable[..., dict[str, Any]]) -> Response:
    found = _find(written_id)
    try:
        document = decide(retranslation_id=found.pk, decided_by=person(request))
    except ConflictError as error:
        raise Conflict(str(error)) from error
    except Retranslation.DoesNotExist:
        raise Http404("Retranslation not found") from None  # it was deleted meanwhile
    return Response(document)


def _find(written_id: str) -> Retranslation:
    try:
        return Retranslation.objects.get(pk=UUID(written_id))
    except (ValueError, Retranslation.DoesNotExist):
        raise Http404("Retranslation not found") from None


# ---- All that is suspect


@extend_schema(
    parameters=[shapes.SuspectsQuery],
    request=None,
    responses={200: shapes.BatchStarted, 400: Problem, 404: Problem, 409: Problem, 503: Problem},
)
@api_view(["POST"])
def suspects(request: Request) -> Response:
    """Transcribe all that is suspect once more, in the background; each result is accepted or rejected."""
    query = valid(shapes.SuspectsQuery, request.query_params)
    job, model = find_job(query["job_id"]), query["model_name"]
    if job.status != Job.Status.COMPLETED:
        raise Conflict(not_completed(job))
    if job.language and model.is_english_only and job.language != "en":
        raise ValidationError(
            {
                "model_name": f"{model.name} knows English alone; the job's language is {job.language}."
            }
        )
    if not has_samples(job.recording, Span(0.0, job.recording.duration or 0.0)):
        raise Http404("The recording's audio is gone: it was deleted, or expired. Upload it again.")
    require_weights(model, role=INTERACTIVE)
    batch = services.request_suspects(
        job=job,
        suspects=find_suspects(job=job),
        model_name=_name_of(model, request.query_params),
        asked_by=person(request),
    )
    return Response(_batch_status(batch))


@extend_schema(responses={200: shapes.BatchStatus, 404: Problem})
@api_view(["GET", "HEAD"])
def batch_status(request: Request, batch_id: str) -> Response:
    """How far the background job is, and what came out so far, in order of time."""
    try:
        batch = Batch.objects.get(pk=UUID(batch_id))
    except (ValueError, Batch.DoesNotExist):
        raise Http404("Background job not found") from None
    return Response(
        {
            **_batch_status(batch),
            "retranslations": _documents(batch.retranslations.order_by("start")),
        }
    )


def _batch_status(batch: Batch) -> dict[str, Any]:
    state, progress, message = services.standing(batch)
    return {"job_id": str(batch.pk), "status": state, "progress": progress, "message": message}
