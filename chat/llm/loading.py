"""Which language models there are, which one a name means, and opening it."""

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
CACHED_SECONDS = 60.0
MAX_NAMES_TOLD = 20
SMALLEST_CONTEXT = 4096
"""Where nothing tells: Ollama's default, which cuts what is longer without a word."""

_OPENAI_HOST = "api.openai.com"
_OPENAI_CONTEXTS = {"gpt-3.5-turbo": 16_385, "gpt-4": 8_192}
_OPENAI_CONTEXT = 128_000
_CONTEXT_FIELDS = (
    "max_model_len",  # vLLM
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
    "max_context_window",
)


class UnknownModelError(LanguageModelError):
    """No model has this name; the message tells those that have one."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        told = ", ".join(known[:MAX_NAMES_TOLD])
        more = len(known) - MAX_NAMES_TOLD
        rest = f", and {more} more" if more > 0 else ""
        super().__init__(
            f"There is no language model {name!r}. Known: {told}{rest}.",
            problem=Problem.UNKNOWN_MODEL,
        )


@dataclass(frozen=True)
class _Listed:
    cards: tuple[ModelCard, ...]
    is_complete: bool
    """False: the provider has no listing, and may know any name."""
    asked_at: float


_listed: dict[tuple[str, str], _Listed] = {}


async def listing(provider: Provider) -> list[ModelCard]:
    """What the provider lists, then the built-in model."""
    if not provider.is_configured:
        return [extractive.CARD]
    cards = await _cards(provider)
    return [*(card for card in cards if card.id != extractive.NAME), extractive.CARD]


async def resolve(name: str, provider: Provider) -> str:
    """
    The id of the model that runs for a name; the empty name and DEFAULT_MODEL mean the one that is set or found.
    Raises UnknownModelError, and LanguageModelError when the provider cannot be asked.
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
    listed = await _ask(provider)
    ids = [card.id for card in listed.cards if card.id != extractive.NAME]
    wanted = name or DEFAULT_MODEL
    # Ollama lists "llama3.2:latest" for what everybody calls "llama3.2".
    for known in (wanted, f"{wanted}:latest"):
        if known in ids or not listed.is_complete:
            return known
    if is_default and ids:
        return ids[0]
    raise UnknownModelError(wanted, [*ids, extractive.NAME])


@asynccontextmanager
async def opened(name: str, provider: Provider) -> AsyncIterator[LanguageModel]:
    """The model that a name means, with a connection of its own to the provider that ends with the block."""
    model = await resolve(name, provider)
    if model == extractive.NAME:
        yield extractive.Extractive()
        return
    context_tokens = provider.context_tokens or await _context_tokens(model, provider)
    async with provider_client.connect(provider) as connection:
        yield OpenAICompatible(connection, model=model, context_tokens=context_tokens)


async def _context_tokens(model: str, provider: Provider) -> int:
    """How many tokens the model reads at once."""
    if urlsplit(provider_client.base_url(provider)).hostname == _OPENAI_HOST:
        return _OPENAI_CONTEXTS.get(model, _OPENAI_CONTEXT)
    cards = await _cards(provider)
    ids = (model, f"{model}:latest")
    told = [card.context_tokens for card in cards if card.id in ids and card.context_tokens]
    return told[0] if told else SMALLEST_CONTEXT


async def _cards(provider: Provider) -> list[ModelCard]:
    listed = await _ask(provider)
    if listed.is_complete or not provider.default_model:
        return list(listed.cards)
    return [_card({"id": provider.default_model}, provider)]


async def _ask(provider: Provider) -> _Listed:
    """What the provider lists, asked once a minute; a failure is not remembered."""
    key = (provider.base_url, provider.api_key)
    known = _listed.get(key)
    now = time.monotonic()
    if known and now - known.asked_at < CACHED_SECONDS:
        return known
    async with provider_client.connect(provider) as connection:
        entries = await connection.models()
    cards = tuple(_card(entry, provider) for entry in entries or ())
    _listed[key] = _Listed(cards, entries is not None, now)
    return _listed[key]


def _card(entry: Mapping[str, Any], provider: Provider) -> ModelCard:
    name = str(entry["id"])
    context_tokens = _told_context(entry)
    size = f" It reads {context_tokens} tokens at once." if context_tokens else ""
    description = f"Served by {provider_errors.host(provider)}.{size}"
    told = entry.get("name")
    return ModelCard(
        name, told if isinstance(told, str) and told else name, description, context_tokens
    )


def _told_context(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    values = [entry.get(field) for field in _CONTEXT_FIELDS]
    values.append(meta.get("n_ctx") if isinstance(meta, dict) else None)  # llama.cpp
    return next((each for each in values if type(each) is int and each > 0), None)
