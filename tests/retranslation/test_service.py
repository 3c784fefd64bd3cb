"""Retranslation by the real service: the documented answers, beside long work, and when workers are killed."""

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
    """A service with a single interactive worker, so that all that it is asked for meets there."""
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
    """A job that is under way when it is first asked for."""
    return retranslating.upload(audio_dir / "reading-10min.flac")


def ask(service: Service, job_id: str, **values: Any) -> httpx.Response:
    path = f"{API}/segment-from-full?job_id={job_id}"
    return service.client.post(path, json={**RANGE, **values}, timeout=120)


def assert_is_of_the_range(answer: httpx.Response) -> None:
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made.keys() >= DOCUMENTED
    assert made["text"].lower().startswith("ask not what your country can do for you")
    assert "fellow" not in made["text"].lower()
    assert 0.0 < made["confidence"] < 1.0


def test_a_range_is_transcribed_with_another_model_and_accepted(
    retranslating: Service, job_id: str
) -> None:
    before = retranslating.result(job_id)["segments"]
    answer = ask(retranslating, job_id, model_name="whisper-base")
    assert_is_of_the_range(answer)
    made = answer.json()
    assert (made["segment_id"], made["model_used"]) == ("seg-1", "whisper-base")
    assert made["speaker"] is None
    assert retranslating.result(job_id)["segments"] == before
    [listed] = retranslating.client.get(f"{API}/?job_id={job_id}").json()["retranslations"]
    assert (listed["id"], listed["text"]) == (made["id"], made["text"])

    accepted = retranslating.client.post(f"{API}/{made['id']}/accept")
    assert accepted.status_code == 200, accepted.text
    assert accepted.json()["decision"] == "accepted"
    assert retranslating.client.post(f"{API}/{made['id']}/accept").status_code == 409
    undone = retranslating.client.post(f"{API}/{made['id']}/undo")
    assert undone.json()["decision"] == "none"
    assert retranslating.result(job_id)["segments"] == before


def spoken(segments: list[dict[str, Any]]) -> list[str]:
    """Every word of a transcript, as it sounds."""
    text = " ".join(segment["text"] for segment in segments).casefold()
    return ["".join(filter(str.isalnum, word)) for word in text.split()]


def assert_edges_stand_once(before: list[str], after: list[str], heard: list[str]) -> None:
    """What was heard stands in the transcript; it differs from before only between its first and its last word.

    Within a range two models may hear different words; at its edges none is to be lost or doubled.
    """
    [first] = [at for at in range(len(after)) if after[at : at + len(heard)] == heard]
    for kind, _, _, begin, end in SequenceMatcher(None, before, after, False).get_opcodes():
        assert kind == "equal" or first < begin <= end < first + len(heard), after[begin:end]


def test_two_models_that_place_words_otherwise_leave_each_of_them_once(
    retranslating: Service, audio_dir: Path
) -> None:
    job_id = retranslating.upload(audio_dir / "conversation" / "sample.flac")
    assert retranslating.finished(job_id)["status"] == "completed"
    before = retranslating.result(job_id)["segments"]
    for start, end in (
        (15.0, 22.0),
        (20.5, 26.0),
        (18.0, 27.0),
    ):  # all edges in the midst of speech
        made = ask(retranslating, job_id, start_time=start, end_time=end).json()
        accepted = retranslating.client.post(f"{API}/{made['id']}/accept")
        assert accepted.status_code == 200, accepted.text
        after = retranslating.result(job_id)["segments"]
        assert_edges_stand_once(spoken(before), spoken(after), spoken([made]))
        assert all(a["end"] <= b["start"] for a, b in pairwise(after))
        assert retranslating.client.post(f"{API}/{made['id']}/undo").status_code == 200
        assert retranslating.result(job_id)["segments"] == before


def test_a_segment_asked_for_by_its_own_times_has_its_own_words(
    retranslating: Service, audio_dir: Path
) -> None:
    job_id = retranslating.upload(audio_dir / "jfk.flac")
    assert retranslating.finished(job_id)["status"] == "completed"
    segments = retranslating.result(job_id)["segments"]
    for segment in segments:
        times = {"start_time": segment["start"], "end_time": segment["end"]}
        made = ask(retranslating, job_id, segment_id=str(segment["id"]), **times).json()
        assert spoken([made]) == spoken([segment])


def test_a_clip_is_transcribed_and_not_kept(retranslating: Service, audio_dir: Path) -> None:
    fields = {**RANGE, "start_time": "60", "end_time": "71", "model_name": "base"}
    with (audio_dir / "jfk.flac").open("rb") as file:
        files = {"file": ("clip.flac", file, "audio/flac")}
        answer = retranslating.client.post(f"{API}/segment", data=fields, files=files, timeout=120)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made.keys() >= DOCUMENTED
    assert "for your country" in made["text"].lower()
    assert (made["model_used"], made["speaker"]) == ("base", None)
    assert (made["start_time"], made["end_time"]) == (60.0, 71.0)
    clips = retranslating.data_dir / "files" / "retranslations"
    wait_for(lambda: not list(clips.iterdir()), what="that the clip goes", seconds=5)


def test_the_documented_default_model_is_told_to_be_missing(
    retranslating: Service, job_id: str
) -> None:
    body = {name: value for name, value in RANGE.items() if name != "model_name"}
    path = f"{API}/segment-from-full?job_id={job_id}"
    answer = retranslating.client.post(path, json=body)
    assert answer.status_code == 503
    for part in ("large-v3-turbo", "models download", "tiny.en"):
        assert part in answer.json()["detail"]


def test_a_long_job_and_others_who_ask_hold_nobody_up(
    retranslating: Service, job_id: str, long_id: str
) -> None:
    with ThreadPoolExecutor(2) as people:
        answers = list(people.map(lambda _: ask(retranslating, job_id), range(2)))
        waiting = people.submit(ask, retranslating, job_id, end_time=8.0)
        assert retranslating.client.get("/health", timeout=2).status_code == 200
        answers.append(waiting.result())
    for answer in answers:
        assert_is_of_the_range(answer)
    assert retranslating.status(long_id)["status"] == "processing", "the job was no long one"


def test_all_that_is_suspect_is_transcribed_in_the_background(
    retranslating: Service, job_id: str
) -> None:
    before = retranslating.result(job_id)["segments"]
    change(
        retranslating,
        "update transcription_segment set avg_logprob = -1.5 where job_id = %s",
        job_id,
    )
    path = f"{API}/suspects?job_id={job_id}&model_name=base"
    batch = retranslating.client.post(path).json()

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = retranslating.client.get(f"{API}/suspects/{batch['job_id']}").json()
        return found if found["status"] != "processing" else None

    done = wait_for(ended, what="the end of the batch")
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
    with ThreadPoolExecutor(1) as people:
        waiting = people.submit(
            ask, retranslating, long_id, start_time=10.0, end_time=10.0 + LONG_SECONDS
        )
        worker = wait_for(lambda: in_hand(retranslating), what="that it is worked at", seconds=20)
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


def in_hand(service: Service) -> str | None:
    """The worker of a retranslation that is under way."""
    found = rows(service, "select worker from retranslation_retranslation where state = 'doing'")
    return found[0] if found else None


def rows(service: Service, query: str, *values: str) -> list[Any]:
    return [row[0] for row in service.query(query, *values)]


def change(service: Service, statement: str, job_id: str) -> None:
    service.query(statement, job_id.replace("-", ""))
