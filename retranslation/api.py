"""The Retranslation API: validate, call one function, answer in the documented shape.

A request waits for its result. The web process loads no model: it saves the request as a row, and waits until a
worker has finished it.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db.models import Q, QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, status
from rest_framework.decorators import api_view, parser_classes
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError

from retranslation import proposals, serializers, services, waiting
from retranslation.models import Batch, Retranslation
from transcription import access, hooks
from transcription.editing.changes import ConflictError
from transcription.leasing.registry import INTERACTIVE
from transcription.models import Job, Leased
from transcription.parsers import UPLOAD, MultiPartParser, NoForm, takes_body
from transcription.recordings import has_samples
from transcription.request_checks import (
    Conflict,
    find,
    find_job,
    not_completed_message,
    probe_upload,
    requester,
    require_one_file,
    require_weights,
    validate,
)
from transcription.serializers import Problem
from transcription.speech import catalogue
from transcription.speech.engines.base import Span
from transcription.transcript.suspects import find_suspects

CLIP_TOLERANCE_SECONDS = 0.5
"""How much a clip's length may differ from its range's: cutting and encoding change it."""
END_TOLERANCE_SECONDS = 0.1
"""How far a range may extend beyond the recording, because clients round times."""
PROBLEMS: dict[int, Any] = dict.fromkeys((400, 404, 409, 503, 504), Problem)

_logger = logging.getLogger(__name__)


class TimedOut(exceptions.APIException):
    status_code = status.HTTP_504_GATEWAY_TIMEOUT


# ---- One range


@takes_body(UPLOAD)
@extend_schema(
    request={"multipart/form-data": serializers.ClipRequest},
    responses={200: serializers.RetranslatedSegment, **PROBLEMS, 413: Problem, 507: Problem},
)
@api_view(["POST"])
@parser_classes([MultiPartParser, NoForm])
def retranslate_clip(request: Request) -> Response:
    """Transcribe a clip of a recording again."""
    require_one_file(request)
    data = validate(serializers.ClipRequest, request.data)
    job = find_job(data["job_id"]) if data["job_id"] else None
    span = _requested_span(data) if job is None else _span_in_recording(job, data)
    require_weights(data["model_name"], role=INTERACTIVE)
    upload: TemporaryUploadedFile = data["file"]
    info = probe_upload(upload)
    if (info.duration or 0.0) > services.MAX_SECONDS:
        raise ValidationError(
            {
                "file": f"The clip is {info.duration:.0f} s long; "
                f"at most {services.MAX_SECONDS:.0f} s are allowed. Send it in parts."
            }
        )
    if job is not None:
        _check_length(span, info.duration)
    requested = _requested_range(request, data, span)
    row = services.request_clip(upload=upload, job=job, requested=requested)
    hooks.report(request._request, hooks.RETRANSLATE, row)
    return _wait_for_result(row)


@extend_schema(
    parameters=[serializers.JobQuery],
    request=serializers.RangeRequest,
    responses={200: serializers.RetranslatedSegment, **PROBLEMS},
)
@api_view(["POST"])
def retranslate_range(request: Request) -> Response:
    """Transcribe a range of a stored recording again."""
    job = find_job(validate(serializers.JobQuery, request.query_params)["job_id"])
    data = validate(serializers.RangeRequest, request.data)
    span = _span_in_recording(job, data)
    _require_samples(job, span)
    require_weights(data["model_name"], role=INTERACTIVE)
    requested = _requested_range(request, data, span)
    row = services.request_range(job=job, requested=requested)
    hooks.report(request._request, hooks.RETRANSLATE, row)
    return _wait_for_result(row)


def _requested_range(request: Request, data: dict[str, Any], span: Span) -> services.RequestedRange:
    return services.RequestedRange(
        segment_id=data["segment_id"],
        span=span,
        model_name=_requested_name(data["model_name"], request.data),
        language=data["language"],
        asked_by=requester(request),
    )


def _require_samples(job: Job, span: Span) -> None:
    if not has_samples(job.recording, span):
        raise Http404("The recording's audio was deleted or has expired. Upload it again.")


def _check_length(span: Span, seconds: float | None) -> None:
    """Raise ValidationError if a clip of a job is not as long as its range, whose words it is to replace."""
    tolerance = max(CLIP_TOLERANCE_SECONDS, 0.1 * span.duration)
    if seconds is not None and abs(seconds - span.duration) > tolerance:
        raise ValidationError(
            {
                "file": f"The clip is {seconds:.2f} s long, the range {span.duration:.2f} s. "
                "Send the audio from start_time to end_time."
            }
        )


def _requested_span(data: dict[str, Any]) -> Span:
    return Span(data["start_time"], data["end_time"])


def _span_in_recording(job: Job, data: dict[str, Any]) -> Span:
    """The requested range, limited to the end of the recording. Raises ValidationError and Conflict."""
    span, duration = _requested_span(data), job.recording.duration
    if duration is None:
        raise Conflict(
            f"The recording has not been read to its end yet. Its job says: {job.message}."
        )
    if span.end > duration + END_TOLERANCE_SECONDS or span.start >= duration:
        raise ValidationError(
            {
                "end_time": f"The range must lie within the recording, which is {duration:.3f} s long."
            }
        )
    return Span(span.start, min(span.end, duration))


def _requested_name(model: catalogue.ModelInfo, data: Any) -> str:
    """The model's name; in the documented form `whisper-base` if the client sent it in that form."""
    sent = str(data.get("model_name", serializers.DEFAULT_MODEL)).strip().lower()
    long_name = f"whisper-{model.name}"
    return long_name if sent == long_name else model.name


