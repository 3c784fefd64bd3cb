"""What the Chat API does: load the transcript that a question is about, and ask the model."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections
from rest_framework import exceptions, status

from chat import passages
from chat.llm import extractive, loading
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
from transcription import access, hooks
from transcription.models import Job
from transcription.request_checks import Conflict, Unavailable, find_job, not_completed_message


class BadRequest(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST


def provider() -> Provider:
    """The language-model provider that the settings configure."""
    return Provider(
        api_key=settings.OPENAI_API_KEY,
        base_url=settings.OPENAI_BASE_URL,
        default_model=settings.TRANSCRIBER_LLM_MODEL,
        allowed_models=tuple(settings.TRANSCRIBER_LLM_ALLOWED_MODELS),
        context_tokens=settings.TRANSCRIBER_LLM_CONTEXT_TOKENS,
        timeout_seconds=float(settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS),
    )


def transcript_of(values: dict[str, Any]) -> Transcript:
    """Load the transcript that validated TranscriptFields name. Raises Http404, Conflict, or BadRequest."""
    if values.get("job_id"):
        transcript = _transcript_of_job(values["job_id"])
    elif values.get("transcript"):
        transcript = passages.of_segments(values["transcript"])
    else:
        text = values.get("full_text", "")
        transcript = passages.of_segments(Passage(sentence) for sentence in sentences(text))
    if not transcript.passages:
        raise BadRequest("There are no words in the transcript.")
    return transcript


def _transcript_of_job(job_id: UUID) -> Transcript:
    job = find_job(str(job_id))
    if job.status != Job.Status.COMPLETED:
        raise Conflict(not_completed_message(job))
    transcript = passages.of_job(job)
    if not transcript.passages:
        raise Conflict(
            "There are no words in the job's transcript, so there is nothing to ask about or to summarize."
        )
    return transcript


def api_error(error: LanguageModelError) -> exceptions.APIException:
    """Translate a LanguageModelError: 503 if the provider failed, else 400."""
    if error.problem is Problem.PROVIDER:
        return Unavailable(str(error))
    return BadRequest(str(error))


def count_request(model_name: str, *, job_id: UUID | None) -> None:
    """Count a request to the provider, which a listener may refuse; the built-in model costs nobody anything."""
    if provider().is_configured and model_name != extractive.NAME:
        hooks.before_language_model.send(sender=Provider, owner_id=access.owner_id(), job_id=job_id)


async def model_id(name: str) -> str:
    """The id of the model that `name` stands for. Raises LanguageModelError."""
    return await loading.resolve(name, provider())


async def answer(*, model_name: str, question: Question) -> Answer:
    """Answer a question. Raises LanguageModelError."""
    async with loading.open_model(model_name, provider()) as model:
        return await model.answer(question)


async def stream(*, model_name: str, question: Question) -> AsyncGenerator[str | Answer, None]:
    """Yield the answer's text in deltas, then the whole Answer. Raises LanguageModelError."""
    async with (
        loading.open_model(model_name, provider()) as model,
        aclosing(model.stream(question)) as deltas,
    ):
        async for delta in deltas:
            yield delta


def release_database_connection() -> None:
    """Close this thread's database connection: an answer may take minutes, and connections are few."""
    close_old_connections()
