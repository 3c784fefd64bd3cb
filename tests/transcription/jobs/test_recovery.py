"""Whatever is killed and whenever, every job ends completed, and its transcript is that of an undisturbed run.

The engine waits for a gate, so that each test knows where in the job it kills. With real weights: test_faults.py.
"""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.running_jobs import (
    Row,
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
    undisturbed,
)
from tests.service import Service, wait_for
from tests.transcription.conftest import QUICK_RECOVERY
from tests.waiting_engine import RATE, SETTINGS, Gate

pytestmark = [pytest.mark.slow, pytest.mark.both]

LEASE_SECONDS = 5
NOTICED_SECONDS = 15.0
"""A worker's end is noticed at once, not with the lease's: what this takes is to start another one."""
POLLED_SECONDS = 1.5
"""For a second Redis gives a message to a process that asked for one, though that is suspended meanwhile."""
JOB_SECONDS = 15
"""How long the engine waits in all for the ten minutes that are killed at again and again."""


def ids_so_far(service: Service, job_id: str) -> set[int]:
    answer = service.client.get(f"/api/transcribe/result/{job_id}", params={"partial": "true"})
    return {segment["id"] for segment in answer.json()["segments"]}


# ---- Killing


def test_a_killed_speech_worker_costs_the_chunks_in_its_hands(
    gated_service: Service, gate: Gate, clip: Path
) -> None:
    job_id = gated_service.upload(clip)
    before = midway(gated_service, job_id)
    ids = ids_so_far(gated_service, job_id)
    killed = pid_of_worker(in_state(before, "doing")[0])
    # Suspended, as if they were busy with something long: nobody waits for them.
    with gated_service.suspended(processes_with(gated_service, "interactive")):
        os.kill(killed, signal.SIGKILL)
        killed_at = time.monotonic()
        chunks_when(
            gated_service,
            job_id,
            lambda chunks: any(pid_of_worker(row) != killed for row in in_state(chunks, "doing")),
            what="that another worker goes on",
        )
        assert time.monotonic() - killed_at < NOTICED_SECONDS
    gate.open()
    result = completed(gated_service, job_id)
    assert spoken(result) == undisturbed(gated_service, clip)
    assert ids <= {segment["id"] for segment in result["segments"]}
    assert_not_done_again(gated_service, job_id, before)
    in_hand = {chunk["index"] for chunk in in_state(before, "doing")}
    attempts = attempts_of(gated_service, job_id)
    assert attempts == {index: 2 if index in in_hand else 1 for index in attempts}


def test_a_killed_cluster_is_replaced_and_goes_on(
    gated_service: Service, gate: Gate, clip: Path
) -> None:
    """Its leader: the worker, and whatever fetches for it, die with that."""
    job_id = gated_service.upload(clip)
    before = midway(gated_service, job_id)
    worker = psutil.Process(pid_of_worker(in_state(before, "doing")[0]))
    [leader] = [p for p in worker.parents() if p.ppid() == process_of(gated_service).pid]
    family = leader.children(recursive=True)
    leader.kill()
    psutil.wait_procs(family, timeout=NOTICED_SECONDS)
    assert not any(process.is_running() for process in family)
    gate.open()
    assert spoken(completed(gated_service, job_id)) == undisturbed(gated_service, clip)
    assert_not_done_again(gated_service, job_id, before)


def test_a_service_stopped_while_it_prepares_finishes_that_first(
    gated_service: Service, gate: Gate, clip: Path
) -> None:
    job_id = gated_service.upload(clip)
    wait_for(lambda: preparation(gated_service)[0] != "todo", what="the start of the preparation")
    gated_service.stop()
    assert preparation(gated_service) == ("done", 1)
    gate.open()
    gated_service.start()
    assert spoken(completed(gated_service, job_id)) == undisturbed(gated_service, clip)
    assert preparation(gated_service) == ("done", 1)


def preparation(service: Service) -> tuple[object, ...]:
    [row] = service.query(
        "SELECT state, attempts FROM transcription_stage WHERE kind = 'prepare' ORDER BY id LIMIT 1"
    )
    return row


def process_of(service: Service) -> psutil.Process:
    assert service.process is not None
    return psutil.Process(service.process.pid)


def test_a_killed_service_goes_on_where_it_was(
    gated_service: Service, gate: Gate, clip: Path
) -> None:
    job_id = gated_service.upload(clip)
    before = midway(gated_service, job_id)
    gated_service.kill()
    gate.open()
    gated_service.start()
    started_at = time.monotonic()
    chunks_when(
        gated_service,
        job_id,
        lambda chunks: len(in_state(chunks, "done")) > len(in_state(before, "done")),
        what="that the work goes on",
    )
    assert time.monotonic() - started_at < NOTICED_SECONDS
    assert spoken(completed(gated_service, job_id)) == undisturbed(gated_service, clip)
    assert_not_done_again(gated_service, job_id, before)


def test_a_preparation_whose_worker_is_killed_is_done_again(
    gated_service: Service, gate: Gate, reading: Path
) -> None:
    gate.open()
    job_id = gated_service.upload(reading)

    def preparing() -> Row | None:
        debug = gated_service.debug(job_id)
        [stage] = debug["stages"]
        return stage if stage["state"] == "doing" and len(debug["chunks"]) >= 2 else None

    os.kill(pid_of_worker(wait_for(preparing, what="the preparation")), signal.SIGKILL)
    assert spoken(completed(gated_service, job_id)) == undisturbed(gated_service, reading)
    [stage] = gated_service.debug(job_id)["stages"]
    assert stage["attempts"] == 2