def _wait_for_result(row: Retranslation) -> Response:
    """Wait until the row has ended. Raises Conflict if it failed, TimedOut if it takes too long.

    Each request has a thread of its own, so this blocks no other.
    """
    timeout = services.timeout_seconds(row)
    waiting.wait_for_end(row.pk, seconds=timeout)
    row = _find_retranslation(str(row.pk))
    if row.state == Leased.State.DONE:
        return Response(_result_document(row))
    if row.state == Leased.State.FAILED:
        require_weights(catalogue.resolve(row.model_name), role=INTERACTIVE)
        raise Conflict(f"The retranslation failed: {row.error}")
    raise TimedOut(
        f"There was no result within {timeout:.0f} s. The work goes on, and the result "
        f"will be kept: GET /api/retranslate/{row.pk}"
    )


def _result_document(row: Retranslation) -> dict[str, Any]:
    return {
        "segment_id": row.segment_id,
        "text": row.text,
        "confidence": row.confidence,
        "speaker": row.speaker,
        "model_used": row.model_used,
        "id": str(row.pk),
        "start_time": row.start,
        "end_time": row.end,
    }


# ---- Proposals and decisions


@extend_schema(
    operation_id="api_retranslate_list",
    parameters=[serializers.ListQuery],
    responses={200: serializers.Retranslations, 400: Problem, 404: Problem},
)
@api_view(["GET", "HEAD"])
def list_retranslations(request: Request) -> Response:
    """Retranslations, newest first: all, a job's, or a segment's. A job's segment comes with its history."""
    query = validate(serializers.ListQuery, request.query_params)
    rows, history = Retranslation.objects.all(), None
    if "job_id" in query:
        job = find_job(query["job_id"])
        rows = rows.filter(job=job)
    if "segment_id" in query:
        segment_id = query["segment_id"]
        is_of_segment = Q(segment_id=segment_id)
        pk = services.segment_pk(segment_id)
        if pk is not None:
            is_of_segment |= Q(changes__segment_pk=pk)
        rows = rows.filter(is_of_segment).distinct()
        if "job_id" in query:
            history = [] if pk is None else _history(job, pk)
    documents = _documents(_reported(rows.order_by("-created_at")[: query["limit"]]))
    answer = {"retranslations": documents, "count": len(documents)}
    return Response(answer if history is None else {**answer, "history": history})


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


def _reported(rows: "QuerySet[Retranslation]") -> "QuerySet[Retranslation]":
    """The rows; that those of others are read is reported."""
    if access.current().sees_all:
        return rows
    rows = rows.select_related("job__recording")
    for row in {row.job_id or row.pk: row for row in rows}.values():
        hooks.report(None, hooks.READ, row.job or row)
    return rows


