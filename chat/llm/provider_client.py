"""Talking to an OpenAI-compatible server: requests that adapt to it, limits in time, answers checked."""

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

from chat.llm import provider_errors, text
from chat.llm.base import LanguageModelError, Message, Provider, Usage
from chat.llm.replies import Thinking, without_thoughts

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

OPENAI_URL = "https://api.openai.com/v1"
MAX_RETRIES = 2
CONNECT_SECONDS = 10.0
LISTING_SECONDS = 30.0
MAX_NAME = 200
MAX_CHARACTERS = 1_000_000
"""Of an answer: more than that is a server that does not stop."""

# Which of our parameters a server may refuse, and the words by which its refusal tells.
_REFUSABLE = {
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "response_format": ("response_format", "json_schema", "grammar"),
    "stream_options": ("stream_options", "include_usage"),
}


class TimeLimit:
    """How long one answer may take. Only the time that the provider takes counts, not that of the reader."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Raises TimeoutError."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, self.left)):
                return await awaitable
        finally:
            self.left -= time.monotonic() - began


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
    """What the provider says it ran, else what was asked for."""
    usage: Usage | None
    finish_reason: str


_refused_by: dict[tuple[str, str], set[str]] = {}
"""Which parameters a model at an address does not take: found out once, not with each question."""


class Connection:
    """One client of a provider; every method raises LanguageModelError."""

    def __init__(self, provider: Provider, client: "openai.AsyncOpenAI") -> None:
        self.provider = provider
        self._client = client

    def time_limit(self) -> TimeLimit:
        return TimeLimit(self.provider.timeout_seconds)

    async def models(self) -> list[dict[str, Any]] | None:
        """The entries that the provider lists; None if it has no listing."""
        import openai

        seconds = min(LISTING_SECONDS, self.provider.timeout_seconds)
        try:
            with self._telling(""):
                listed = self._client.get("/models", cast_to=object)
                answered = _json(await TimeLimit(seconds).wait(listed))
        except LanguageModelError as error:
            cause = error.__cause__
            if isinstance(cause, openai.APIStatusError) and cause.status_code in (404, 405):
                return None
            if isinstance(cause, TimeoutError):
                raise provider_errors.timed_out(self.provider, seconds) from cause
            raise
        entries = answered.get("data") if isinstance(answered, dict) else answered
        if not isinstance(entries, list):
            raise provider_errors.nonsense(self.provider, "something that is no list of models")
        return [each for each in entries if isinstance(each, dict) and _is_name(each.get("id"))]

    async def complete(self, request: Request, limit: TimeLimit) -> Reply:
        with self._telling(request.model):
            answered = _json(await limit.wait(self._send(request)))
        if not isinstance(answered, dict):
            raise provider_errors.nonsense(self.provider, "something that is not JSON")
        choice = _first(answered.get("choices"))
        message = _mapping(choice.get("message"))
        if not choice or not message:
            raise provider_errors.nonsense(self.provider, "JSON that holds no answer")
        finish = str(choice.get("finish_reason") or "stop")
        content = without_thoughts(_string(message.get("content")))
        self._check_length(content)
        if not content:
            raise self._nothing(request, _string(message.get("refusal")), finish)
        return self._reply(request, answered, content, finish)

    async def stream(self, request: Request, limit: TimeLimit) -> AsyncGenerator[str | Reply, None]:
        """The answer in pieces, then the Reply. Whoever closes this closes the connection to the provider."""
        with self._telling(request.model):
            events = cast(
                "openai.AsyncStream[object]", await limit.wait(self._send(request, stream=True))
            )
        heard = _Heard(request.model)
        try:
            while (event := await self._next(events, request, limit)) is not None:
                if piece := heard.take(event):
                    self._check_length(heard.text)
                    yield piece
        finally:
            await events.close()
        if not heard.has_events:
            raise provider_errors.nonsense(self.provider, "no stream of events")
        if not heard.finish_reason:
            raise provider_errors.cut_off(self.provider)
        if rest := heard.thinking.end():
            heard.text += rest
            yield rest
        if not heard.text.strip():
            raise self._nothing(request, heard.refusal, heard.finish_reason)
        yield self._reply(request, heard.envelope, heard.text.strip(), heard.finish_reason)

    async def _next(
        self, events: "openai.AsyncStream[object]", request: Request, limit: TimeLimit
    ) -> object | None:
        """The next event; None at the end. The limit is taken anew for each: it may not be held across a `yield`."""
        with self._telling(request.model):
            try:
                return await limit.wait(anext(events))
            except StopAsyncIteration:
                return None

    async def _send(self, request: Request, *, stream: bool = False) -> object:
        """What was answered, with every parameter that the provider refuses sent in another way or left out."""
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
                left = {name: words for name, words in _REFUSABLE.items() if name in body}
                refused = provider_errors.parameter_named(error, left)
                if not refused:
                    raise
                self._refused(request).add(refused)

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
        refused = self._refused(request)
        if "max_tokens" in refused:
            body["max_completion_tokens"] = request.max_tokens
        return {name: value for name, value in body.items() if name not in refused}

    def _refused(self, request: Request) -> set[str]:
        return _refused_by.setdefault((base_url(self.provider), request.model), set())

    def _check_length(self, content: str) -> None:
        if len(content) > MAX_CHARACTERS:
            raise provider_errors.nonsense(self.provider, "an answer that does not end")

    def nothing_said(self, model: str) -> LanguageModelError:
        return provider_errors.empty(self.provider, model, max_tokens=None)

    def _reply(
        self, request: Request, answered: Mapping[str, Any], content: str, finish: str
    ) -> Reply:
        return Reply(
            content,
            _string(answered.get("model")) or request.model,
            _usage(answered.get("usage")),
            "length" if finish == "length" else "stop",
        )

    def _nothing(self, request: Request, refusal: str, finish: str) -> LanguageModelError:
        if refusal:
            return provider_errors.refused(self.provider, request.model, refusal)
        if finish == "content_filter":
            why = "its content filter stopped the answer."
            return provider_errors.refused(self.provider, request.model, why)
        used_up = request.max_tokens if finish == "length" else None
        return provider_errors.empty(self.provider, request.model, max_tokens=used_up)

    @contextmanager
    def _telling(self, model: str) -> Iterator[None]:
        import httpx2
        import openai

        # Within a stream some of what httpx raises reaches us as it is; broken JSON is a ValueError, or nested
        # too deeply.
        try:
            yield
        except (
            openai.OpenAIError,
            httpx2.HTTPError,
            TimeoutError,
            ValueError,
            RecursionError,
        ) as error:
            raise provider_errors.told(error, provider=self.provider, model=model) from error


class _Heard:
    """What a stream has told so far."""

    def __init__(self, model: str) -> None:
        self.envelope: dict[str, Any] = {"model": model}
        self.thinking = Thinking()
        self.text = ""
        self.refusal = ""
        self.finish_reason = ""
        self.has_events = False

    def take(self, event: object) -> str:
        """The piece of the answer that comes with this event."""
        self.has_events = True
        event = _mapping(event)
        self.envelope |= {name: event[name] for name in ("model", "usage") if event.get(name)}
        choice = _first(event.get("choices"))
        delta = _mapping(choice.get("delta"))
        self.finish_reason = _string(choice.get("finish_reason")) or self.finish_reason
        self.refusal += _string(delta.get("refusal"))
        piece = self.thinking.feed(_string(delta.get("content")))
        self.text += piece
        return piece


@asynccontextmanager
async def connect(provider: Provider) -> AsyncIterator[Connection]:
    """A client of the provider that keeps no connection after the block."""
    # Half a second of imports is not for the event loop.
    await asyncio.to_thread(importlib.import_module, "openai")
    import httpx2
    import openai

    # None may be left to the library: it would take them from environment variables of its own.
    seconds = provider.timeout_seconds
    timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
    async with (
        openai.AsyncOpenAI(
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
                follow_redirects=False,  # what people said goes to the server that was chosen, and no other
            ),
        ) as client
    ):
        client.organization = client.project = None  # else it would send them as empty headers
        yield Connection(provider, client)


def base_url(provider: Provider) -> str:
    """Where the API is. An address without a path means /v1: that is where all servers have it."""
    if not provider.base_url:
        return OPENAI_URL
    url = provider.base_url.rstrip("/")
    return url if urlsplit(url).path else f"{url}/v1"


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for all clients: it takes longer to make than the rest of a client."""
    import httpx2

    return httpx2.create_ssl_context()


def _json(answered: object) -> object:
    """The answer of a server that says it is text may still be JSON. Raises ValueError."""
    return json.loads(answered) if isinstance(answered, str) else answered


def _first(value: object) -> dict[str, Any]:
    return _mapping(value[0]) if isinstance(value, list) and value else {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return text.well_formed(value) if isinstance(value, str) else ""


def _is_name(value: object) -> bool:
    return bool(_string(value)) and value == _string(value) and len(_string(value)) <= MAX_NAME


def _usage(value: object) -> Usage | None:
    told = _mapping(value)
    prompt, completion = told.get("prompt_tokens"), told.get("completion_tokens")
    if not _is_count(prompt) or not _is_count(completion):
        return None
    return Usage(prompt=prompt, completion=completion)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 10**12