def test_a_listener_loses_nothing_when_the_web_process_is_killed(
    gated_service: Service, gate: Gate, clip: Path
) -> None:
    job_id = gated_service.upload(clip)
    heard: list[Row] = []
    closed = kills = 0
    deadline = time.monotonic() + 120
    while closed != 1000 and time.monotonic() < deadline:
        query = f"?after={heard[-1]['id']}" if heard else ""
        url = f"ws://127.0.0.1:{gated_service.port}/api/transcribe/live/{job_id}{query}"
        try:
            with connect(url, max_queue=None) as live:
                for message in live:
                    row = json.loads(message)
                    if "id" in row:
                        heard.append(row)
                    if heard and not kills:
                        kill_web(gated_service)
                        kills += 1
                        gate.open()
                closed = live.close_code or 0
        except (OSError, WebSocketException):
            time.sleep(0.1)  # it is not back yet
    assert kills == 1
    assert closed == 1000
    assert [row["id"] for row in heard] == [
        row["id"] for row in completed(gated_service, job_id)["segments"]
    ]
    assert spoken({"segments": heard}) == undisturbed(gated_service, clip)


def kill_web(service: Service) -> None:
    [web] = processes_with(service, "transcriber_site.web")
    web.kill()


@pytest.mark.parametrize("seed", [1])
def test_a_job_survives_kill_after_kill(tmp_path: Path, reading: Path, seed: int) -> None:
    chance = random.Random(seed)
    rate = {RATE: str(JOB_SECONDS / 600)}
    with Service(tmp_path / "data", **SETTINGS, **rate, **QUICK_RECOVERY) as service:
        job_id = service.upload(reading)
        n_kills = 0
        while n_kills < 7 and in_progress(service, job_id):
            time.sleep(chance.uniform(0.2, 2.0))
            victim = chance.choice(service.processes())
            if victim.pid == process_of(service).pid:
                service.kill()
                service.start()
            else:
                kill(victim)
            n_kills += 1
        assert n_kills >= 3
        assert spoken(completed(service, job_id)) == undisturbed(service, reading)


def in_progress(service: Service, job_id: str) -> bool:
    status = patiently(lambda: service.status(job_id), what="an answer")
    return bool(status["status"] == "processing")


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return  # it went with its parent


# ---- Stopping


def test_a_worker_that_wakes_up_too_late_commits_nothing(tmp_path: Path, reading: Path) -> None:
    gate = Gate(tmp_path / "gate", limit=0)
    settings = {
        "TRANSCRIBER_SPEECH_WORKERS": "2",
        "TRANSCRIBER_LEASE_SECONDS": str(LEASE_SECONDS),
    }
    with Service(tmp_path / "data", **settings, **gate.environment, **QUICK_RECOVERY) as service:
        job_id = service.upload(reading)
        chunks = chunks_when(
            service,
            job_id,
            lambda rows: len({pid_of_worker(row) for row in in_state(rows, "doing")}) == 2,
            what="that both workers are busy",
        )
        stopped = psutil.Process(pid_of_worker(in_state(chunks, "doing")[0]))
        with service.suspended([stopped]):
            held = {
                (row["index"], row["worker"])
                for row in in_state(service.debug(job_id)["chunks"], "doing")
                if pid_of_worker(row) == stopped.pid
            }
            assert held, "it was stopped between two chunks"
            gate.open()
            chunks_when(
                service,
                job_id,
                lambda rows: not held & {(row["index"], row["worker"]) for row in rows},
                what="that another takes its chunks",
            )
        result = completed(service, job_id)
        wait_for(lambda: "lost its lease" in service.log(), what="that the late one learns it")
        assert service.result(job_id) == result
        assert spoken(result) == undisturbed(service, reading)
        attempts = attempts_of(service, job_id)
        assert {attempts[index] for index, _ in held} == {2}
        assert stopped.is_running(), "it lives, and takes part again"


def test_a_service_that_is_told_to_stop_leaves_no_process_and_goes_on_later(
    gated_service: Service, gate: Gate, clip: Path
) -> None:
    job_id = gated_service.upload(clip)
    before = midway(gated_service, job_id)
    processes = gated_service.processes()
    began = time.monotonic()
    threading.Timer(
        1.0, gate.open
    ).start()  # while it stops, so that what is in hand can be finished
    gated_service.stop()
    assert time.monotonic() - began < 25
    assert gated_service.process is not None
    assert gated_service.process.returncode == 0
    assert not [process for process in processes if process.is_running()]
    gated_service.start()
    assert spoken(completed(gated_service, job_id)) == undisturbed(gated_service, clip)
    assert_not_done_again(gated_service, job_id, before)
    attempts = [chunk["attempts"] for chunk in gated_service.debug(job_id)["chunks"]]
    assert set(attempts) == {1}, "what was in hand was finished"


# ---- Losing messages


@pytest.mark.parametrize("restarts", [False, True], ids=["in time", "on restart"])
def test_lost_messages_cost_time_alone(
    gated_service: Service, gate: Gate, clip: Path, restarts: bool
) -> None:
    gate.open()
    with gated_service.suspended(processes_with(gated_service, "qcluster")):
        time.sleep(POLLED_SECONDS)
        ids = [gated_service.upload(clip) for _ in range(2)]
        assert gated_service.lose_messages() >= 2
    if restarts:
        gated_service.stop()
        gated_service.start()
    for job_id in ids:
        result = completed(gated_service, job_id, seconds=NOTICED_SECONDS + 15)
        assert spoken(result) == undisturbed(gated_service, clip)
