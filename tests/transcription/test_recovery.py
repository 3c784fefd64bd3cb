"""Whatever is killed and whenever, every job ends completed, and its transcript is that of an undisturbed run."""

import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.service import Service, wait_for
from tests.transcription.jobs_under_way import (
    Row,
    Spoken,
    assert_not_done_again,
    attempts_of,
    chunks_when,
    completed,
    in_state,
    midway,
    patiently,
    pid_of_worker,
    processes_with,
    spoken,
)

pytestmark = [pytest.mark.slow, pytest.mark.both]

LEASE_SECONDS = 5
NOTICED_SECONDS = 15.0
"""A worker's end is noticed at once, not with the lease's: what this takes is to start another one."""
ASKED_SECONDS = 1.5
"""For a second Redis gives a message to a process that asked for one, though that is suspended meanwhile."""


def ids_so_far(service: Service, job_id: str) -> set[int]:
    answer = service.client.get(f"/api/transcribe/result/{job_id}", params={"partial": "true"})
    return {segment["id"] for segment in answer.json()["segments"]}


# ---- Killing


def test_a_killed_speech_worker_costs_the_chunks_in_its_hands(
    fresh_service: Service, reading: Path, undisturbed_reading: Spoken
) -> None:
    job_id = fresh_service.upload(reading)
    before = midway(fresh_service, job_id)
    ids = ids_so_far(fresh_service, job_id)
    killed = pid_of_worker(in_state(before, "doing")[0])
    interactive = processes_with(fresh_service, "interactive")
    for process in interactive:
        process.suspend()  # as if it were busy with something long: nobody waits for it
    try:
        os.kill(killed, signal.SIGKILL)
        killed_at = time.monotonic()
        at_death = fresh_service.debug(job_id)["chunks"]
        chunks_when(
            fresh_service,
            job_id,
            lambda chunks: any(pid_of_worker(row) != killed for row in in_state(chunks, "doing")),
            what="that another worker goes on",
        )
        assert time.monotonic() - killed_at < NOTICED_SECONDS
    finally:
        for process in interactive:
            process.resume()
    result = completed(fresh_service, job_id)
    assert spoken(result) == undisturbed_reading
    assert ids <= {segment["id"] for segment in result["segments"]}
    assert_not_done_again(fresh_service, job_id, at_death)
    in_hand = {chunk["index"] for chunk in in_state(at_death, "doing")}
    attempts = attempts_of(fresh_service, job_id)
    assert attempts == {index: 2 if index in in_hand else 1 for index in attempts}


def test_a_killed_cluster_is_replaced_and_goes_on(
    fresh_service: Service, clip: Path, undisturbed_clip: Spoken
) -> None:
    """Its leader: the worker, and whatever fetches for it, die with that."""
    job_id = fresh_service.upload(clip)
    before = midway(fresh_service, job_id)
    worker = psutil.Process(pid_of_worker(in_state(before, "doing")[0]))
    [leader] = [p for p in worker.parents() if p.ppid() == process_of(fresh_service).pid]
    family = leader.children(recursive=True)
    leader.kill()
    psutil.wait_procs(family, timeout=NOTICED_SECONDS)
    assert not any(process.is_running() for process in family)
    assert spoken(completed(fresh_service, job_id)) == undisturbed_clip
    assert_not_done_again(fresh_service, job_id, before)


def process_of(service: Service) -> psutil.Process:
    assert service.process is not None
    return psutil.Process(service.process.pid)


def test_a_killed_service_goes_on_where_it_was(
    fresh_service: Service, clip: Path, undisturbed_clip: Spoken
) -> None:
    job_id = fresh_service.upload(clip)
    before = midway(fresh_service, job_id)
    fresh_service.kill()
    fresh_service.start()
    started_at = time.monotonic()
    chunks_when(
        fresh_service,
        job_id,
        lambda chunks: len(in_state(chunks, "done")) > len(in_state(before, "done")),
        what="that the work goes on",
    )
    assert time.monotonic() - started_at < NOTICED_SECONDS
    assert spoken(completed(fresh_service, job_id)) == undisturbed_clip
    assert_not_done_again(fresh_service, job_id, before)


def test_a_preparation_whose_worker_is_killed_is_done_again(
    fresh_service: Service, reading: Path, undisturbed_reading: Spoken
) -> None:
    job_id = fresh_service.upload(reading)

    def preparing() -> Row | None:
        debug = fresh_service.debug(job_id)
        [stage] = debug["stages"]
        return stage if stage["state"] == "doing" and len(debug["chunks"]) >= 2 else None

    os.kill(pid_of_worker(wait_for(preparing, what="the preparation")), signal.SIGKILL)
    assert spoken(completed(fresh_service, job_id)) == undisturbed_reading
    [stage] = fresh_service.debug(job_id)["stages"]
    assert stage["attempts"] == 2


