"""The Chat API of the real service while its language-model provider fails."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.chat import fault_server as faults
from tests.chat.fault_server import FaultServer
from tests.service import Service, wait_for

pytestmark = pytest.mark.slow

KEY = "sk-a-secret"
TIMEOUT_SECONDS = 6
BODY = {
    "transcript": [{"start": 72.5, "end": 75.0, "text": "The launch was moved to Friday."}],
    "messages": [{"role": "user", "content": "When is the launch?"}],
}
CITATION = {"start": 72.5, "end": 75.0, "speaker": None, "text": "The launch was moved to Friday."}


@pytest.fixture(scope="module")
def provider() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture(scope="module")
def llm_service(
    provider: FaultServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = {
        "OPENAI_BASE_URL": provider.url,
        "OPENAI_API_KEY": KEY,
        "TRANSCRIBER_LLM_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    }
    with Service(tmp_path_factory.mktemp("llm-service"), **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def _well_behaved(provider: FaultServer) -> Iterator[None]:
    provider.behave(faults.reply())
    provider.requests.clear()
    yield
    wait_for(lambda: provider.n_open == 0, what="all connections to close", seconds=10)


def ask(service: Service, **changes: Any) -> httpx.Response:
    return service.client.post("/api/chat/", json={**BODY, **changes})


def stream_events(service: Service) -> list[str]:
    with service.client.stream("POST", "/api/chat/", json={**BODY, "stream": True}) as response:
        assert response.status_code == 200
        return [line.removeprefix("data: ") for line in response.iter_lines() if line]


def test_a_proper_answer_comes_in_the_documented_shape(
    llm_service: Service, provider: FaultServer
) -> None:
    answer = ask(llm_service)
    assert answer.json() == {
        "message": {"role": "assistant", "content": faults.REPLY},
        "model_used": faults.MODEL,
        "usage": {"prompt": 120, "completion": 9, "total": 129},
        "citations": [CITATION],
        "finish_reason": "stop",
    }
    assert provider.requests[0]["temperature"] == 0.7
    assert provider.requests[0]["max_tokens"] == 500
    assert provider.keys[-1] == f"Bearer {KEY}"


def test_a_rate_limited_request_is_retried(llm_service: Service, provider: FaultServer) -> None:
    provider.behave(faults.refuse(429, headers={"Retry-After": "0"}), faults.reply())
    assert ask(llm_service).status_code == 200
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (faults.refuse(401), "OPENAI_API_KEY"),
        (faults.refuse(500), "HTTP 500"),
        (faults.refuse(429, headers={"Retry-After": "0"}), "429"),
        (faults.hang, "TRANSCRIBER_LLM_TIMEOUT_SECONDS"),
        (faults.send_text("{"), "not JSON"),
        (faults.send_text("<html>", content_type="text/html"), "not JSON"),
        (faults.cut_body, "in the middle"),
        (faults.reply(""), "empty answer"),
        (faults.send_text("[" * 100_000), "not JSON"),
        (faults.refuse(500, {"message": "odd", "code": ["a"], "type": {"b": 1}}), "HTTP 500"),
    ],
)
def test_a_failure_is_an_error_with_its_reason(
    llm_service: Service, provider: FaultServer, behaviour: faults.Behaviour, expected: str
) -> None:
    provider.behave(behaviour)
    answer = ask(llm_service)
    assert answer.status_code == 503, answer.text
    assert list(answer.json()) == ["detail"]
    assert expected in answer.json()["detail"]
    assert KEY not in answer.text


def test_a_request_that_the_provider_rejects_is_a_bad_request(
    llm_service: Service, provider: FaultServer
) -> None:
    provider.behave(faults.refuse(400, {"message": "This model cannot be asked like that."}))
    answer = ask(llm_service)
    assert answer.status_code == 400
    assert "This model cannot be asked like that." in answer.json()["detail"]


def test_the_built_in_model_answers_while_the_provider_is_down(
    llm_service: Service, provider: FaultServer
) -> None:
    provider.behave(faults.refuse(500))
    answer = ask(llm_service, model_name="local-extractive")
    assert answer.json()["citations"] == [CITATION]
    assert provider.requests == []


# ---- Streams


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (faults.refuse(401), "OPENAI_API_KEY"),
        (faults.refuse(500), "HTTP 500"),
        (faults.send_text("<html>", content_type="text/html"), "an event stream"),
        (faults.reply(""), "empty answer"),
    ],
)
def test_a_stream_that_fails_before_it_begins_is_an_error_with_its_reason(
    llm_service: Service, provider: FaultServer, behaviour: faults.Behaviour, expected: str
) -> None:
    provider.behave(behaviour)
    answer = ask(llm_service, stream=True)
    assert answer.status_code == 503, answer.text
    assert expected in answer.json()["detail"]


def test_a_stream_ends_with_usage_and_citations(llm_service: Service) -> None:
    events = stream_events(llm_service)
    assert events[-1] == "[DONE]"
    last = json.loads(events[-2])
    assert last["usage"] == faults.USAGE
    assert last["citations"] == [CITATION]


@pytest.mark.parametrize("stream", [False, True])
def test_a_lone_surrogate_in_an_answer_does_no_harm(
    llm_service: Service, provider: FaultServer, stream: bool
) -> None:
    provider.behave(faults.reply("Friday \ud83d it is."))
    if stream:
        assert stream_events(llm_service)[-1] == "[DONE]"
    else:
        assert ask(llm_service).json()["message"]["content"] == "Friday ? it is."


def test_redirects_are_not_followed(llm_service: Service, provider: FaultServer) -> None:
    with FaultServer() as other:
        to_other = {"Location": f"{other.url}/chat/completions"}
        provider.behave(faults.refuse(307, headers=to_other))
        assert ask(llm_service).status_code == 503
        assert other.requests == []


@pytest.mark.parametrize("behaviour", [faults.cut_stream, faults.end_stream_early])
def test_an_interrupted_stream_ends_with_an_error(
    llm_service: Service, provider: FaultServer, behaviour: faults.Behaviour
) -> None:
    provider.behave(behaviour)
    events = stream_events(llm_service)
    assert "The launch " in events[1]
    assert "in the middle" in json.loads(events[-1])["error"]["message"]
    assert "[DONE]" not in events


def test_a_stream_is_not_buffered(llm_service: Service, provider: FaultServer) -> None:
    provider.behave(faults.stall_stream)
    body = {**BODY, "stream": True}
    with llm_service.client.stream("POST", "/api/chat/", json=body) as response:
        lines = (line for line in response.iter_lines() if line)
        first = [next(lines), next(lines)]
    assert "The launch " in first[1]


# ---- Clients that go away


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_client_disconnects_the_request_to_the_provider_is_cancelled(
    llm_service: Service, provider: FaultServer, stream: bool
) -> None:
    provider.behave(faults.stall_stream if stream else faults.hang)
    n_before = provider.n_abandoned
    with pytest.raises(httpx.ReadTimeout):
        llm_service.client.post("/api/chat/", json={**BODY, "stream": stream}, timeout=1.0)
    wait_for(
        lambda: provider.n_abandoned > n_before,
        what="the provider's connection to close",
        seconds=2,
    )
    assert ask(llm_service, model_name="local-extractive").status_code == 200


def test_streams_of_disconnected_clients_leak_no_connection(
    llm_service: Service, provider: FaultServer
) -> None:
    body = json.dumps({**BODY, "stream": True}).encode()
    head = f"POST /api/chat/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
    provider.behave(faults.slow(0.05, faults.reply("word " * 500)))
    for i in range(40):  # each disconnects at another moment
        with socket.create_connection(("127.0.0.1", llm_service.port)) as client:
            client.sendall(request)
            time.sleep(0.003 * i)
    wait_for(lambda: len(provider.requests) > 10, what="some of the requests", seconds=10)
    time.sleep(1)
    wait_for(lambda: provider.n_open == 0, what="all connections to close", seconds=10)


# ---- Many at once


def test_fifty_slow_answers_are_awaited_concurrently(
    llm_service: Service, provider: FaultServer
) -> None:
    provider.behave(faults.slow(5.0, faults.reply()))

    async def all_at_once() -> tuple[list[int], float]:
        async with httpx.AsyncClient(base_url=llm_service.url, timeout=30) as client:
            began = time.monotonic()
            answers = [client.post("/api/chat/", json=BODY) for _ in range(50)]
            codes = [answer.status_code for answer in await asyncio.gather(*answers)]
            return codes, time.monotonic() - began

    codes, seconds = asyncio.run(all_at_once())
    assert codes == [200] * 50
    assert seconds < 7.0
