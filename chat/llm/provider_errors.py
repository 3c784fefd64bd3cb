"""What goes wrong with an OpenAI-compatible server, told to whoever asked: who, what, and the remedy."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chat.llm import text
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
_N_PROMPT = [
    re.compile(
        r"(\d{1,9}) (?:tokens )?(?:in|from|of) the (?:input )?(?:messages|prompt)", re.IGNORECASE
    ),
    re.compile(r"resulted in (\d{1,9}) tokens", re.IGNORECASE),
    re.compile(r"(\d{1,9}) (?:input|prompt) tokens", re.IGNORECASE),
    re.compile(r"request(?:ed)? \((\d{1,9}) tokens\)", re.IGNORECASE),
]


class ContextExceededError(LanguageModelError):
    """The prompt is longer than what the model reads at once; a shorter one may do."""

    def __init__(self, message: str, *, n_prompt: int | None, n_context: int | None) -> None:
        super().__init__(message, problem=Problem.TOO_LONG)
        self.n_prompt = n_prompt
        """How many tokens the server counted; None where it does not tell."""
        self.n_context = n_context


class UsedUpError(LanguageModelError):
    """All the tokens that were granted went into thoughts; more of them may do."""


def host(provider: Provider) -> str:
    """The provider's name and port, without what could be a secret in its address."""
    parts = urlsplit(provider.base_url or "https://api.openai.com")
    name = parts.hostname or provider.base_url
    return f"{name}:{parts.port}" if parts.port else name


def told(error: Exception, *, provider: Provider, model: str) -> LanguageModelError:
    """The error of the library as one of ours."""
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return _of_status(error, provider, model)
    is_timeout = isinstance(error, openai.APITimeoutError | httpx2.TimeoutException | TimeoutError)
    # A connection that could not be made in time is no answer that took too long.
    if is_timeout and not isinstance(error.__cause__, httpx2.ConnectTimeout):
        return timed_out(provider)
    if isinstance(error, httpx2.HTTPError):  # within a stream some reach us as they are
        return cut_off(provider)
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(error, provider)
    if isinstance(error, openai.APIError):  # told within a stream
        return _of_message(error, provider, status=None)
    return nonsense(provider, "something that is not JSON")


def timed_out(provider: Provider, seconds: float | None = None) -> LanguageModelError:
    limit = provider.timeout_seconds if seconds is None else seconds
    return LanguageModelError(
        f"The language-model provider {host(provider)} did not answer within {limit:g} seconds."
        " Try again later, ask for less, or raise TRANSCRIBER_LLM_TIMEOUT_SECONDS.",
        can_retry=True,
    )


def nonsense(provider: Provider, what: str) -> LanguageModelError:
    return LanguageModelError(
        f"The language-model provider {host(provider)} answered with {what}."
        " Check that OPENAI_BASE_URL is the address of an OpenAI-compatible API; most end in /v1."
    )


def cut_off(provider: Provider) -> LanguageModelError:
    return LanguageModelError(
        f"The language-model provider {host(provider)} ended its answer in the middle. Try again.",
        can_retry=True,
    )


def empty(provider: Provider, model: str, *, max_tokens: int | None) -> LanguageModelError:
    """`max_tokens`: where these were used up."""
    if max_tokens is not None:
        return UsedUpError(
            f"{model} at {host(provider)} used up its {max_tokens} tokens before it said anything."
            " Ask for more max_tokens.",
            problem=Problem.REQUEST,
        )
    return LanguageModelError(
        f"{model} at {host(provider)} gave an empty answer. Try again, or another model.",
        can_retry=True,
    )


def refused(provider: Provider, model: str, refusal: str) -> LanguageModelError:
    return LanguageModelError(
        f"{model} at {host(provider)} refused to answer: {_quoted(refusal, provider)}",
        problem=Problem.REQUEST,
    )


def parameter_named(error: "openai.APIStatusError", names: Mapping[str, tuple[str, ...]]) -> str:
    """Which of the parameters the refusal is about, by the words that tell each; empty: none of them."""
    if context_exceeded(error):
        return ""
    if isinstance(error.param, str) and error.param in names:
        return error.param
    message = error.message.casefold()
    return next((name for name, words in names.items() if any(w in message for w in words)), "")


