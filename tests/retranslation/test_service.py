"""Retranslation by the real service: documented answers, beside long work, and when workers are killed."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import Service, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.both]

API = "/api/retranslate"
DOCUMENTED = {"segment_id", "text", "confidence", "speaker", "model_used"}
RANGE = {"segment_id": "seg-1", "start_time": 2.8, "end_time": 7.9, "model_name": "base"}
LONG_SECONDS = 45.0


@pytest.fixture(scope="module")
def retranslating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a single interactive worker, for which all requests compete."""
    folder = tmp_path_factory.mktemp("retranslating")
    with Service(folder, TRANSCRIBER_INTERACTIVE_WORKERS="1") as running:
        yield running


@pytest.fixture(scope="module")
def job_id(retranslating: Service, audio_dir: Path) -> str:
    job_id = retranslating.upload(audio_dir / "jfk.flac")
    assert retranslating.finished(job_id)["status"] == "completed"
    return job_id


@pytest.fixture(scope="module")
def long_id(retranslating: Service, audio_dir: Path) -> str:
    """The id of a job that is still running when a test first uses it."""
    return retranslating.upload(audio_dir / "reading-10min.flac")


def post_range(service: Service, job_id: str, **values: Any) -> httpx.Response:
    path = f"{API}/segment-from-full?job_id={job_id}"
    return service.client.post(path, json={**RANGE, **values}, timeout=120)


def assert_is_the_ranges_text(answer: httpx.Response) -> None:
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert result.keys() >= DOCUMENTED
    assert result["text"].lower().startswith("ask not what your country can do for you")
    assert "fellow" not in result["text"].lower()
    assert 0.0 < result["confidence"] < 1.0


def test_a_range_is_transcribed_with_another_model_and_accepted(
    retranslating: Service, job_id: str
) -> None:
    before = retranslating.result(job_id)["segments"]
    answer = post_range(retranslating, job_id, model_name="whisper-base")
    assert_is_the_ranges_text(answer)
    result = answer.json()
    assert (result["segment_id"], result["model_used"]) == ("seg-1", "whisper-base")
    assert result["speaker"] is None
    assert retranslating.result(job_id)["segments"] == before
    [listed] = retranslating.client.get(f"{API}/?job_id={job_id}").json()["retranslations"]
    assert (listed["id"], listed["text"]) == (result["id"], result["text"])

    accepted = retranslating.client.post(f"{API}/{result['id']}/accept")
    assert accepted.status_code == 200, accepted.text
    assert accepted.json()["decision"] == "accepted"
    assert retranslating.client.post(f"{API}/{result['id']}/accept").status_code == 409
    undone = retranslating.client.post(f"{API}/{result['id']}/undo")
    assert undone.json()["decision"] == "none"
    assert retranslating.result(job_id)["segments"] == before


def normalized_words(segments: list[dict[str, Any]]) -> list[str]:
    """Every word of a transcript, without case and punctuation."""
    text = " ".join(segment["text"] for segment in segments).casefold()
    return ["".join(filter(str.isalnum, word)) for word in text.split()]


def assert_changed_only_within(new: list[str], before: list[str], after: list[str]) -> None:
    """Assert that the new words are in the transcript, which differs from before only between the first and the last.

    Within a range two models may write different words; at its edges none may be lost or doubled.
    """
    [first] = [at for at in range(len(after)) if after[at : at + len(new)] == new]
    for kind, _, _, begin, end in SequenceMatcher(None, before, after, False).get_opcodes():
        assert kind == "equal" or first < begin <= end < first + len(new), after[begin:end]


@pytest.mark.embedded
def test_no_word_is_lost_or_doubled_at_the_edges(retranslating: Service, audio_dir: Path) -> None:
    job_id = retranslating.upload(audio_dir / "conversation" / "sample.flac")
    assert retranslating.finished(job_id)["status"] == "completed"
    before = retranslating.result(job_id)["segments"]
    for start, end in (
        (15.0, 22.0),
        (20.5, 26.0),
        (18.0, 27.0),
    ):  # all edges within speech
        result = post_range(retranslating, job_id, start_time=start, end_time=end).json()
        accepted = retranslating.client.post(f"{API}/{result['id']}/accept")
        assert accepted.status_code == 200, accepted.text
        after = retranslating.result(job_id)["segments"]
        assert_changed_only_within(
            normalized_words([result]), normalized_words(before), normalized_words(after)
        )
        assert all(a["end"] <= b["start"] for a, b in pairwise(after))
        assert retranslating.client.post(f"{API}/{result['id']}/undo").status_code == 200
        assert retranslating.result(job_id)["segments"] == before


