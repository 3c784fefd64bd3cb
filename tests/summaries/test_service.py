"""Summaries by the real service: end to end, beside other work, and when processes are killed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat.llm.text import count_words
from tests.service import Service, wait_for
from tests.summaries.builders import segments
from tests.summaries.fake_provider import MODEL, TOPICS, Kind, Script, serve

pytestmark = [pytest.mark.slow, pytest.mark.both]

N_SEGMENTS = 50
STOP_SECONDS = 15


def start(service: Service, **body: Any) -> str:
    answer = service.client.post("/api/summary/", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


def status(service: Service, job_id: str) -> dict[str, Any]:
    document: dict[str, Any] = service.client.get(f"/api/summary/status/{job_id}").json()
    return document


def wait_for_result(service: Service, job_id: str, *, seconds: float = 30.0) -> dict[str, Any]:
    def ended_status() -> dict[str, Any] | None:
        try:
            document = status(service, job_id)
        except httpx.TransportError:
            return None
        return document if document["status"] != "processing" else None

    document = wait_for(ended_status, what=f"the end of summary {job_id}", seconds=seconds)
    assert document["status"] == "completed", (document, service.log())
    assert document["progress"] == 100
    result: dict[str, Any] = service.client.get(f"/api/summary/{job_id}").json()
    return result


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def scripted_service(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose provider follows `script`."""
    with (
        serve(script) as url,
        Service(
            tmp_path_factory.mktemp("scripted"),
            OPENAI_BASE_URL=url,
            OPENAI_API_KEY="a key",
            TRANSCRIBER_LLM_MODEL=MODEL,
            TRANSCRIBER_LLM_CONTEXT_TOKENS="1024",
            TRANSCRIBER_LLM_TIMEOUT_SECONDS="30",
        ) as service,
    ):
        yield service


def test_a_transcript_is_summarized_without_a_provider(service: Service) -> None:
    job_id = start(service, transcript=segments(60), format="bullet_points", max_length=60)
    result = wait_for_result(service, job_id)
    assert set(result) == {"summary", "topics", "length", "model_used"}
    assert result["model_used"] == "local-extractive"
    assert 0 < result["length"] <= 60
    assert result["length"] == count_words(result["summary"])
    assert 3 <= len(result["topics"]) <= 8


def test_waiting_summaries_delay_no_upload_and_none_is_made_twice(
    scripted_service: Service, script: Script, audio_dir: Path
) -> None:
    service = scripted_service
    script.restart()
    script.may_answer.clear()
    ids = [start(service, full_text=f"Meeting number {n} was short.") for n in range(10)]
    wait_for(lambda: len(script.requests) >= 4, what="four waiting requests", seconds=10)
    transcript = service.transcribe(audio_dir / "jfk.flac")
    assert "country" in transcript["text"]
    assert {status(service, job_id)["status"] for job_id in ids} == {"processing"}
    assert not any(request.is_answered for request in script.requests)
    script.may_answer.set()
    for job_id in ids:
        assert wait_for_result(service, job_id)["summary"] == "All of it in short."
    wholes = script.contents(Kind.SUMMARY)
    for n in range(10):
        assert sum(f"Meeting number {n} was" in content for content in wholes) == 1
    assert len(wholes) == 10


def test_a_service_killed_or_stopped_does_not_ask_again_for_the_parts_it_has(
    scripted_service: Service, script: Script
) -> None:
    service = scripted_service
    script.restart(max_answers=3)
    job_id = start(service, transcript=segments(N_SEGMENTS))
    wait_for(lambda: len(script.requests) == 4, what="the request for the fourth part", seconds=20)
    progress = [status(service, job_id)["progress"]]
    saved = script.contents(Kind.NOTES)[:3]
    service.kill()

    script.restart(max_answers=2)
    service.start()
    wait_for(lambda: len(script.requests) == 3, what="the request for the sixth part", seconds=20)
    progress.append(status(service, job_id)["progress"])
    assert not set(script.contents(Kind.NOTES)) & set(saved)
    saved += script.contents(Kind.NOTES)[:2]
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < STOP_SECONDS, "it does not wait for the provider"
    kept = service.query("SELECT state, attempts FROM summaries_summary WHERE state <> 'done'")
    assert kept == [("todo", 0)], "a stop counts no attempt"

    script.restart()
    service.start()
    progress.append(status(service, job_id)["progress"])
    assert wait_for_result(service, job_id)["topics"] == TOPICS
    assert 0 < progress[0] < progress[1] <= progress[2]
    assert not set(script.contents(Kind.NOTES)) & set(saved)
    parts = saved + script.contents(Kind.NOTES)
    assert len(parts) == len(set(parts)) >= 8
    assert all(f"Point {index} of" in "".join(parts) for index in range(N_SEGMENTS))
    [whole] = script.of_kind(Kind.SUMMARY)
    assert whole.content.count("Much was said.") == len(parts)