def context_exceeded(error: "openai.APIError") -> bool:
    if {str(error.code), str(error.type)} & _CONTEXT_CODES:
        return True
    return bool(_CONTEXT_MESSAGE.search(error.message))


def _of_status(
    error: "openai.APIStatusError", provider: Provider, model: str
) -> LanguageModelError:
    status, name = error.status_code, host(provider)
    if status in (401, 403):
        return LanguageModelError(
            f"The language-model provider {name} refused the key (HTTP {status})."
            " Check OPENAI_API_KEY."
        )
    if error.code == "model_not_found" or (status == 404 and "model" in _own_words(error)):
        return LanguageModelError(
            f"The language-model provider {name} does not know the model {model}."
            " GET /api/chat/models lists those it knows.",
            problem=Problem.UNKNOWN_MODEL,
        )
    if status == 402 or error.code == "insufficient_quota":
        return LanguageModelError(
            f"The quota at the language-model provider {name} is used up (HTTP {status})."
            " Check the plan and the billing of its account."
        )
    if status == 429:
        return LanguageModelError(
            f"The language-model provider {name} takes no more requests for now (HTTP 429)."
            " Try again later.",
            can_retry=True,
        )
    if status == 404 or 300 <= status < 400 or status == 405:
        return nonsense(provider, f"HTTP {status}")
    return _of_message(error, provider, status=status)


def _of_message(
    error: "openai.APIError", provider: Provider, *, status: int | None
) -> LanguageModelError:
    """What the provider's own message tells; `status` is None for one that came within a stream."""
    name, message = host(provider), _quoted(error.message, provider)
    if context_exceeded(error):
        return _too_long(error, provider)
    if status == 413:
        return LanguageModelError(
            f"The request is too large for the language-model provider {name} (HTTP 413).",
            problem=Problem.TOO_LONG,
        )
    if status is None or status >= 500 or status in (408, 409):
        how = f"HTTP {status}" if status else "in the middle of its answer"
        return LanguageModelError(
            f"The language-model provider {name} failed ({how}): {message} Try again later.",
            can_retry=True,
        )
    return LanguageModelError(
        f"The language-model provider {name} refused the request (HTTP {status}): {message}",
        problem=Problem.REQUEST,
    )


def _too_long(error: "openai.APIError", provider: Provider) -> ContextExceededError:
    body = error.body if isinstance(error.body, dict) else {}
    n_prompt = _number(body.get("n_prompt_tokens"))
    for pattern in _N_PROMPT:
        if n_prompt is None and (match := pattern.search(error.message)):
            n_prompt = int(match[1])
    n_context = _number(body.get("n_ctx"))
    if n_context is None and (match := _N_CONTEXT.search(error.message)):
        n_context = int(match[1])
    sizes = f" It has {n_prompt} tokens." if n_prompt else ""
    limit = f" The model reads {n_context} tokens at once." if n_context else ""
    return ContextExceededError(
        f"The request is too long for the model at {host(provider)}.{sizes}{limit}",
        n_prompt=n_prompt,
        n_context=n_context,
    )


def _unreachable(error: "openai.APIConnectionError", provider: Provider) -> LanguageModelError:
    import httpx2

    if isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.ReadError):
        return cut_off(provider)
    return LanguageModelError(
        f"The language-model provider {host(provider)} cannot be reached."
        " Check that it runs, and OPENAI_BASE_URL.",
        can_retry=True,
    )


def _own_words(error: "openai.APIStatusError") -> str:
    """The message of an API, not of a web server that knows no such page."""
    if not isinstance(error.body, dict):
        return (
            error.body.casefold() if isinstance(error.body, str) and "<" not in error.body else ""
        )
    return str(error.body.get("message", "")).casefold()


def _quoted(message: str, provider: Provider) -> str:
    """What the provider said, in one line and short, without the key should it have repeated it."""
    line = text.one_line(message)
    if provider.api_key:
        line = line.replace(provider.api_key, "…")
    short = line[:MAX_QUOTED_CHARACTERS]
    return short if short.endswith((".", "!", "?")) else f"{short}{'…' if short != line else '.'}"


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