@pytest.mark.embedded
def test_a_segment_requested_by_its_own_times_keeps_its_words(
    retranslating: Service, audio_dir: Path
) -> None:
    job_id = retranslating.upload(audio_dir / "jfk.flac")
    assert retranslating.finished(job_id)["status"] == "completed"
    segments = retranslating.result(job_id)["segments"]
    for segment in segments:
        times = {"start_time": segment["start"], "end_time": segment["end"]}
        result = post_range(retranslating, job_id, segment_id=str(segment["id"]), **times).json()
        assert normalized_words([result]) == normalized_words([segment])


@pytest.mark.embedded
def test_a_clip_is_transcribed_and_deleted(retranslating: Service, audio_dir: Path) -> None:
    fields = {**RANGE, "start_time": "60", "end_time": "71", "model_name": "base"}
    with (audio_dir / "jfk.flac").open("rb") as file:
        files = {"file": ("clip.flac", file, "audio/flac")}
        answer = retranslating.client.post(f"{API}/segment", data=fields, files=files, timeout=120)
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert result.keys() >= DOCUMENTED
    assert "for your country" in result["text"].lower()
    assert (result["model_used"], result["speaker"]) == ("base", None)
    assert (result["start_time"], result["end_time"]) == (60.0, 71.0)
    clips = retranslating.data_dir / "files" / "retranslations"
    wait_for(lambda: not list(clips.iterdir()), what="the deletion of the clip", seconds=5)


@pytest.mark.embedded
def test_the_default_model_is_reported_as_missing(retranslating: Service, job_id: str) -> None:
    body = {name: value for name, value in RANGE.items() if name != "model_name"}
    path = f"{API}/segment-from-full?job_id={job_id}"
    answer = retranslating.client.post(path, json=body)
    assert answer.status_code == 503
    for part in ("large-v3-turbo", "models download", "tiny.en"):
        assert part in answer.json()["detail"]


def test_a_long_job_and_other_requests_block_no_request(
    retranslating: Service, job_id: str, long_id: str
) -> None:
    with ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda _: post_range(retranslating, job_id), range(2)))
        waiting = clients.submit(post_range, retranslating, job_id, end_time=8.0)
        assert retranslating.client.get("/health", timeout=2).status_code == 200
        answers.append(waiting.result())
    for answer in answers:
        assert_is_the_ranges_text(answer)
    assert retranslating.status(long_id)["status"] == "processing", "the job is not long enough"


def test_suspects_are_retranslated_in_the_background(retranslating: Service, job_id: str) -> None:
    before = retranslating.result(job_id)["segments"]
    change(
        retranslating,
        "update transcription_segment set avg_logprob = -1.5 where job_id = %s",
        job_id,
    )
    path = f"{API}/suspects?job_id={job_id}&model_name=base"
    batch = retranslating.client.post(path).json()

    def ended_batch() -> dict[str, Any] | None:
        url = f"{API}/suspects/{batch['job_id']}"
        document: dict[str, Any] = retranslating.client.get(url).json()
        return document if document["status"] != "processing" else None

    done = wait_for(ended_batch, what="the end of the batch")
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert len(done["retranslations"]) >= 1
    for row in done["retranslations"]:
        assert (row["status"], row["decision"], row["model_used"]) == ("completed", "none", "base")
        assert "low_log_probability" in row["reasons"]
        assert row["text"]
    assert retranslating.result(job_id)["segments"] == before


def test_a_killed_worker_costs_those_who_wait_time_alone(
    retranslating: Service, long_id: str
) -> None:
    wait_for(
        lambda: retranslating.debug(long_id)["stages"][0]["state"] == "done",
        what="the end of the preparation",
    )
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(
            post_range, retranslating, long_id, start_time=10.0, end_time=10.0 + LONG_SECONDS
        )
        worker = wait_for(
            lambda: claiming_worker(retranslating), what="the start of the work", seconds=20
        )
        os.kill(int(worker.rsplit("/", 3)[1]), signal.SIGKILL)
        answer = waiting.result()
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["text"].split()) > LONG_SECONDS
    [attempts] = rows(
        retranslating,
        "select attempts from retranslation_retranslation where id = %s",
        answer.json()["id"].replace("-", ""),
    )
    assert attempts == 2


def claiming_worker(service: Service) -> str | None:
    """The worker of a retranslation that is being made."""
    workers = rows(service, "select worker from retranslation_retranslation where state = 'doing'")
    return workers[0] if workers else None


def rows(service: Service, query: str, *values: str) -> list[Any]:
    return [row[0] for row in service.query(query, *values)]


def change(service: Service, statement: str, job_id: str) -> None:
    service.query(statement, job_id.replace("-", ""))
