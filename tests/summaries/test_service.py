"""Summaries by the real service: end to end, killed in the midst, and beside other work."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat.llm.text import count_words
from tests.service import Service, wait_for
from tests.summaries.provider import MODEL, NOTES, SUMMARY, TOPICS, Script, serving
from tests.summaries.talk import segments

pytestmark = pytest.mark.slow

N_SEGMENTS = 50
STOP_SECONDS = 15


def start(service: Service, **body: Any) -> str:
    answer = service.client.post("/api/summary/", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


def status(service: Service, job_id: str) -> dict[str, Any]:
    document: dict[str, Any] = service.client.get(f"/api/summary/status/{job_id}").json()
    return document


def completed(service: Service, job_id: str, *, seconds: float = 30.0) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        try:
            found = status(service, job_id)
        except httpx.TransportError:
            return None
        return found if found["status"] != "processing" else None

    found = wait_for(ended, what=f"the end of summary {job_id}", seconds=seconds)
    assert found["status"] == "completed", (found, service.log())
    assert found["progress"] == 100
    result: dict[str, Any] = service.client.get(f"/api/summary/{job_id}").json()
    return result


@pytest.fixture(scope="module")
def played() -> Script:
    return Script()


@pytest.fixture(scope="module")
def provided(played: Script, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose provider does what `played` says."""
    with (
        serving(played) as url,
        Service(
            tmp_path_factory.mktemp("provided"),
            OPENAI_BASE_URL=url,
            OPENAI_API_KEY="a key",
            TRANSCRIBER_LLM_MODEL=MODEL,
            TRANSCRIBER_LLM_CONTEXT_TOKENS="1024",
            TRANSCRIBER_LLM_TIMEOUT_SECONDS="30",
        ) as service,
    ):
        yield service


def test_a_transcript_is_summarized_without_any_provider(service: Service) -> None:
    job_id = start(service, transcript=segments(60), format="bullet_points", max_length=60)
    made = completed(service, job_id)
    assert set(made) == {"summary", "topics", "length", "model_used"}
    assert made["model_used"] == "local-extractive"
    assert 0 < made["length"] <= 60
    assert made["length"] == count_words(made["summary"])
    assert 3 <= len(made["topics"]) <= 8


def test_summaries_that_wait_hold_up_no_upload_and_none_is_made_twice(
    provided: Service, played: Script, audio_dir: Path
) -> None:
    service, script = provided, played
    script.begin_anew()
    script.may_answer.clear()
    ids = [start(service, full_text=f"Meeting number {n} was short.") for n in range(10)]
    wait_for(lambda: len(script.asked) >= 4, what="that four are waiting", seconds=10)
    heard = service.transcribe(audio_dir / "jfk.flac")
    assert "country" in heard["text"]
    assert {status(service, job_id)["status"] for job_id in ids} == {"processing"}
    assert not any(asked.is_answered for asked in script.asked)
    script.may_answer.set()
    for job_id in ids:
        assert completed(service, job_id)["summary"] == "All of it in short."
    wholes = [asked.content for asked in script.of_kind(SUMMARY)]
    for n in range(10):
        assert sum(f"Meeting number {n} was" in content for content in wholes) == 1
    assert len(wholes) == 10


def contents(script: Script) -> list[str]:
    return [asked.content for asked in script.of_kind(NOTES)]


def test_a_service_killed_or_stopped_does_not_ask_again_for_the_parts_it_has(
    provided: Service, played: Script
) -> None:
    service, script = provided, played
    script.begin_anew(hold_after=3)
    job_id = start(service, transcript=segments(N_SEGMENTS))
    wait_for(lambda: len(script.asked) == 4, what="that the fourth part is asked for", seconds=20)
    progress = [status(service, job_id)["progress"]]
    saved = contents(script)[:3]
    service.kill()

    script.begin_anew(hold_after=2)
    service.start()
    wait_for(lambda: len(script.asked) == 3, what="that the sixth part is asked for", seconds=20)
    progress.append(status(service, job_id)["progress"])
    assert not set(contents(script)) & set(saved)
    saved += contents(script)[:2]
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < STOP_SECONDS, "it does not wait for the provider"

    script.begin_anew()
    service.start()
    progress.append(status(service, job_id)["progress"])
    assert completed(service, job_id)["topics"] == TOPICS
    assert 0 < progress[0] < progress[1] <= progress[2]
    assert not set(contents(script)) & set(saved)
    parts = saved + contents(script)
    assert len(parts) == len(set(parts)) >= 8
    assert all(f"Point {index} of" in "".join(parts) for index in range(N_SEGMENTS))
    [whole] = script.of_kind(SUMMARY)
    assert whole.content.count("Much was said.") == len(parts)
