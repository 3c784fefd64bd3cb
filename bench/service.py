"""Benchmark of the whole service: real processes, real uploads, a real WebSocket."""

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import psutil
from websockets.sync.client import connect

from bench.contenders import WARM_UP
from bench.speech import READING, run
from tests.media import repeated
from tests.service import Service

ENGINE_ALONE = "ours, with word times"
STATUS_RATE = 50
STATUS_SECONDS = 20


def measure(*, rounds: int = 3) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        long_file = repeated(READING, Path(folder) / "65min.wav", seconds=65 * 60)
        with Service(Path(folder) / "data", TRANSCRIBER_SPEECH_THREADS="2") as service:
            service.transcribe(WARM_UP)
            rows = [_whole_job(service, rounds)]
            rows += _long_job(service, long_file)
    return rows


def _whole_job(service: Service, rounds: int) -> dict[str, Any]:
    """The time from upload to `completed` against that of the engine alone, measured alternately."""
    jobs, engine = [], []
    for _ in range(rounds):
        engine.append(run(ENGINE_ALONE, READING)["seconds"])
        started = time.perf_counter()
        job_id = service.upload(READING)
        _follow(service, job_id)
        jobs.append(time.perf_counter() - started)
        status = service.status(job_id)
        assert status["status"] == "completed", status
    return {
        "what": "whole job over HTTP / engine alone",
        "value": round(median(jobs) / median(engine), 3),
        "unit": "×",
        "limit": 1.15,
        "seconds": round(median(jobs), 2),
        "engine_seconds": round(median(engine), 2),
    }


def _long_job(service: Service, file: Path) -> list[dict[str, Any]]:
    peak = _PeakMemory(service)
    with peak:
        job_id = service.upload(file)
        uploaded = time.perf_counter()
        first: list[float] = []
        listener = threading.Thread(
            target=_follow,
            args=(service, job_id),
            kwargs={"on_segment": lambda: first.append(time.perf_counter())},
        )
        listener.start()
        while not first and listener.is_alive():
            time.sleep(0.01)
        latencies = asyncio.run(_status_latencies(f"{service.url}/api/transcribe/status/{job_id}"))
        listener.join()
    status = service.status(job_id)
    assert status["status"] == "completed", status
    return [
        row("first live segment after the upload of 65 minutes", first[0] - uploaded, "s", 3.0),
        row(
            f"status during a job, {STATUS_RATE}/s: 99th percentile",
            1000 * float(np.percentile(latencies, 99)),
            "ms",
            50.0,
        ),
        row("web process, peak memory", peak.megabytes["web"], "MB", 150.0),
        row("speech worker, peak memory, 65 minutes", peak.megabytes["speech"], "MB", 1000.0),
        row(
            "interactive worker, peak memory, 65 minutes", peak.megabytes["interactive"], "MB", None
        ),
        row(
            "65 minutes: seconds of work per second of audio",
            service.debug(job_id)["real_time_factor"],
            "",
            None,
        ),
    ]


def row(what: str, value: float, unit: str, limit: float | None) -> dict[str, Any]:
    return {"what": what, "value": round(value, 3), "unit": unit, "limit": limit}


def _follow(service: Service, job_id: str, on_segment: Callable[[], Any] = lambda: None) -> None:
    url = f"ws://127.0.0.1:{service.port}/api/transcribe/live/{job_id}"
    with connect(url) as socket:
        for message in socket:
            if "text" in json.loads(message):
                on_segment()


async def _status_latencies(url: str) -> list[float]:
    """Latencies in seconds at a constant rate, measured from when each request was due."""
    latencies: list[float] = []

    async def send(client: httpx.AsyncClient) -> None:
        started = time.perf_counter()
        answer = await client.get(url)
        assert answer.status_code == 200
        latencies.append(time.perf_counter() - started)

    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as requests:
        started = time.perf_counter()
        for number in range(STATUS_RATE * STATUS_SECONDS):
            await asyncio.sleep(max(0.0, started + number / STATUS_RATE - time.perf_counter()))
            requests.create_task(send(client))
    return latencies


class _PeakMemory:
    """The peak memory (RSS, in MB of 10^6 bytes) of the largest process of each role."""

    COMMANDS = {
        "web": "transcriber_site.web",
        "speech": "--name speech",
        "interactive": "--name interactive",
    }

    def __init__(self, service: Service) -> None:
        self.megabytes = dict.fromkeys(self.COMMANDS, 0.0)
        # Looked up once: repeated scans of all processes would slow the service down.
        self._processes = [
            (role, process)
            for process in service.processes()
            for role, command in self.COMMANDS.items()
            if command in " ".join(process.cmdline())
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop.wait(0.5):
            for role, process in self._processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    megabytes = process.memory_info().rss / 1e6
                    self.megabytes[role] = max(self.megabytes[role], megabytes)
