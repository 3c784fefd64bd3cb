"""List the language models, resolve a name to one of them, and open it."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from chat.llm import extractive, provider_client, provider_errors
from chat.llm.base import LanguageModel, LanguageModelError, ModelCard, Problem, Provider
from chat.llm.openai_compatible import OpenAICompatible

DEFAULT_MODEL = "gpt-3.5-turbo"
CACHE_SECONDS = 60.0
MAX_NAMES_IN_ERROR = 20
FALLBACK_CONTEXT_TOKENS = 4096
"""The context window if the provider reports none: Ollama's default. Ollama silently truncates longer prompts."""

_OPENAI_HOST = "api.openai.com"
_OPENAI_CONTEXT_TOKENS = {"gpt-3.5-turbo": 16_385, "gpt-4": 8_192}
_OPENAI_DEFAULT_CONTEXT_TOKENS = 128_000
_CONTEXT_FIELDS = (
    "max_model_len",  # vLLM
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
    "max_context_window",
)


class UnknownModelError(LanguageModelError):
    """No model has this name. The message lists the available names."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        names = ", ".join(known[:MAX_NAMES_IN_ERROR])
        n_more = len(known) - MAX_NAMES_IN_ERROR
        rest = f", and {n_more} more" if n_more > 0 else ""
        super().__init__(
            f"There is no language model {name!r}. Available: {names}{rest}.",
            problem=Problem.UNKNOWN_MODEL,
        )


@dataclass(frozen=True)
class _Listing:
    cards: tuple[ModelCard, ...]
    is_complete: bool
    """False if the provider has no model list, so that any name may exist."""
    fetched_at: float
    """By time.monotonic."""


_listings: dict[tuple[str, str], _Listing] = {}
"""The cache, by the provider's address and key."""


async def list_models(provider: Provider) -> list[ModelCard]:
    """List the provider's models, then the built-in one. Raises LanguageModelError."""
    if not provider.is_configured:
        return [extractive.CARD]
    cards = [card for card in await _cards(provider) if provider.allows(card.id)]
    return [*(card for card in cards if card.id != extractive.NAME), extractive.CARD]


async def resolve(name: str, provider: Provider) -> str:
    """Resolve a name to a model id.

    The empty name and DEFAULT_MODEL stand for the default model: the configured one, else the first listed. Models
    that may not be used are answered like those that do not exist. Raises UnknownModelError, and LanguageModelError if
    the provider cannot list its models.
    """
    if name == extractive.NAME:
        return name
    is_default = name in ("", DEFAULT_MODEL)
    if not provider.is_configured:
        if is_default:
            return extractive.NAME
        raise UnknownModelError(name, [extractive.NAME])
    if provider.default_model and (is_default or name == provider.default_model):
        return provider.default_model
    listing = await _fetch_listing(provider)
    ids = [
        card.id for card in listing.cards if card.id != extractive.NAME and provider.allows(card.id)
    ]
    name = name or DEFAULT_MODEL
    # Ollama lists "llama3.2" as "llama3.2:latest".
    for candidate in (name, f"{name}:latest"):
        if candidate in ids or (not listing.is_complete and provider.allows(candidate)):
            return candidate
    if is_default and ids:
        return ids[0]
    if is_default and not listing.is_complete and provider.allowed_models:
        return provider.allowed_models[0]
    known = ids if listing.is_complete else provider.allowed_models
    raise UnknownModelError(name, [*known, extractive.NAME])


@asynccontextmanager
async def open_model(name: str, provider: Provider) -> AsyncIterator[LanguageModel]:
    """Open the model that `name` stands for, with its own connection to the provider, closed at the end."""
    model = await resolve(name, provider)
    if model == extractive.NAME:
        yield extractive.Extractive()
        return
    context_tokens = provider.context_tokens or await _context_tokens(model, provider)
    async with provider_client.connect(provider) as connection:
        yield OpenAICompatible(connection, model=model, context_tokens=context_tokens)


async def _context_tokens(model: str, provider: Provider) -> int:
    """The size of the model's context window."""
    if urlsplit(provider_client.base_url(provider)).hostname == _OPENAI_HOST:
        return _OPENAI_CONTEXT_TOKENS.get(model, _OPENAI_DEFAULT_CONTEXT_TOKENS)
    cards = await _cards(provider)
    ids = (model, f"{model}:latest")
    reported = [card.context_tokens for card in cards if card.id in ids and card.context_tokens]
    return reported[0] if reported else FALLBACK_CONTEXT_TOKENS


async def _cards(provider: Provider) -> list[ModelCard]:
    listing = await _fetch_listing(provider)
    if listing.is_complete:
        return list(listing.cards)
    names = dict.fromkeys((provider.default_model, *provider.allowed_models))
    return [_card({"id": name}, provider) for name in names if name]


async def _fetch_listing(provider: Provider) -> _Listing:
    """Fetch the provider's model list, cached for CACHE_SECONDS; failures are not cached."""
    key = (provider.base_url, provider.api_key)
    cached = _listings.get(key)
    now = time.monotonic()
    if cached and now - cached.fetched_at < CACHE_SECONDS:
        return cached
    async with provider_client.connect(provider) as connection:
        entries = await connection.models()
    cards = tuple(_card(entry, provider) for entry in entries or ())
    _listings[key] = _Listing(cards, entries is not None, now)
    return _listings[key]


def _card(entry: Mapping[str, Any], provider: Provider) -> ModelCard:
    model_id = str(entry["id"])
    context_tokens = _reported_context(entry)
    size = f" Context window: {context_tokens} tokens." if context_tokens else ""
    description = f"Served by {provider_errors.host(provider)}.{size}"
    name = entry.get("name")
    return ModelCard(
        model_id, name if isinstance(name, str) and name else model_id, description, context_tokens
    )


def _reported_context(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    values = [entry.get(field) for field in _CONTEXT_FIELDS]
    values.append(meta.get("n_ctx") if isinstance(meta, dict) else None)  # llama.cpp
    return next((each for each in values if type(each) is int and each > 0), None)
