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
from rest_framework.request import Request
from rest_framework.response import Response

from chat import serializers as shapes
from chat import services
from chat.events import Pieces, events
from chat.llm import loading
from chat.llm.base import Answer, LanguageModelError, Message, Question
from transcription.parsers import JSONParser
from transcription.request_checks import validate
from transcription.serializers import Problem

_logger = logging.getLogger(__name__)


@extend_schema(responses={200: shapes.ChatModels, 503: Problem})
@api_view(["GET", "HEAD"])
def models(request: Request) -> Response:
    """The language models: what the provider lists, and the built-in one."""
    try:
        found = async_to_sync(loading.listing)(services.provider())
    except LanguageModelError as error:
        raise services.api_error(error) from error
    return Response({"models": shapes.ModelShape(found, many=True).data})


@extend_schema(
    request=shapes.ChatRequest,
    responses={
        200: shapes.ChatAnswer,
        (200, "text/event-stream"): OpenApiTypes.STR,
        400: Problem,
        404: Problem,
        409: Problem,
        413: Problem,
        503: Problem,
    },
)
@api_view(["POST"])
@parser_classes([JSONParser])
def chat(request: Request) -> HttpResponseBase:
    """Ask about a transcript."""
    # The view waits in a thread of its own; what is waited for runs in the event loop, and is cancelled there
    # when the client goes away.
    wish = validate(shapes.ChatRequest, request.data)
    question = Question(
        messages=tuple(Message(m["role"], m["content"]) for m in wish["messages"]),
        transcript=services.transcript_of(wish),
        temperature=wish["temperature"],
        max_tokens=wish["max_tokens"],
    )
    services.let_go_of_the_database()
    try:
        if wish["stream"]:
            return _streamed(wish["model_name"], question)
        answer = async_to_sync(services.answer)(model_name=wish["model_name"], question=question)
    except LanguageModelError as error:
        _logger.warning("No answer by %s: %s", wish["model_name"], error)
        raise services.api_error(error) from error
    return Response(document(answer))


def document(answer: Answer) -> dict[str, Any]:
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


def _streamed(model_name: str, question: Question) -> StreamingHttpResponse:
    """The answer as it comes. What goes wrong before its first piece has a status code of its own."""
    pieces = Pieces(services.stream(model_name=model_name, question=question))

    async def begin() -> str:
        model = await services.model_id(model_name)
        await pieces.begin()
        return model

    # In one call: a client that goes away cancels the first that its view makes.
    model = async_to_sync(begin)()
    response = StreamingHttpResponse(
        events(pieces, model=model), content_type="text/event-stream; charset=utf-8"
    )
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"  # a proxy would hold the pieces back
    return response
