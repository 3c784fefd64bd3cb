"""The Chat API: validate, call one function, answer in the documented shape."""

import logging
from dataclasses import asdict
from typing import Any

from asgiref.sync import async_to_sync
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view, parser_classes
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from chat import serializers, services
from chat.events import AnswerStream, encode_events
from chat.llm import loading
from chat.llm.base import Answer, LanguageModelError, Message, Question
from transcription import access
from transcription.parsers import JSON_BODY, JSONParser, takes_body
from transcription.request_checks import validate
from transcription.serializers import Problem

_logger = logging.getLogger(__name__)


@access.open_to_chat_links
@extend_schema(responses={200: serializers.ChatModels, 503: Problem})
@api_view(["GET", "HEAD"])
def models(request: Request) -> Response:
    """List the language models: those of the provider, then the built-in one."""
    try:
        cards = async_to_sync(loading.list_models)(services.provider())
    except LanguageModelError as error:
        raise services.api_error(error) from error
    return Response({"models": serializers.ModelShape(cards, many=True).data})


@access.reads_only
@access.open_to_chat_links
@takes_body(JSON_BODY)
@extend_schema(
    request=serializers.ChatRequest,
    responses={
        200: serializers.ChatAnswer,
        (200, "text/event-stream"): OpenApiTypes.STR,
        400: Problem,
        403: Problem,
        404: Problem,
        409: Problem,
        413: Problem,
        503: Problem,
    },
)
@api_view(["POST"])
@parser_classes([JSONParser])
def chat(request: Request) -> HttpResponseBase:
    """Answer a question about a transcript."""
    # This view blocks its own thread. The call to the model runs in the event loop, which cancels it when the
    # client disconnects.
    data = validate(serializers.ChatRequest, request.data)
    if access.is_link() and not data.get("job_id"):
        raise PermissionDenied("A share link lets you ask about its recording: send its job_id.")
    question = Question(
        messages=tuple(Message(m["role"], m["content"]) for m in data["messages"]),
        transcript=services.transcript_of(data),
        temperature=data["temperature"],
        max_tokens=data["max_tokens"],
    )
    services.count_request(data["model_name"], job_id=data.get("job_id"))
    services.release_database_connection()
    try:
        if data["stream"]:
            return _stream_response(data["model_name"], question)
        answer = async_to_sync(services.answer)(model_name=data["model_name"], question=question)
    except LanguageModelError as error:
        _logger.warning("Model %r gave no answer: %s", data["model_name"], error)
        raise services.api_error(error) from error
    return Response(_answer_document(answer))


def _answer_document(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    return {
        "message": {"role": "assistant", "content": answer.text},
        "model_used": answer.model,
        "usage": {
            "prompt": usage and usage.prompt,
            "completion": usage and usage.completion,
            "total": usage and usage.total,
        },
        "citations": [asdict(passage) for passage in answer.citations],
        "finish_reason": answer.finish_reason,
    }


def _stream_response(model_name: str, question: Question) -> StreamingHttpResponse:
    """Stream the answer as server-sent events.

    Raises LanguageModelError before the first delta, so that such an error has a status code.
    """
    answer = AnswerStream(services.stream(model_name=model_name, question=question))

    async def start() -> str:
        model = await services.model_id(model_name)
        await answer.start()
        return model

    # One async_to_sync call for both: a client's disconnect cancels only the first one in a view.
    model = async_to_sync(start)()
    response = StreamingHttpResponse(
        encode_events(answer, model=model), content_type="text/event-stream; charset=utf-8"
    )
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"  # keeps nginx from buffering the stream
    return response
