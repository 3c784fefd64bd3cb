"""The client of an OpenAI-compatible server: adapts requests to it, enforces timeouts, validates responses."""

import asyncio
import importlib
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast
from urllib.parse import urlsplit

from chat.llm import answer_limit, provider_errors, text
from chat.llm.base import LanguageModelError, Message, Provider, Usage
from chat.llm.replies import ReasoningFilter, strip_reasoning

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

OPENAI_URL = "https://api.openai.com/v1"
MAX_RETRIES = 2
CONNECT_SECONDS = 10.0
LISTING_SECONDS = 30.0
MAX_MODEL_ID_LENGTH = 200
MAX_ANSWER_CHARACTERS = 1_000_000
"""Of an answer. A server that sends more does not stop."""

# The parameters that some servers reject, and the words that identify them in an error message.
_OPTIONAL_PARAMETERS = {
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "response_format": ("response_format", "json_schema", "grammar"),
    "stream_options": ("stream_options", "include_usage"),
}


class TimeLimit:
    """The timeout of one answer. Counts only the time spent waiting for the provider, not for our own client."""

    def __init__(self, seconds: float) -> None:
        self.remaining = seconds

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await within the remaining time. Raises TimeoutError."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, self.remaining)):
                return await awaitable
        finally:
            self.remaining -= time.monotonic() - began


@dataclass(frozen=True)
class Request:
    model: str
    messages: Sequence[Message]
    max_tokens: int
    temperature: float
    response_format: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Reply:
    text: str
    model: str
    """The model that the provider reports, else the requested one."""
    usage: Usage | None
    finish_reason: str


_rejected_by: dict[tuple[str, str], set[str]] = {}
"""A cache of rejected parameters, by the provider's address and the model."""


class Connection:
    """A client of one provider. Every async method raises LanguageModelError."""

    def __init__(self, provider: Provider, client: "openai.AsyncOpenAI") -> None:
        self.provider = provider
        self._client = client

    def time_limit(self) -> TimeLimit:
        return TimeLimit(self.provider.timeout_seconds)

    async def models(self) -> list[dict[str, Any]] | None:
        """Fetch the provider's model list; None if it has none."""
        import openai

        seconds = min(LISTING_SECONDS, self.provider.timeout_seconds)
        try:
            with self._translated_errors(""):
                request = self._client.get("/models", cast_to=object)
                response = _json(await TimeLimit(seconds).wait(request))
        except LanguageModelError as error:
            cause = error.__cause__
            if isinstance(cause, openai.APIStatusError) and cause.status_code in (404, 405):
                return None
            if isinstance(cause, TimeoutError):
                raise provider_errors.timed_out(self.provider, seconds) from cause
            raise
        entries = response.get("data") if isinstance(response, dict) else response
        if not isinstance(entries, list):
            raise provider_errors.invalid_response(
                self.provider, "something other than a list of models"
            )
        return [each for each in entries if isinstance(each, dict) and _is_model_id(each.get("id"))]

    async def complete(self, request: Request, limit: TimeLimit) -> Reply:
        """Request a whole answer."""
        with self._translated_errors(request.model):
            response = _json(await limit.wait(self._send(request)))
        if not isinstance(response, dict):
            raise provider_errors.invalid_response(self.provider, "something that is not JSON")
        choice = _first(response.get("choices"))
        message = _mapping(choice.get("message"))
        if not choice or not message:
            raise provider_errors.invalid_response(self.provider, "JSON without an answer")
        finish = str(choice.get("finish_reason") or "stop")
        content = strip_reasoning(_string(message.get("content")))
        self._check_length(content)
        if not content:
            raise self._no_content_error(request, _string(message.get("refusal")), finish)
        return self._reply(request, response, content, finish)

    async def stream(self, request: Request, limit: TimeLimit) -> AsyncGenerator[str | Reply, None]:
        """Yield the answer's text in deltas, then the Reply. Closing this generator closes the connection."""
        with self._translated_errors(request.model):
            events = cast(
                "openai.AsyncStream[object]", await limit.wait(self._send(request, stream=True))
            )
        state = _StreamState(request.model)
        try:
            while (event := await self._next_event(events, request, limit)) is not None:
                if delta := state.add(event):
                    self._check_length(state.text)
                    yield delta
        finally:
            await events.close()
        if not state.has_events:
            raise provider_errors.invalid_response(
                self.provider, "something other than an event stream"
            )
        if not state.finish_reason:
            raise provider_errors.interrupted(self.provider)
        if rest := state.reasoning_filter.end():
            state.text += rest
            yield rest
        if not state.text.strip():
            raise self._no_content_error(request, state.refusal, state.finish_reason)
        yield self._reply(request, state.envelope, state.text.strip(), state.finish_reason)

    async def _next_event(
        self, events: "openai.AsyncStream[object]", request: Request, limit: TimeLimit
    ) -> object | None:
        """The next event; None at the end. `asyncio.timeout` may not span a `yield`, so each event has its own."""
        with self._translated_errors(request.model):
            try:
                return await limit.wait(anext(events))
            except StopAsyncIteration:
                return None

    async def _send(self, request: Request, *, stream: bool = False) -> object:
        """Send a request, and retry it without each parameter that the provider rejects. Returns the response."""
        import openai

        while True:
            body = self._body(request, stream=stream)
            try:
                if stream:
                    return await self._client.post(
                        "/chat/completions",
                        cast_to=object,
                        body=body,
                        stream=True,
                        stream_cls=openai.AsyncStream[object],
                    )
                return await self._client.post("/chat/completions", cast_to=object, body=body)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                sent = {name: words for name, words in _OPTIONAL_PARAMETERS.items() if name in body}
                rejected = provider_errors.rejected_parameter(error, sent)
                if not rejected:
                    raise
                self._rejected_parameters(request).add(rejected)

    def _body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.response_format is not None:
            body["response_format"] = request.response_format
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        rejected = self._rejected_parameters(request)
        if "max_tokens" in rejected:
            body["max_completion_tokens"] = request.max_tokens
        return {name: value for name, value in body.items() if name not in rejected}

    def _rejected_parameters(self, request: Request) -> set[str]:
        return _rejected_by.setdefault((base_url(self.provider), request.model), set())

    def _check_length(self, content: str) -> None:
        if len(content) > MAX_ANSWER_CHARACTERS:
            raise provider_errors.invalid_response(self.provider, "an answer that does not end")

    def empty_answer_error(self, model: str) -> LanguageModelError:
        return provider_errors.empty_answer(self.provider, model, max_tokens=None)

    def _reply(
        self, request: Request, response: Mapping[str, Any], content: str, finish: str
    ) -> Reply:
        return Reply(
            content,
            _string(response.get("model")) or request.model,
            _usage(response.get("usage")),
            "length" if finish == "length" else "stop",
        )

    def _no_content_error(self, request: Request, refusal: str, finish: str) -> LanguageModelError:
        if refusal:
            return provider_errors.refusal(self.provider, request.model, refusal)
        if finish == "content_filter":
            reason = "its content filter stopped the answer."
            return provider_errors.refusal(self.provider, request.model, reason)
        max_tokens = request.max_tokens if finish == "length" else None
        return provider_errors.empty_answer(self.provider, request.model, max_tokens=max_tokens)

    @contextmanager
    def _translated_errors(self, model: str) -> Iterator[None]:
        """Translate the client library's errors to LanguageModelError."""
        import httpx2
        import openai

        # Within a stream, openai passes httpx's errors through. Invalid JSON raises ValueError, or RecursionError
        # if it is nested too deeply.
        try:
            yield
        except (
            openai.OpenAIError,
            httpx2.HTTPError,
            TimeoutError,
            ValueError,
            RecursionError,
            answer_limit.TooLongError,
        ) as error:
            raise provider_errors.translate(error, provider=self.provider, model=model) from error


