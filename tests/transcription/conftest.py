"""One long job, watched from all sides while it runs: what many tests look at afterwards."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.service import Service
from tests.transcription.jobs_under_way import Spoken, spoken
from tests.transcription.media import RATE, samples_of, write
from tests.waiting_engine import Gate

CLIP_SECONDS = 200
QUICK_RECOVERY = {"TRANSCRIBER_RECOVERY_SECONDS": "2"}
N_CROWD = 200
LOOK_SECONDS = 0.3
Message = dict[str, Any]


@dataclass
class Heard:
    """What one listener got, over one connection or several."""

    messages: list[Message] = field(default_factory=list)
    code: int | None = None
    n_connections: int = 0

    @property
    def statuses(self) -> list[Message]:
        return [message for message in self.messages if message.get("type") == "status"]

    @property
    def segments(self) -> list[Message]:
        return [message for message in self.messages if "id" in message]


@dataclass
class WatchedJob:
    """A ten-minute recording's job: what was to be seen and heard while it ran."""

    job_id: str
    early: Heard
    crowd: list[Heard]
    reconnecting: Heard
    running: list[tuple[str, httpx.Response]]


@pytest.fixture(scope="session")
def reading(audio_dir: Path) -> Path:
    return audio_dir / "reading-10min.flac"


@pytest.fixture(scope="session")
def clip(reading: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 200 s: three chunks."""
    samples = samples_of(reading)[: CLIP_SECONDS * RATE]
    return write(tmp_path_factory.mktemp("clip") / "clip.wav", samples)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Lets one chunk pass, and holds all others until it is opened."""
    return Gate(tmp_path / "gate", limit=1)


@pytest.fixture
def gated_service(tmp_path: Path, gate: Gate) -> Iterator[Service]:
    """A service whose speech engine waits for `gate`, for one test that kills parts of it."""
    with Service(tmp_path / "data", **gate.environment, **QUICK_RECOVERY) as running:
        yield running


@pytest.fixture(scope="session")
def undisturbed_reading(service: Service, watched: "WatchedJob") -> Spoken:
    return spoken(service.result(watched.job_id))


@pytest.fixture(scope="session")
def undisturbed_clip(service: Service, clip: Path) -> Spoken:
    return spoken(service.transcribe(clip))


@pytest.fixture(scope="session")
def watched(service: Service, audio_dir: Path) -> WatchedJob:
    job_id = service.upload(audio_dir / "reading-10min.flac")
    return asyncio.run(_watch(service, job_id))


async def _watch(service: Service, job_id: str) -> WatchedJob:
    early = asyncio.create_task(hear(service, job_id))
    crowd = [asyncio.create_task(hear(service, job_id)) for _ in range(N_CROWD)]
    reconnecting = asyncio.create_task(_hear_in_parts(service, job_id))
    looking = asyncio.create_task(_look(service, job_id))
    heard = await asyncio.gather(early, *crowd)
    looking.cancel()
    running = (await asyncio.gather(looking, return_exceptions=True))[0]
    if isinstance(running, BaseException):
        raise running
    return WatchedJob(
        job_id=job_id,
        early=heard[0],
        crowd=heard[1:],
        reconnecting=await reconnecting,
        running=running,
    )


async def hear(service: Service, job_id: str, query: str = "", *, segments: int = -1) -> Heard:
    """Listen until the service closes, or this listener does after so many segments."""
    heard = Heard(n_connections=1)
    url = f"ws://127.0.0.1:{service.port}/api/transcribe/live/{job_id}{query}"
    async with connect(url, open_timeout=60, ping_timeout=None, max_queue=None) as live:
        while len(heard.segments) != segments:
            try:
                heard.messages.append(json.loads(await live.recv()))
            except ConnectionClosed as closed:
                heard.code = closed.rcvd.code if closed.rcvd else None
                return heard
    return heard


async def _hear_in_parts(service: Service, job_id: str) -> Heard:
    """A listener with a bad connection, who says each time what it has."""
    whole = Heard()
    query = ""
    while whole.code is None:
        part = await hear(service, job_id, query, segments=15)
        whole.messages += part.messages
        whole.n_connections += 1
        whole.code = part.code
        if whole.segments:
            query = f"?after={whole.segments[-1]['id']}"
    return whole


async def _look(service: Service, job_id: str) -> list[tuple[str, httpx.Response]]:
    """The answers of REST endpoints while the job runs, by their path; ends when it is cancelled."""
    paths = [
        f"status/{job_id}",
        f"result/{job_id}",
        f"result/{job_id}?partial=true",
        f"debug/{job_id}",
        "jobs?status=processing",
    ]
    seen = []
    async with httpx.AsyncClient(base_url=f"{service.url}/api/transcribe/", timeout=60) as client:
        try:
            while True:
                seen += [(path, await client.get(path)) for path in paths]
                await asyncio.sleep(LOOK_SECONDS)
        except asyncio.CancelledError:
            return seen
