"""Faults of a provider: each has the right outcome, and none leaks a connection."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import pytest

from chat.llm import answer_limit, extractive, loading, text
from chat.llm.base import (
    Answer,
    LanguageModel,
    LanguageModelError,
    Message,
    Passage,
    Problem,
    Provider,
    Question,
    Style,
    Transcript,
    Usage,
)
from tests.chat import fault_server
from tests.chat.fault_server import FaultServer, limit_context, refuse, reply, send_text

TALK = Transcript(
    (
        Passage("Welcome to the weekly meeting.", 0.0, 4.0, "SPEAKER_1"),
        Passage("The launch is moved to Friday because of the tests.", 72.4, 80.0, "SPEAKER_2"),
        Passage("Who writes the release notes?", 80.0, 84.0, "SPEAKER_1"),
        Passage("Maria writes the release notes.", 84.0, 90.0, "SPEAKER_2"),
    ),
    "en",
)
KEY = "sk-secret-key"


def long_talk(n_passages: int) -> Transcript:
    passages = [
        Passage(f"Item {n}: the colour of machine {n} is number {n * 7}.", n * 5.0, n * 5.0 + 5)
        for n in range(n_passages)
    ]
    return Transcript(tuple(passages), "en")


def ask(content: str = "When is the launch?", transcript: Transcript = TALK) -> Question:
    return Question((Message("user", content),), transcript, temperature=0.5, max_tokens=100)


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def provider_of(server: FaultServer, *, timeout: float = 20.0) -> Provider:
    return Provider(api_key=KEY, base_url=server.url, timeout_seconds=timeout)


async def all_closed(server: FaultServer) -> bool:
    """Whether all connections close soon."""
    return await eventually(lambda: server.n_open == 0)


async def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 2
    while time.monotonic() < until:
        if condition():
            return True
        await asyncio.sleep(0.01)
    return condition()


async def answer_of(server: FaultServer, question: Question | None = None) -> Answer:
    async with loading.open_model("", provider_of(server)) as model:
        answer = await model.answer(question or ask())
    assert await all_closed(server)
    return answer


async def stream_answer(
    server: FaultServer, question: Question | None = None, *, timeout: float = 20.0
) -> tuple[str, Answer]:
    pieces: list[str] = []
    async with loading.open_model("", provider_of(server, timeout=timeout)) as model:
        async for piece in model.stream(question or ask()):
            if isinstance(piece, Answer):
                return "".join(pieces), piece
            pieces.append(piece)
    raise AssertionError("The stream ended without its Answer.")


async def error_of(
    server: FaultServer, *, stream: bool = False, timeout: float = 20.0
) -> LanguageModelError:
    async def attempt() -> None:
        if stream:
            await stream_answer(server, timeout=timeout)
            return
        async with loading.open_model("", provider_of(server, timeout=timeout)) as model:
            await model.answer(ask())

    with pytest.raises(LanguageModelError) as caught:
        await attempt()
    assert await all_closed(server)
    assert KEY not in str(caught.value)
    return caught.value


async def run_with_model(
    server: FaultServer, call: Callable[[LanguageModel], Awaitable[object]]
) -> object:
    async with loading.open_model("", provider_of(server)) as model:
        result = await call(model)
    assert await all_closed(server)
    return result


async def test_an_answer_has_its_model_and_usage(server: FaultServer) -> None:
    answer = await answer_of(server)
    assert answer.text == fault_server.REPLY
    assert answer.model == fault_server.MODEL
    assert answer.usage == Usage(120, 9)
    assert answer.finish_reason == "stop"
    assert answer.citations == (TALK.passages[1],)
    assert server.keys == [f"Bearer {KEY}"]
    assert server.requests[0]["temperature"] == 0.5
    assert server.requests[0]["max_tokens"] == 100


async def test_a_stream_has_deltas_and_then_the_whole_answer(server: FaultServer) -> None:
    pieces, answer = await stream_answer(server)
    assert pieces.strip() == answer.text == fault_server.REPLY
    assert answer.usage == Usage(120, 9)
    assert answer.citations == (TALK.passages[1],)
    assert await all_closed(server)


async def test_usage_is_none_if_the_provider_reports_none(server: FaultServer) -> None:
    server.behave(reply(usage=None))
    assert (await answer_of(server)).usage is None
    assert (await stream_answer(server))[1].usage is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "problem", "can_retry", "expected"),
    [
        (401, {"message": f"Incorrect key: {KEY}"}, Problem.PROVIDER, False, "OPENAI_API_KEY"),
        (403, None, Problem.PROVIDER, False, "OPENAI_API_KEY"),
        (404, {"message": "model 'x' not found"}, Problem.UNKNOWN_MODEL, False, "fault-1"),
        (404, None, Problem.PROVIDER, False, "OPENAI_BASE_URL"),
        (429, None, Problem.PROVIDER, True, "later"),
        (429, {"message": "m", "code": "insufficient_quota"}, Problem.PROVIDER, False, "billing"),
        (500, None, Problem.PROVIDER, True, "HTTP 500"),
        (503, {"message": "loading model"}, Problem.PROVIDER, True, "loading model"),
        (400, {"message": f"bad seed {KEY}"}, Problem.REQUEST, False, "bad seed …"),
        (413, None, Problem.TOO_LONG, False, "too large"),
    ],
)
async def test_a_refusal_names_the_provider_and_the_remedy(
    server: FaultServer,
    status: int,
    error: dict[str, str] | None,
    problem: Problem,
    can_retry: bool,
    expected: str,
    stream: bool,
) -> None:
    server.behave(refuse(status, error, headers={"Retry-After-Ms": "1"}))
    error_raised = await error_of(server, stream=stream)
    assert (error_raised.problem, error_raised.can_retry) == (problem, can_retry)
    assert expected in str(error_raised)
    assert "127.0.0.1" in str(error_raised)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_transient_error_is_retried(server: FaultServer, status: int) -> None:
    server.behave(refuse(status, headers={"Retry-After": "0"}), reply())
    assert (await answer_of(server)).text == fault_server.REPLY
    assert len(server.requests) == 2


async def test_after_three_attempts_it_gives_up(server: FaultServer) -> None:
    server.behave(refuse(500, headers={"Retry-After-Ms": "1"}))
    await error_of(server)
    assert len(server.requests) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_hangs_times_out(server: FaultServer, stream: bool) -> None:
    server.behave(fault_server.hang)
    await loading.list_models(provider_of(server))  # imports take time too
    began = time.monotonic()
    error = await error_of(server, stream=stream, timeout=0.5)
    assert time.monotonic() - began < 2
    assert error.can_retry
    assert "TRANSCRIBER_LLM_TIMEOUT_SECONDS" in str(error)
    assert await eventually(lambda: server.n_abandoned > 0)


async def test_a_stalled_stream_times_out(server: FaultServer) -> None:
    server.behave(fault_server.stall_stream)
    error = await error_of(server, stream=True, timeout=0.5)
    assert error.can_retry
    assert "0.5 seconds" in str(error)


async def test_an_unreachable_provider_is_an_error_that_says_so() -> None:
    with FaultServer() as gone:
        provider = provider_of(gone)
    with pytest.raises(LanguageModelError, match="OPENAI_BASE_URL") as caught:
        await loading.list_models(provider)
    assert caught.value.can_retry


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "content",
    ["{not json", '{"object": "chat"}', '{"choices": []}', '{"choices": [null]}', "[]", "null"],
)
async def test_an_invalid_response_is_an_error(
    server: FaultServer, content: str, stream: bool
) -> None:
    server.behave(send_text(content))
    error = await error_of(server, stream=stream)
    assert error.problem is Problem.PROVIDER
    assert "OPENAI_BASE_URL" in str(error)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_web_page_is_not_taken_for_an_answer(server: FaultServer, stream: bool) -> None:
    server.behave(send_text("<html>Welcome</html>", content_type="text/html"))
    assert "OPENAI_BASE_URL" in str(await error_of(server, stream=stream))


@pytest.mark.parametrize("stream", [False, True])
async def test_no_more_than_a_bounded_answer_is_read(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """Its reasoning too, which no one sees, and the rest of a document that is parsed as a whole."""
    monkeypatch.setattr(answer_limit, "MAX_RESPONSE_BYTES", 1_000_000)
    server.behave(fault_server.never_end)
    with pytest.raises(LanguageModelError, match="more than any answer has") as caught:
        await (stream_answer(server) if stream else answer_of(server))
    assert caught.value.problem is Problem.PROVIDER
    assert await all_closed(server)
    n_tries = len(server.requests)
    assert server.n_sent < n_tries * 12_000_000, "what the sockets hold besides"


async def test_a_compressed_answer_is_not_unpacked(server: FaultServer) -> None:
    server.behave(fault_server.send_compressed)
    with pytest.raises(LanguageModelError, match="or compressed"):
        await answer_of(server)


@pytest.mark.parametrize("content", [None, "", "  ", "<think>Hm, the launch"])
async def test_an_empty_answer_is_an_error(server: FaultServer, content: str | None) -> None:
    server.behave(reply(content))
    assert "empty" in str(await error_of(server))
    assert "empty" in str(await error_of(server, stream=True))


async def test_a_refusal_of_the_model_is_an_error_that_quotes_it(server: FaultServer) -> None:
    server.behave(reply(None, refusal="I cannot help with that."))
    error = await error_of(server)
    assert error.problem is Problem.REQUEST
    assert "I cannot help with that." in str(error)


async def test_an_answer_of_reasoning_only_suggests_more_tokens(server: FaultServer) -> None:
    server.behave(reply("<think>Hm", finish="length"))
    error = await error_of(server)
    assert error.problem is Problem.REQUEST
    assert "max_tokens" in str(error)


async def test_an_answer_ended_by_max_tokens_says_so(server: FaultServer) -> None:
    server.behave(reply("The launch", finish="length"))
    assert (await answer_of(server)).finish_reason == "length"


async def test_reasoning_is_stripped(server: FaultServer) -> None:
    server.behave(reply("<think>\nWhich day was it? </think>\n\nOn Friday."))
    assert (await answer_of(server)).text == "On Friday."
    pieces, answer = await stream_answer(server)
    assert answer.text == pieces.strip() == "On Friday."


async def test_a_cut_body_can_be_retried(server: FaultServer) -> None:
    server.behave(fault_server.cut_body)
    error = await error_of(server)
    assert error.can_retry
    assert "middle" in str(error)


@pytest.mark.parametrize("cut", [fault_server.cut_stream, fault_server.end_stream_early])
async def test_a_cut_stream_is_an_error(server: FaultServer, cut: fault_server.Behaviour) -> None:
    server.behave(cut)
    error = await error_of(server, stream=True)
    assert error.can_retry
    assert "middle" in str(error)


async def test_an_error_event_within_a_stream_is_raised(server: FaultServer) -> None:
    def behave(exchange: fault_server.Exchange) -> None:
        exchange.start_stream()
        exchange.send_delta("The ")
        exchange.send_event('{"error": {"message": "out of memory"}}')
        exchange.end_stream()

    server.behave(behave)
    assert "out of memory" in str(await error_of(server, stream=True))


@pytest.mark.parametrize("is_named", [True, False])
async def test_rejected_parameters_are_dropped_and_the_request_is_retried(
    server: FaultServer, is_named: bool
) -> None:
    behaviour = reply()
    for name in ("max_tokens", "temperature", "stream_options"):
        behaviour = fault_server.refuse_parameter(name, behaviour, is_named=is_named)
    server.behave(behaviour)
    _, answer = await stream_answer(server)
    assert answer.text == fault_server.REPLY
    assert server.requests[-1]["max_completion_tokens"] == 100
    assert len(server.requests) == 4
    assert await all_closed(server)


async def test_a_parameter_that_is_rejected_in_every_form_is_an_error(server: FaultServer) -> None:
    server.behave(refuse(400, {"message": "bad max_tokens", "param": "max_tokens"}))
    assert (await error_of(server)).problem is Problem.REQUEST
    assert len(server.requests) == 2


@pytest.mark.parametrize("reports_sizes", [True, False])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_context_smaller_than_listed_gets_fewer_passages(
    server: FaultServer, reports_sizes: bool, stream: bool
) -> None:
    server.behave(
        limit_context(2500, reply("It is number 2072 [00:24:40]."), reports_sizes=reports_sizes)
    )
    question = ask("What is the colour of machine 296?", long_talk(400))
    answer = (
        (await stream_answer(server, question))[1] if stream else await answer_of(server, question)
    )
    assert answer.citations == (question.transcript.passages[296],)
    assert 2 <= len(server.requests) <= 4
    assert "machine 296 is number 2072" in server.requests[-1]["messages"][1]["content"]
    assert "[…]" in server.requests[-1]["messages"][1]["content"]


async def test_a_context_window_that_is_always_exceeded_is_an_error(server: FaultServer) -> None:
    server.behave(
        refuse(400, {"message": "maximum context length is 200 tokens", "code": "x", "type": "y"})
    )
    error = await error_of(server)
    assert error.problem is Problem.TOO_LONG
    assert len(server.requests) <= 4


async def test_a_question_that_cannot_fit_is_an_error_without_a_request(
    server: FaultServer,
) -> None:
    async with loading.open_model("", provider_of(server)) as model:
        with pytest.raises(LanguageModelError, match=r"about \d{5} tokens") as caught:
            await model.answer(ask("why " * 12_000))
    assert caught.value.problem is Problem.TOO_LONG
    assert server.requests == []


async def test_fifty_answers_are_awaited_concurrently(server: FaultServer) -> None:
    server.behave(fault_server.slow(2.0, reply()))
    await loading.list_models(provider_of(server))
    began = time.monotonic()
    answers = await asyncio.gather(*(answer_of(server) for _ in range(50)))
    assert time.monotonic() - began < 4
    assert {answer.text for answer in answers} == {fault_server.REPLY}


@pytest.mark.parametrize("behaviour", [fault_server.hang, fault_server.slow(30, reply())])
async def test_a_cancelled_answer_closes_the_connection_at_once(
    server: FaultServer, behaviour: fault_server.Behaviour
) -> None:
    server.behave(behaviour)
    async with loading.open_model("", provider_of(server)) as model:
        task = asyncio.create_task(model.answer(ask()))
        assert await eventually(lambda: len(server.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await eventually(lambda: server.n_abandoned == 1)


async def test_a_stream_that_is_closed_closes_the_connection_at_once(server: FaultServer) -> None:
    server.behave(fault_server.stall_stream)
    async with loading.open_model("", provider_of(server)) as model:
        async with aclosing(model.stream(ask())) as pieces:
            assert await anext(pieces) == "The launch "
        assert await eventually(lambda: server.n_abandoned == 1)


async def test_a_stream_may_be_read_by_one_task_after_another(server: FaultServer) -> None:
    async with loading.open_model("", provider_of(server)) as model:
        pieces = model.stream(ask())

        async def read() -> str | Answer:
            return await anext(pieces)

        heard = [await asyncio.create_task(read()) for _ in range(6)]
        assert "".join(map(str, heard)).strip() == fault_server.REPLY
        assert isinstance(await asyncio.create_task(read()), Answer)
    assert await all_closed(server)


async def test_the_client_library_reads_no_environment_variables(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    async with loading.open_model("", Provider(base_url=server.url)) as model:
        await model.answer(ask())
    assert "somebody" not in server.keys[0]


@pytest.mark.parametrize("style", list(Style))
async def test_a_summary_keeps_its_length_and_style(server: FaultServer, style: Style) -> None:
    summary_text = (
        "## Summary\n* **Launch**: it is moved to Friday.\n2. **Notes**: Maria writes them.\n"
    )
    server.behave(
        reply(summary_text + "\n".join(f"• **Point {n}**: said again." for n in range(40)))
    )

    async def call(model: LanguageModel) -> object:
        return await model.summarize(TALK, style=style, max_words=30)

    summary = str(await run_with_model(server, call))
    assert 20 < text.count_words(summary) <= 30
    assert summary.startswith("**Launch**" if style is Style.PARAGRAPH else "- **Launch**")
    lines = summary.splitlines()
    assert style is Style.PARAGRAPH or all(line.startswith("- ") for line in lines)


async def test_every_part_of_a_long_transcript_fits_and_none_is_lost(server: FaultServer) -> None:
    server.models = [{"id": "small", "max_model_len": 2048}]
    server.behave(limit_context(2048, reply("- [00:00:05] The colour is 7.")))
    talk = long_talk(300)

    async def condense_all(model: LanguageModel) -> object:
        parts = await model.parts(talk)
        assert [each for part in parts for each in part.passages] == list(talk.passages)
        notes = [await model.condense(part) for part in parts]
        assert notes[0] == [Passage("The colour is 7.", start=5.0)]
        # A time that lies outside of the part is made up: the note stands where the part begins.
        assert notes[1] == [Passage("The colour is 7.", start=parts[1].passages[0].start)]
        return len(parts)

    assert await run_with_model(server, condense_all) == len(server.requests) > 3


async def test_one_endless_passage_is_split_at_sentences(server: FaultServer) -> None:
    server.models = [{"id": "small", "max_model_len": 2048}]
    sentences = [f"Sentence number {n} is about the budget." for n in range(400)]
    talk = Transcript((Passage(" ".join(sentences)),))

    async def cut(model: LanguageModel) -> object:
        return [each.text for part in await model.parts(talk) for each in part.passages]

    texts = await run_with_model(server, cut)
    assert isinstance(texts, list)
    assert len(texts) > 3
    assert " ".join(texts) == " ".join(sentences)
    assert all(each.endswith(".") for each in texts)


async def test_a_part_that_turns_out_too_long_is_condensed_in_halves(server: FaultServer) -> None:
    server.behave(limit_context(1000, reply("Colours."), reports_sizes=False))

    async def condense(model: LanguageModel) -> object:
        return await model.condense(long_talk(100))

    notes = await run_with_model(server, condense)
    assert isinstance(notes, list)
    assert len(notes) > 1
    assert [each.start for each in notes] == sorted(each.start for each in notes)


async def test_a_summary_that_turns_out_too_long_is_made_of_notes(server: FaultServer) -> None:
    server.behave(limit_context(1500, reply("The machines have colours.")))

    async def summarize(model: LanguageModel) -> object:
        return await model.summarize(long_talk(150), style=Style.PARAGRAPH, max_words=50)

    assert await run_with_model(server, summarize) == "The machines have colours."
    assert len(server.requests) > 3


async def test_topics_come_from_structured_output(server: FaultServer) -> None:
    server.behave(reply('{"topics": ["Launch date", "Release notes", "Tests", "launch DATE"]}'))
    found = await run_with_model(
        server, lambda model: model.topics(TALK, summary="The launch moves.")
    )
    assert found == ["Launch date", "Release notes", "Tests"]
    assert server.requests[0]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("message", ["response_format is not supported", "no such feature"])
async def test_topics_come_without_structured_output_too(server: FaultServer, message: str) -> None:
    server.behave(refuse(400, {"message": message}), reply("1. Launch\n2. Notes\n3. Tests"))
    found = await run_with_model(
        server, lambda model: model.topics(TALK, summary="The launch moves.")
    )
    assert found == ["Launch", "Notes", "Tests"]
    assert "response_format" not in server.requests[1]


async def test_too_few_topics_are_filled_up(server: FaultServer) -> None:
    server.behave(reply('{"topics": ["Launch date"]}'))
    found = await run_with_model(
        server, lambda model: model.topics(TALK, summary="The launch moves.")
    )
    assert isinstance(found, list)
    assert found[0] == "Launch date"
    assert 3 <= len(found) <= 8


async def test_the_built_in_model_never_asks_the_provider(server: FaultServer) -> None:
    async with loading.open_model(extractive.NAME, provider_of(server)) as model:
        assert model.name == extractive.NAME
    assert server.n_listings == 0