class _StreamState:
    """What a stream has sent so far."""

    def __init__(self, model: str) -> None:
        self.envelope: dict[str, Any] = {"model": model}
        self.reasoning_filter = ReasoningFilter()
        self.text = ""
        self.refusal = ""
        self.finish_reason = ""
        self.has_events = False

    def add(self, event: object) -> str:
        """Add an event, and return its text delta without reasoning."""
        self.has_events = True
        event = _mapping(event)
        self.envelope |= {name: event[name] for name in ("model", "usage") if event.get(name)}
        choice = _first(event.get("choices"))
        delta = _mapping(choice.get("delta"))
        self.finish_reason = _string(choice.get("finish_reason")) or self.finish_reason
        self.refusal += _string(delta.get("refusal"))
        text_delta = self.reasoning_filter.feed(_string(delta.get("content")))
        self.text += text_delta
        return text_delta


@asynccontextmanager
async def connect(provider: Provider) -> AsyncIterator[Connection]:
    """Open a client of the provider, closed at the end of the block."""
    # The import takes half a second, which would block the event loop.
    await asyncio.to_thread(importlib.import_module, "openai")
    import httpx2
    import openai

    # Every option is set: the library reads those left out from environment variables of its own.
    seconds = provider.timeout_seconds
    timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
    async with openai.AsyncOpenAI(
        api_key=provider.api_key or "none",
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        base_url=base_url(provider),
        timeout=timeout,
        max_retries=MAX_RETRIES,
        http_client=openai.DefaultAsyncHttpxClient(
            verify=_ssl_context(),
            timeout=timeout,
            follow_redirects=False,  # transcripts go to the configured server only
            event_hooks=answer_limit.event_hooks(),
        ),
    ) as client:
        client.organization = client.project = None  # otherwise sent as empty headers
        yield Connection(provider, client)


def base_url(provider: Provider) -> str:
    """The API's base URL. An address without a path gets /v1, the path that all servers use."""
    if not provider.base_url:
        return OPENAI_URL
    url = provider.base_url.rstrip("/")
    return url if urlsplit(url).path else f"{url}/v1"


@cache
def _ssl_context() -> ssl.SSLContext:
    """The SSL context of all clients; creating one takes longer than the rest of a client."""
    import httpx2

    return httpx2.create_ssl_context()


def _json(response: object) -> object:
    """Parse a response that the server declared as text: it may still be JSON. Raises ValueError."""
    return json.loads(response) if isinstance(response, str) else response


def _first(value: object) -> dict[str, Any]:
    return _mapping(value[0]) if isinstance(value, list) and value else {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return text.well_formed(value) if isinstance(value, str) else ""


def _is_model_id(value: object) -> bool:
    model_id = _string(value)
    return bool(model_id) and value == model_id and len(model_id) <= MAX_MODEL_ID_LENGTH


def _usage(value: object) -> Usage | None:
    usage = _mapping(value)
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not _is_count(prompt) or not _is_count(completion):
        return None
    return Usage(prompt=prompt, completion=completion)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 10**12
