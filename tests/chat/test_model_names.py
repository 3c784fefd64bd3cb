"""Which model runs for a name, with and without a provider."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chat.llm import extractive, loading, provider_client
from chat.llm.base import (
    LanguageModelError,
    Message,
    Passage,
    Problem,
    Provider,
    Question,
    Transcript,
)
from tests.chat.fault_server import FaultServer

NO_PROVIDER = Provider()
BUILT_IN = extractive.NAME


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FaultServer() as running:
        running.models = [{"id": "first"}, {"id": "llama3.2:latest"}, {"id": "big"}]
        yield running


def provider_of(server: FaultServer, default_model: str = "") -> Provider:
    return Provider(base_url=server.url, default_model=default_model, timeout_seconds=10)


@pytest.mark.parametrize("name", ["", "gpt-3.5-turbo", BUILT_IN])
async def test_without_a_provider_the_built_in_model_serves(name: str) -> None:
    assert await loading.resolve(name, NO_PROVIDER) == BUILT_IN
    async with loading.open_model(name, NO_PROVIDER) as model:
        assert model.name == BUILT_IN


async def test_without_a_provider_other_names_are_unknown() -> None:
    with pytest.raises(loading.UnknownModelError, match=f"'gpt-4'.*{BUILT_IN}") as caught:
        await loading.resolve("gpt-4", NO_PROVIDER)
    assert caught.value.problem is Problem.UNKNOWN_MODEL
    assert await loading.list_models(NO_PROVIDER) == [extractive.CARD]


async def test_the_list_has_the_provider_s_models_and_the_built_in_one(server: FaultServer) -> None:
    server.models = [{"id": "a", "name": "Model A", "max_model_len": 4000}, {"id": "b"}]
    cards = await loading.list_models(provider_of(server))
    assert [card.id for card in cards] == ["a", "b", BUILT_IN]
    assert [card.name for card in cards[:2]] == ["Model A", "b"]
    assert "4000 tokens" in cards[0].description
    assert cards[0].context_tokens == 4000


async def test_the_default_is_the_configured_model_else_the_first_listed(
    server: FaultServer,
) -> None:
    for name in ("", "gpt-3.5-turbo"):
        assert await loading.resolve(name, provider_of(server, "big")) == "big"
        assert await loading.resolve(name, provider_of(server)) == "first"


async def test_gpt_35_means_itself_if_it_is_listed(server: FaultServer) -> None:
    server.models.append({"id": "gpt-3.5-turbo"})
    assert await loading.resolve("", provider_of(server)) == "gpt-3.5-turbo"


async def test_other_names_must_be_listed_or_configured(server: FaultServer) -> None:
    assert await loading.resolve("big", provider_of(server)) == "big"
    assert await loading.resolve("llama3.2", provider_of(server)) == "llama3.2:latest"
    assert await loading.resolve("private", provider_of(server, "private")) == "private"
    with pytest.raises(loading.UnknownModelError, match=f"first, llama3.2:latest, big, {BUILT_IN}"):
        await loading.resolve("gpt-4", provider_of(server))


async def test_the_error_lists_at_most_twenty_names(server: FaultServer) -> None:
    server.models = [{"id": f"model-{n}"} for n in range(30)]
    with pytest.raises(loading.UnknownModelError, match=r"model-19, and 11 more\.$"):
        await loading.resolve("gpt-4", provider_of(server))


@pytest.mark.parametrize("status", [404, 405])
async def test_a_provider_without_a_model_list_accepts_any_name(
    server: FaultServer, status: int
) -> None:
    server.listing_status = status
    assert await loading.resolve("whatever", provider_of(server)) == "whatever"
    cards = await loading.list_models(provider_of(server, "mine"))
    assert [card.id for card in cards] == ["mine", BUILT_IN]
    assert [card.id for card in await loading.list_models(provider_of(server))] == [BUILT_IN]


async def test_a_provider_without_models_has_no_default(server: FaultServer) -> None:
    server.models = []
    with pytest.raises(loading.UnknownModelError):
        await loading.resolve("", provider_of(server))


async def test_a_failing_provider_has_no_fallback_and_is_not_cached(server: FaultServer) -> None:
    server.listing_status = 401
    for name in ("", "gpt-3.5-turbo", "big"):
        with pytest.raises(LanguageModelError, match="OPENAI_API_KEY") as caught:
            await loading.resolve(name, provider_of(server))
        assert caught.value.problem is Problem.PROVIDER
    assert await loading.resolve(BUILT_IN, provider_of(server)) == BUILT_IN
    server.listing_status = 200
    assert await loading.resolve("big", provider_of(server)) == "big"


async def test_the_model_list_is_cached(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await loading.list_models(provider_of(server))
    assert server.n_listings == 1
    await loading.list_models(replace(provider_of(server), api_key="another"))
    assert server.n_listings == 2
    monkeypatch.setattr(loading, "CACHE_SECONDS", 0.0)
    await loading.list_models(provider_of(server))
    assert server.n_listings == 3


async def test_an_address_without_a_path_means_v1(server: FaultServer) -> None:
    bare = replace(provider_of(server), base_url=server.url.removesuffix("/v1"))
    assert await loading.resolve("big", bare) == "big"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("", "https://api.openai.com/v1"),
        ("http://gpu:11434", "http://gpu:11434/v1"),
        ("http://gpu:11434/", "http://gpu:11434/v1"),
        ("https://host/api/v3/", "https://host/api/v3"),
    ],
)
def test_the_base_url_of_the_api(url: str, address: str) -> None:
    assert provider_client.base_url(Provider(base_url=url)) == address


@pytest.mark.parametrize(
    ("entry", "context_tokens", "expected_tokens"),
    [
        ({"meta": {"n_ctx": 3000}}, 0, 3000),
        ({"context_window": 2500}, 0, 2500),
        ({}, 0, 4096),
        ({"meta": {"n_ctx": 3000}}, 2200, 2200),
    ],
)
async def test_the_prompt_fills_the_reported_or_configured_context_window(
    server: FaultServer, entry: dict[str, object], context_tokens: int, expected_tokens: int
) -> None:
    server.models = [{"id": "m", **entry}]
    passages = [Passage(f"Lamp {n} is {n * 3} euros.", n * 4.0) for n in range(2000)]
    provider = replace(provider_of(server), context_tokens=context_tokens)
    async with loading.open_model("m", provider) as model:
        question = Question((Message("user", "And lamp 70?"),), Transcript(tuple(passages)))
        await model.answer(question)
    # The estimate is one token for 2 to 3 characters of such lines.
    n_characters = sum(len(each["content"]) for each in server.requests[0]["messages"])
    assert expected_tokens * 1.2 < n_characters < expected_tokens * 3.5


# ---- The operator's list of models


async def test_only_models_of_the_list_are_shown_and_used(server: FaultServer) -> None:
    provider = replace(provider_of(server), allowed_models=("big", "llama3.2", "gone"))
    cards = await loading.list_models(provider)
    assert [card.id for card in cards] == ["llama3.2:latest", "big", BUILT_IN]
    assert await loading.resolve("big", provider) == "big"
    assert await loading.resolve("llama3.2", provider) == "llama3.2:latest"
    assert await loading.resolve("", provider) == "llama3.2:latest", "the first that is allowed"
    assert await loading.resolve(BUILT_IN, provider) == BUILT_IN
    for name in ("first", "gone"):
        with pytest.raises(loading.UnknownModelError, match=f"llama3.2:latest, big, {BUILT_IN}"):
            await loading.resolve(name, provider)
    assert server.requests == []


async def test_the_default_model_needs_no_entry_in_the_list(server: FaultServer) -> None:
    provider = replace(provider_of(server, "first"), allowed_models=("big",))
    assert [card.id for card in await loading.list_models(provider)] == ["first", "big", BUILT_IN]
    assert await loading.resolve("", provider) == "first"


async def test_the_list_holds_for_a_provider_without_a_model_list_too(server: FaultServer) -> None:
    server.listing_status = 404
    provider = replace(provider_of(server), allowed_models=("mine", "yours"))
    assert [card.id for card in await loading.list_models(provider)] == ["mine", "yours", BUILT_IN]
    assert await loading.resolve("yours", provider) == "yours"
    assert await loading.resolve("", provider) == "mine"
    with pytest.raises(loading.UnknownModelError, match=f"mine, yours, {BUILT_IN}"):
        await loading.resolve("whatever", provider)
