"""Translate errors of an OpenAI-compatible server to messages that name the server, the problem, and the remedy."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chat.llm import answer_limit, text
from chat.llm.base import LanguageModelError, Problem, Provider

if TYPE_CHECKING:
    import openai

MAX_QUOTED_CHARACTERS = 300

_CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error"}
_CONTEXT_MESSAGE = re.compile(
    r"maximum context length|context[ _](?:length|size|window)|prompt is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
_N_CONTEXT = re.compile(
    r"(?:context (?:length|size|window)|n_ctx)\D{0,20}?(\d{2,9})", re.IGNORECASE
)
_N_PROMPT_PATTERNS = [
    re.compile(
        r"(\d{1,9}) (?:tokens )?(?:in|from|of) the (?:input )?(?:messages|prompt)", re.IGNORECASE
    ),
    re.compile(r"resulted in (\d{1,9}) tokens", re.IGNORECASE),
    re.compile(r"(\d{1,9}) (?:input|prompt) tokens", re.IGNORECASE),
    re.compile(r"request(?:ed)? \((\d{1,9}) tokens\)", re.IGNORECASE),
]


class ContextExceededError(LanguageModelError):
    """The prompt exceeds the model's context window. Retry with a shorter one."""

    def __init__(self, message: str, *, n_prompt: int | None, n_context: int | None) -> None:
        super().__init__(message, problem=Problem.TOO_LONG)
        self.n_prompt = n_prompt
        """The prompt's tokens as the server counted them; None if it does not report them."""
        self.n_context = n_context


class MaxTokensReachedError(LanguageModelError):
    """The model used all of max_tokens for reasoning. Retry with more."""


def host(provider: Provider) -> str:
    """The provider's host and port, without credentials or path, which may be secret."""
    parts = urlsplit(provider.base_url or "https://api.openai.com")
    name = parts.hostname or provider.base_url
    return f"{name}:{parts.port}" if parts.port else name


def translate(error: Exception, *, provider: Provider, model: str) -> LanguageModelError:
    """Translate an error of the client library."""
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return _from_status(error, provider, model)
    if answer_limit.TooLongError in (type(error), type(error.__cause__)):
        return invalid_response(provider, "more than any answer has, or compressed")
    is_timeout = isinstance(error, openai.APITimeoutError | httpx2.TimeoutException | TimeoutError)
    # A connect timeout means that the server is unreachable, not that its answer took too long.
    if is_timeout and not isinstance(error.__cause__, httpx2.ConnectTimeout):
        return timed_out(provider)
    if isinstance(error, httpx2.HTTPError):  # openai passes these through within a stream
        return interrupted(provider)
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(error, provider)
    if isinstance(error, openai.APIError):  # an error event within a stream
        return _from_message(error, provider, status=None)
    return invalid_response(provider, "something that is not JSON")


def timed_out(provider: Provider, seconds: float | None = None) -> LanguageModelError:
    limit = provider.timeout_seconds if seconds is None else seconds
    return LanguageModelError(
        f"The language-model provider {host(provider)} did not answer within {limit:g} seconds."
        " Try again later, ask for a shorter answer, or raise TRANSCRIBER_LLM_TIMEOUT_SECONDS.",
        can_retry=True,
    )


def invalid_response(provider: Provider, what: str) -> LanguageModelError:
    return LanguageModelError(
        f"The language-model provider {host(provider)} answered with {what}."
        " Check that OPENAI_BASE_URL is the address of an OpenAI-compatible API; most end in /v1."
    )


def interrupted(provider: Provider) -> LanguageModelError:
    return LanguageModelError(
        f"The language-model provider {host(provider)} closed the connection in the middle of its answer. Try again.",
        can_retry=True,
    )


def empty_answer(provider: Provider, model: str, *, max_tokens: int | None) -> LanguageModelError:
    """The error for an answer without text. `max_tokens`: the limit, if the model used it up."""
    if max_tokens is not None:
        return MaxTokensReachedError(
            f"{model} at {host(provider)} used up its {max_tokens} tokens before it answered."
            " Raise max_tokens.",
            problem=Problem.REQUEST,
        )
    return LanguageModelError(
        f"{model} at {host(provider)} gave an empty answer. Try again, or use another model.",
        can_retry=True,
    )


def refusal(provider: Provider, model: str, reason: str) -> LanguageModelError:
    return LanguageModelError(
        f"{model} at {host(provider)} refused to answer: {_quote(reason, provider)}",
        problem=Problem.REQUEST,
    )


