"""What the Chat API does: find the transcript that is talked about, and the model that answers."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections
from rest_framework import exceptions, status

from chat import passages
from chat.llm import loading
from chat.llm.base import (
    Answer,
    LanguageModelError,
    Passage,
    Problem,
    Provider,
    Question,
    Transcript,
)
from chat.llm.text import sentences
from transcription.models import Job
from transcription.request_checks import Unavailable, find_job, not_completed_message


class NotCompleted(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


class Refused(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST


def provider() -> Provider:
    return Provider(
        api_key=settings.OPENAI_API_KEY,
        base_url=settings.OPENAI_BASE_URL,
        default_model=settings.TRANSCRIBER_LLM_MODEL,
        context_tokens=settings.TRANSCRIBER_LLM_CONTEXT_TOKENS,
        timeout_seconds=float(settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS),
    )


def transcript_of(values: dict[str, Any]) -> Transcript:
    """What a valid TranscriptFields speaks of. Raises Http404, or an APIException that says what is wrong."""
    if values.get("job_id"):
        transcript = _transcript_of_job(values["job_id"])
    elif values.get("transcript"):
        transcript = passages.of_segments(values["transcript"])
    else:
        text = values.get("full_text", "")
        transcript = passages.of_segments(Passage(sentence) for sentence in sentences(text))
    if not transcript.passages:
        raise Refused("There are no words in the transcript.")
    return transcript


def _transcript_of_job(job_id: UUID) -> Transcript:
    job = find_job(str(job_id))
    if job.status != Job.Status.COMPLETED:
        raise NotCompleted(not_completed_message(job))
    return passages.of_job(job)


def api_error(error: LanguageModelError) -> exceptions.APIException:
    """How the API tells that a language model gave no answer."""
    if error.problem is Problem.PROVIDER:
        return Unavailable(str(error))
    return Refused(str(error))


async def model_id(name: str) -> str:
    """What runs when `name` is asked for."""
    return await loading.resolve(name, provider())


async def answer(*, model_name: str, question: Question) -> Answer:
    async with loading.opened(model_name, provider()) as model:
        return await model.answer(question)


async def stream(*, model_name: str, question: Question) -> AsyncGenerator[str | Answer, None]:
    """The answer's text in pieces, then the whole of it."""
    async with (
        loading.opened(model_name, provider()) as model,
        aclosing(model.stream(question)) as pieces,
    ):
        async for piece in pieces:
            yield piece


def let_go_of_the_database() -> None:
    """An answer may take minutes, and a database has few connections to give."""
    close_old_connections()