def _documents(rows: "QuerySet[Retranslation]") -> list[dict[str, Any]]:
    return [proposals.document(row) for row in rows.prefetch_related("changes")]


@extend_schema(responses={200: serializers.Retranslation, 404: Problem})
@api_view(["GET", "HEAD"])
def get_retranslation(request: Request, retranslation_id: str) -> Response:
    """One retranslation, with the changes that accepting it makes."""
    return Response(proposals.document(_find_retranslation(retranslation_id)))


@extend_schema(request=None, responses={200: serializers.Retranslation, 404: Problem, 409: Problem})
@api_view(["POST"])
def accept(request: Request, retranslation_id: str) -> Response:
    """Apply it to the transcript. 409 if the transcript was changed since, or it is accepted or rejected already."""
    return _decide(request, retranslation_id, proposals.accept)


@extend_schema(request=None, responses={200: serializers.Retranslation, 404: Problem, 409: Problem})
@api_view(["POST"])
def reject(request: Request, retranslation_id: str) -> Response:
    """Reject it; the transcript is not changed."""
    return _decide(request, retranslation_id, proposals.reject)


@extend_schema(request=None, responses={200: serializers.Retranslation, 404: Problem, 409: Problem})
@api_view(["POST"])
def undo(request: Request, retranslation_id: str) -> Response:
    """Undo the decision, and restore the transcript if it was accepted."""
    return _decide(request, retranslation_id, proposals.undo)


def _decide(
    request: Request, retranslation_id: str, decide: Callable[..., dict[str, Any]]
) -> Response:
    row = _find_retranslation(retranslation_id)
    try:
        document = decide(retranslation_id=row.pk, decided_by=requester(request))
    except ConflictError as error:
        raise Conflict(str(error)) from error
    except Retranslation.DoesNotExist:
        raise Http404("Retranslation not found") from None  # deleted just now
    if row.job is not None:
        hooks.report(request._request, hooks.EDIT, row.job)
    return Response(document)


def _find_retranslation(retranslation_id: str) -> Retranslation:
    return find(Retranslation.objects.all(), retranslation_id, missing="Retranslation not found")


# ---- Batches


@extend_schema(
    parameters=[serializers.SuspectsQuery],
    request=None,
    responses={
        200: serializers.BatchStarted,
        400: Problem,
        404: Problem,
        409: Problem,
        503: Problem,
    },
)
@api_view(["POST"])
def retranslate_suspects(request: Request) -> Response:
    """Transcribe all suspects of a job again, in the background. Each result can be accepted or rejected."""
    query = validate(serializers.SuspectsQuery, request.query_params)
    job, model = find_job(query["job_id"]), query["model_name"]
    if job.status != Job.Status.COMPLETED:
        raise Conflict(not_completed_message(job))
    if job.language and model.is_english_only and job.language != "en":
        raise ValidationError(
            {
                "model_name": f"{model.name} transcribes English only; the job's language is {job.language}."
            }
        )
    _require_samples(job, Span(0.0, job.recording.duration or 0.0))
    require_weights(model, role=INTERACTIVE)
    batch = services.request_suspects(
        job=job,
        suspects=find_suspects(job=job),
        model_name=_requested_name(model, request.query_params),
        asked_by=requester(request),
    )
    hooks.report(request._request, hooks.RETRANSLATE, batch)
    return Response(_batch_document(batch))


@extend_schema(responses={200: serializers.BatchStatus, 404: Problem})
@api_view(["GET", "HEAD"])
def batch_status(request: Request, batch_id: str) -> Response:
    """The status of a background job, and its retranslations in order of time."""
    batch = find(Batch.objects.all(), batch_id, missing="Background job not found")
    return Response(
        {
            **_batch_document(batch),
            "retranslations": _documents(batch.retranslations.order_by("start")),
        }
    )


def _batch_document(batch: Batch) -> dict[str, Any]:
    progress = services.batch_progress(batch)
    return {
        "job_id": str(batch.pk),
        "status": progress.status,
        "progress": progress.percent,
        "message": progress.message,
    }
