"""The Summary API: validate, call one function, answer in the documented shape."""

import asyncio
import logging
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import api_view, parser_classes
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError

from chat import services as chat
from chat.llm import loading
from chat.llm.base import LanguageModelError, Style
from summaries import serializers as shapes
from summaries import services
from summaries.models import Summary
from transcriber_site.parsers import JSONParser
from transcription.models import Leased
from transcription.request_checks import valid
from transcription.serializers import JobStatus, Problem, Started

RESOLVE_SECONDS = 10.0
"""How long whoever asks for a summary is kept waiting for the provider to list its models."""
API_STATUS = {
    Leased.State.TODO: "processing",
    Leased.State.DOING: "processing",
    Leased.State.DONE: "completed",
    Leased.State.FAILED: "failed",
}

_logger = logging.getLogger(__name__)


@extend_schema(
    request=shapes.SummaryRequest,
    responses={200: Started, 400: Problem, 404: Problem, 409: Problem, 413: Problem},
)
@api_view(["POST"])
@parser_classes([JSONParser])
def start(request: Request) -> Response:
    """Begin to summarize a transcript."""
    wish = valid(shapes.SummaryRequest, request.data)
    transcript = chat.transcript_of(wish)
    _require_model(wish["model_name"])
    summary = services.create_summary(
        transcript=transcript,
        transcription_id=wish.get("job_id"),
        model_name=wish["model_name"],
        style=Style(wish["format"]),
        max_length=wish["max_length"],
    )
    _logger.info("Summary %s: %s passages", summary.pk, len(transcript.passages))
    return Response({"job_id": str(summary.pk), "status": "processing", "message": summary.message})


def _require_model(name: str) -> None:
    """Refuse what is known to be wrong. A provider that cannot be asked just now may be there when it is needed."""

    async def resolve() -> str:
        async with asyncio.timeout(RESOLVE_SECONDS):
            return await loading.resolve(name, chat.provider())

    try:
        async_to_sync(resolve)()
    except loading.UnknownModelError as error:
        raise ValidationError({"model_name": [str(error)]}) from error
    except (LanguageModelError, TimeoutError) as error:
        _logger.warning("A summary was accepted without knowing its model: %s", error)


@extend_schema(responses={200: JobStatus, 404: Problem})
@api_view(["GET", "HEAD"])
def summary_status(request: Request, job_id: str) -> Response:
    """Where a summary stands."""
    return Response(_status(_summary(job_id)))


@extend_schema(
    responses={200: shapes.SummaryResult, 202: JobStatus, 404: Problem, 409: Problem},
)
@api_view(["GET", "HEAD"])
def result(request: Request, job_id: str) -> Response:
    """The summary. 202 with its status while it is under way, 409 when it failed."""
    summary = _summary(job_id)
    if summary.state == Leased.State.FAILED:
        return Response(
            {"detail": f"The summary failed: {summary.message}"}, status=status.HTTP_409_CONFLICT
        )
    if summary.state != Leased.State.DONE:
        return Response(_status(summary), status=status.HTTP_202_ACCEPTED)
    return Response(
        {
            "summary": summary.summary,
            "topics": summary.topics,
            "length": summary.length,
            "model_used": summary.model_used,
        }
    )


def _status(summary: Summary) -> dict[str, Any]:
    return {
        "job_id": str(summary.pk),
        "status": API_STATUS[Leased.State(summary.state)],
        "message": summary.message,
        "progress": summary.progress,
        "updated_at": summary.updated_at.timestamp(),
    }


def _summary(written_id: str) -> Summary:
    try:
        return Summary.objects.defer("transcript", "partials").get(pk=UUID(written_id))
    except (ValueError, Summary.DoesNotExist):
        raise Http404("Summary not found") from None
