"""The Summary API: validate, call one function, answer in the documented shape."""

import asyncio
import logging
from typing import Any

from asgiref.sync import async_to_sync
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import api_view, parser_classes
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError

from chat import services as chat
from chat.llm import loading
from chat.llm.base import LanguageModelError, Style
from summaries import serializers, services
from summaries.models import Summary
from transcription import access, hooks
from transcription.jobs.status import API_STATUS_OF_STATE
from transcription.models import Leased
from transcription.parsers import JSON_BODY, JSONParser, takes_body
from transcription.request_checks import find, validate
from transcription.serializers import JobStatus, Problem, Started

RESOLVE_SECONDS = 10.0
"""The timeout of the provider's model list, for which the client of a new summary waits."""

_logger = logging.getLogger(__name__)


@access.reads_only  # who may read a transcript may have it summarized
@takes_body(JSON_BODY)
@extend_schema(
    request=serializers.SummaryRequest,
    responses={200: Started, 400: Problem, 404: Problem, 409: Problem, 413: Problem},
)
@api_view(["POST"])
@parser_classes([JSONParser])
def start(request: Request) -> Response:
    """Start a summary of a transcript."""
    data = validate(serializers.SummaryRequest, request.data)
    transcript = chat.transcript_of(data)
    _require_model(data["model_name"])
    chat.count_request(data["model_name"], job_id=data.get("job_id"))
    summary = services.create_summary(
        transcript=transcript,
        transcription_id=data.get("job_id"),
        model_name=data["model_name"],
        style=Style(data["format"]),
        max_length=data["max_length"],
    )
    hooks.report(request._request, hooks.SUMMARIZE, summary)
    _logger.info("Summary %s: %s passages", summary.pk, len(transcript.passages))
    return Response({"job_id": str(summary.pk), "status": "processing", "message": summary.message})


def _require_model(name: str) -> None:
    """Raise ValidationError if no model has this name.

    A provider that is down raises nothing: it may be up again when the summary is made.
    """

    async def resolve() -> str:
        async with asyncio.timeout(RESOLVE_SECONDS):
            return await loading.resolve(name, chat.provider())

    try:
        async_to_sync(resolve)()
    except loading.UnknownModelError as error:
        raise ValidationError({"model_name": [str(error)]}) from error
    except (LanguageModelError, TimeoutError) as error:
        _logger.warning("The model of a summary could not be checked: %s", error)


@extend_schema(responses={200: JobStatus, 404: Problem})
@api_view(["GET", "HEAD"])
def summary_status(request: Request, job_id: str) -> Response:
    """The status and progress of a summary."""
    return Response(_status_document(_find_summary(job_id)))


@extend_schema(
    responses={200: serializers.SummaryResult, 202: JobStatus, 404: Problem, 409: Problem},
)
@api_view(["GET", "HEAD"])
def result(request: Request, job_id: str) -> Response:
    """The summary. 202 with its status while it is being made, 409 if it failed."""
    summary = _find_summary(job_id)
    if summary.state == Leased.State.FAILED:
        return Response(
            {"detail": f"The summary failed: {summary.message}"}, status=status.HTTP_409_CONFLICT
        )
    if summary.state != Leased.State.DONE:
        return Response(_status_document(summary), status=status.HTTP_202_ACCEPTED)
    return Response(
        {
            "summary": summary.summary,
            "topics": summary.topics,
            "length": summary.length,
            "model_used": summary.model_used,
        }
    )


def _status_document(summary: Summary) -> dict[str, Any]:
    return {
        "job_id": str(summary.pk),
        "status": API_STATUS_OF_STATE[Leased.State(summary.state)],
        "message": summary.message,
        "progress": summary.progress,
        "updated_at": summary.updated_at.timestamp(),
    }


def _find_summary(summary_id: str) -> Summary:
    return find(
        Summary.objects.defer("transcript", "partials"), summary_id, missing="Summary not found"
    )