def test_a_listener_loses_nothing_when_the_web_process_is_killed(
    fresh_service: Service, clip: Path, undisturbed_clip: Spoken
) -> None:
    job_id = fresh_service.upload(clip)
    heard: list[Row] = []
    closed = kills = 0
    deadline = time.monotonic() + 120
    while closed != 1000 and time.monotonic() < deadline:
        query = f"?after={heard[-1]['id']}" if heard else ""
        url = f"ws://127.0.0.1:{fresh_service.port}/api/transcribe/live/{job_id}{query}"
        try:
            with connect(url, max_queue=None) as live:
                for message in live:
                    row = json.loads(message)
                    if "id" in row:
                        heard.append(row)
                    if heard and not kills:
                        kill_web(fresh_service)
                        kills += 1
                closed = live.close_code or 0
        except (OSError, WebSocketException):
            time.sleep(0.1)  # it is not back yet
    assert kills == 1
    assert closed == 1000
    assert spoken({"segments": heard}) == undisturbed_clip
    assert [row["id"] for row in heard] == [
        row["id"] for row in completed(fresh_service, job_id)["segments"]
    ]


def kill_web(service: Service) -> None:
    [web] = processes_with(service, "transcriber_site.web")
    web.kill()


@pytest.mark.parametrize("seed", [1])
def test_a_job_survives_kill_after_kill(
    fresh_service: Service, reading: Path, undisturbed_reading: Spoken, seed: int
) -> None:
    chance = random.Random(seed)
    job_id = fresh_service.upload(reading)
    n_kills = 0
    while n_kills < 7 and in_progress(fresh_service, job_id):
        time.sleep(chance.uniform(0.2, 2.0))
        victim = chance.choice(fresh_service.processes())
        assert fresh_service.process is not None
        if victim.pid == fresh_service.process.pid:
            fresh_service.kill()
            fresh_service.start()
        else:
            kill(victim)
        n_kills += 1
    assert n_kills >= 3
    assert spoken(completed(fresh_service, job_id)) == undisturbed_reading


def in_progress(service: Service, job_id: str) -> bool:
    status = patiently(lambda: service.status(job_id), what="an answer")
    return bool(status["status"] == "processing")


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return  # it went with its parent


# ---- Stopping


def test_a_worker_that_wakes_up_too_late_commits_nothing(
    tmp_path: Path, reading: Path, undisturbed_reading: Spoken
) -> None:
    settings = {
        "TRANSCRIBER_SPEECH_WORKERS": "2",
        "TRANSCRIBER_LEASE_SECONDS": str(LEASE_SECONDS),
    }
    with Service(tmp_path / "data", **settings) as service:
        job_id = service.upload(reading)
        chunks = chunks_when(
            service,
            job_id,
            lambda rows: len({pid_of_worker(row) for row in in_state(rows, "doing")}) == 2,
            what="that both workers are busy",
        )
        stopped = psutil.Process(pid_of_worker(in_state(chunks, "doing")[0]))
        stopped.suspend()
        try:
            held = {
                (row["index"], row["worker"])
                for row in in_state(service.debug(job_id)["chunks"], "doing")
                if pid_of_worker(row) == stopped.pid
            }
            assert held, "it was stopped between two chunks"
            chunks_when(
                service,
                job_id,
                lambda rows: not held & {(row["index"], row["worker"]) for row in rows},
                what="that another takes its chunks",
            )
        finally:
            stopped.resume()
        assert spoken(completed(service, job_id)) == undisturbed_reading
        wait_for(
            lambda: "is not wanted any more" in service.log(), what="that the late one learns it"
        )
        assert spoken(service.result(job_id)) == undisturbed_reading
        attempts = attempts_of(service, job_id)
        assert {attempts[index] for index, _ in held} == {2}
        assert stopped.is_running(), "it lives, and takes part again"


def test_a_service_that_is_told_to_stop_leaves_no_process_and_goes_on_later(
    fresh_service: Service, clip: Path, undisturbed_clip: Spoken
) -> None:
    job_id = fresh_service.upload(clip)
    before = midway(fresh_service, job_id)
    processes = fresh_service.processes()
    began = time.monotonic()
    fresh_service.stop()
    assert time.monotonic() - began < 25
    assert fresh_service.process is not None
    assert fresh_service.process.returncode == 0
    assert not [process for process in processes if process.is_running()]
    fresh_service.start()
    assert spoken(completed(fresh_service, job_id)) == undisturbed_clip
    assert_not_done_again(fresh_service, job_id, before)
    attempts = [chunk["attempts"] for chunk in fresh_service.debug(job_id)["chunks"]]
    assert set(attempts) == {1}, "what was in hand was finished"


# ---- Losing messages


@pytest.mark.parametrize("restarts", [False, True], ids=["in time", "on restart"])
def test_lost_messages_cost_time_alone(
    fresh_service: Service, clip: Path, undisturbed_clip: Spoken, restarts: bool
) -> None:
    clusters = processes_with(fresh_service, "qcluster")
    for process in clusters:
        process.suspend()
    time.sleep(ASKED_SECONDS)
    ids = [fresh_service.upload(clip) for _ in range(2)]
    assert fresh_service.lose_messages() >= 2
    for process in clusters:
        process.resume()
    if restarts:
        fresh_service.stop()
        fresh_service.start()
    for job_id in ids:
        result = completed(fresh_service, job_id, seconds=NOTICED_SECONDS + 15 if restarts else 100)
        assert spoken(result) == undisturbed_clip