def rejected_parameter(
    error: "openai.APIStatusError", words_of: Mapping[str, tuple[str, ...]]
) -> str:
    """The name of the parameter that the server rejects; empty if it is none of these.

    `words_of`: for each name, the words that identify it in an error message.
    """
    if context_exceeded(error):
        return ""
    if isinstance(error.param, str) and error.param in words_of:
        return error.param
    message = error.message.casefold()
    return next((name for name, words in words_of.items() if any(w in message for w in words)), "")


def context_exceeded(error: "openai.APIError") -> bool:
    """Whether the error says that the prompt exceeds the context window."""
    if {str(error.code), str(error.type)} & _CONTEXT_CODES:
        return True
    return bool(_CONTEXT_MESSAGE.search(error.message))


def _from_status(
    error: "openai.APIStatusError", provider: Provider, model: str
) -> LanguageModelError:
    status, name = error.status_code, host(provider)
    if status in (401, 403):
        return LanguageModelError(
            f"The language-model provider {name} rejected the API key (HTTP {status})."
            " Check OPENAI_API_KEY."
        )
    if error.code == "model_not_found" or (status == 404 and "model" in _api_message(error)):
        return LanguageModelError(
            f"The language-model provider {name} does not know the model {model}."
            " GET /api/chat/models lists the available models.",
            problem=Problem.UNKNOWN_MODEL,
        )
    if status == 402 or error.code == "insufficient_quota":
        return LanguageModelError(
            f"The quota at the language-model provider {name} is used up (HTTP {status})."
            " Check the plan and billing of the account."
        )
    if status == 429:
        return LanguageModelError(
            f"The rate limit of the language-model provider {name} is exceeded (HTTP 429)."
            " Try again later.",
            can_retry=True,
        )
    if status == 404 or 300 <= status < 400 or status == 405:
        return invalid_response(provider, f"HTTP {status}")
    return _from_message(error, provider, status=status)


def _from_message(
    error: "openai.APIError", provider: Provider, *, status: int | None
) -> LanguageModelError:
    """Translate by the provider's message. `status`: None for an error event within a stream."""
    name, message = host(provider), _quote(error.message, provider)
    if context_exceeded(error):
        return _context_error(error, provider)
    if status == 413:
        return LanguageModelError(
            f"The request is too large for the language-model provider {name} (HTTP 413).",
            problem=Problem.TOO_LONG,
        )
    if status is None or status >= 500 or status in (408, 409):
        when = f"HTTP {status}" if status else "in the middle of its answer"
        return LanguageModelError(
            f"The language-model provider {name} failed ({when}): {message} Try again later.",
            can_retry=True,
        )
    return LanguageModelError(
        f"The language-model provider {name} rejected the request (HTTP {status}): {message}",
        problem=Problem.REQUEST,
    )


def _context_error(error: "openai.APIError", provider: Provider) -> ContextExceededError:
    body = error.body if isinstance(error.body, dict) else {}
    n_prompt = _number(body.get("n_prompt_tokens"))
    for pattern in _N_PROMPT_PATTERNS:
        if n_prompt is None and (match := pattern.search(error.message)):
            n_prompt = int(match[1])
    n_context = _number(body.get("n_ctx"))
    if n_context is None and (match := _N_CONTEXT.search(error.message)):
        n_context = int(match[1])
    sizes = f" It has {n_prompt} tokens." if n_prompt else ""
    limit = f" The model's context window has {n_context}." if n_context else ""
    return ContextExceededError(
        f"The request is too long for the model at {host(provider)}.{sizes}{limit}",
        n_prompt=n_prompt,
        n_context=n_context,
    )


def _unreachable(error: "openai.APIConnectionError", provider: Provider) -> LanguageModelError:
    import httpx2

    if isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.ReadError):
        return interrupted(provider)
    return LanguageModelError(
        f"The language-model provider {host(provider)} cannot be reached."
        " Check OPENAI_BASE_URL, and that the server is running.",
        can_retry=True,
    )


def _api_message(error: "openai.APIStatusError") -> str:
    """The message of the API in lower case; empty for the HTML error page of a web server."""
    if not isinstance(error.body, dict):
        return (
            error.body.casefold() if isinstance(error.body, str) and "<" not in error.body else ""
        )
    return str(error.body.get("message", "")).casefold()


def _quote(message: str, provider: Provider) -> str:
    """Quote the provider's message: one line, truncated, without the API key."""
    line = text.one_line(message)
    if provider.api_key:
        line = line.replace(provider.api_key, "…")
    short = line[:MAX_QUOTED_CHARACTERS]
    return short if short.endswith((".", "!", "?")) else f"{short}{'…' if short != line else '.'}"


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
