"""The whole service, with a real language model behind it and without any."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from chat.llm.text import count_words
from tests import llama
from tests.chat.recording import RecordingProxy, recording
from tests.service import Service, wait_for

pytestmark = pytest.mark.slow

CONTEXT_TOKENS = 1024
Document = dict[str, Any]


@pytest.fixture(scope="module")
def provider() -> Iterator[RecordingProxy]:
    with llama.running(context=CONTEXT_TOKENS) as url, recording(url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def llm_service(
    provider: RecordingProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service whose language models run in llama.cpp."""
    with Service(tmp_path_factory.mktemp("llm-service"), OPENAI_BASE_URL=provider.url) as running:
        yield running


@pytest.fixture(scope="module")
def job_id(llm_service: Service, audio_dir: Path) -> str:
    return transcribe(llm_service, audio_dir / "jfk.flac")


def transcribe(service: Service, path: Path) -> str:
    job_id = service.upload(path)
    assert service.finished(job_id)["status"] == "completed"
    return job_id


def summarize(service: Service, **request: Any) -> tuple[Document, list[Document]]:
    """Make a summary. Returns it, and every status on the way to it."""
    started = service.client.post("/api/summary/", json=request)
    assert started.status_code == 200, started.text
    summary_id = started.json()["job_id"]
    seen: list[Document] = []

    def ended() -> bool:
        status = service.client.get(f"/api/summary/status/{summary_id}").json()
        if not seen or seen[-1]["message"] != status["message"]:
            seen.append(status)
        return bool(status["status"] != "processing")

    wait_for(ended, what="the summary", seconds=120)
    assert seen[-1]["status"] == "completed", seen
    return service.client.get(f"/api/summary/{summary_id}").json(), seen


def ask(service: Service, question: str, **request: Any) -> Document:
    body = {"messages": [{"role": "user", "content": question}], **request}
    answer = service.client.post("/api/chat/", json=body)
    assert answer.status_code == 200, answer.text
    document: Document = answer.json()
    return document


def meeting(minutes: int) -> list[Document]:
    """Two people who talk about the months of a year."""
    months = ("January", "March", "June", "August", "October", "December")
    return [
        {
            "start": 10.0 * n,
            "end": 10.0 * n + 9.0,
            "speaker": f"SPEAKER_{n % 2 + 1}",
            "text": f"In {months[n % 6]} the team of office {n} sold {n * 7 + 3} machines, "
            "and the customers asked for longer opening hours and for better manuals.",
        }
        for n in range(minutes * 6)
    ]


# ---- Without a provider


def test_on_a_fresh_machine_a_recording_is_summarized_and_asked_about(
    service: Service, audio_dir: Path
) -> None:
    job_id = transcribe(service, audio_dir / "jfk.flac")
    summary, _ = summarize(service, job_id=job_id, max_length=100)
    assert summary["model_used"] == "local-extractive"
    assert "ask what you can do for your country" in summary["summary"]
    assert summary["length"] == count_words(summary["summary"]) <= 100
    assert 3 <= len(summary["topics"]) <= 8

    answer = ask(service, "what should you ask?", job_id=job_id)
    assert answer["model_used"] == "local-extractive"
    assert "[00:00:0" in answer["message"]["content"]
    assert "ask what you can do for your country" in answer["message"]["content"]
    [citation] = answer["citations"]
    assert 0.0 <= citation["start"] < citation["end"] <= 11.0


# ---- With one


@pytest.mark.parametrize("style", ["paragraph", "bullet_points", "key_points"])
def test_a_language_model_summarizes_in_three_formats(
    llm_service: Service, provider: RecordingProxy, job_id: str, style: str
) -> None:
    n_before = len(provider.exchanges)
    summary, _ = summarize(llm_service, job_id=job_id, max_length=40, format=style)
    assert summary["summary"]
    assert summary["length"] == count_words(summary["summary"]) <= 40
    assert 3 <= len(summary["topics"]) <= 8
    assert all(0 < len(topic) <= 60 for topic in summary["topics"])
    assert summary["model_used"] == llama.NAME
    if style != "paragraph":
        assert all(line.startswith("- ") for line in summary["summary"].splitlines())
    prompts = [json.dumps(request) for request, _ in provider.exchanges[n_before:]]
    assert any("ask what you can do for your country" in prompt for prompt in prompts)


def test_a_transcript_over_the_context_window_is_summarized_in_parts(
    llm_service: Service, provider: RecordingProxy
) -> None:
    transcript = meeting(minutes=3)
    n_before = len(provider.exchanges)
    summary, seen = summarize(llm_service, transcript=transcript, max_length=60)
    assert summary["length"] == count_words(summary["summary"]) <= 60
    prompts = " ".join(json.dumps(request) for request, _ in provider.exchanges[n_before:])
    assert all(f"office {n} " in prompts for n in range(len(transcript)))
    progress = [status["progress"] for status in seen]
    messages = [status["message"] for status in seen]
    assert progress == sorted(progress)
    assert any(message.startswith("Summarizing part 2/") for message in messages), messages


def test_usage_is_what_the_server_reports(
    llm_service: Service, provider: RecordingProxy, job_id: str
) -> None:
    answer = ask(llm_service, "What should you ask?", job_id=job_id, max_tokens=40)
    _, reported = provider.exchanges[-1]
    assert answer["message"]["content"].strip()
    assert answer["model_used"] == llama.NAME
    assert answer["usage"] == {
        "prompt": reported["usage"]["prompt_tokens"],
        "completion": reported["usage"]["completion_tokens"],
        "total": reported["usage"]["total_tokens"],
    }


def test_an_answer_is_streamed_in_the_shape_of_openai(llm_service: Service, job_id: str) -> None:
    body = {
        "job_id": job_id,
        "messages": [{"role": "user", "content": "What should you ask?"}],
        "max_tokens": 30,
        "stream": True,
    }
    with llm_service.client.stream("POST", "/api/chat/", json=body) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert events[-1] == "[DONE]"
    chunks = [ChatCompletionChunk.model_validate_json(event) for event in events[:-1]]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.strip()
    reasons = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert len(reasons) == 1
    assert len(chunks) > 5
    usage = chunks[-1].usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= 30
    assert isinstance(json.loads(events[-2])["citations"], list)


def test_the_provider_s_models_are_listed_beside_the_built_in(llm_service: Service) -> None:
    models = llm_service.client.get("/api/chat/models").json()["models"]
    assert [model["id"] for model in models] == [llama.NAME, "local-extractive"]
    refused = llm_service.client.post(
        "/api/chat/",
        json={
            "full_text": "a",
            "messages": [{"role": "user", "content": "b"}],
            "model_name": "gpt-9",
        },
    )
    assert refused.status_code == 400
    assert llama.NAME in refused.json()["detail"]


def test_the_built_in_model_can_still_be_asked_for(llm_service: Service, job_id: str) -> None:
    answer = ask(llm_service, "what should you ask?", job_id=job_id, model_name="local-extractive")
    assert answer["model_used"] == "local-extractive"


def test_a_question_about_the_end_of_a_long_meeting_reaches_the_model_with_its_passage(
    llm_service: Service, provider: RecordingProxy
) -> None:
    transcript = meeting(minutes=170)
    transcript[-3]["text"] = "Ferdinand will bring the keys of the warehouse on Thursday."
    ask(llm_service, "Who brings the warehouse keys?", transcript=transcript, max_tokens=30)
    request, _ = provider.exchanges[-1]
    assert "Ferdinand will bring the keys" in json.dumps(request)
    assert len(json.dumps(request)) < CONTEXT_TOKENS * 5
