"""One long job, watched from all sides while it runs: what many tests look at afterwards."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import waiting_engine
from tests.media import RATE, samples_of, write
from tests.running_jobs import Spoken, spoken
from tests.service import OTHER_SITE, Service
from tests.transcription.live.listeners import Heard, hear_in_parts, hear_socket
from tests.waiting_engine import Gate

CLIP_SECONDS = 200
READING_SECONDS = 619
WATCHED_SECONDS = 15
"""How long the engine waits in all for the reading that is watched."""
QUICK_RECOVERY = {"TRANSCRIBER_RECOVERY_SECONDS": "2"}
N_CROWD = 200
LOOK_SECONDS = 0.3


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
def undisturbed_clip(service: Service, clip: Path) -> Spoken:
    return spoken(service.transcribe(clip))


@pytest.fixture(scope="session")
def waiting_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose speech engine only waits, so that a job under way leaves the processor to those who watch it."""
    folder = tmp_path_factory.mktemp("waiting-service")
    rate = {waiting_engine.RATE: str(WATCHED_SECONDS / READING_SECONDS)}
    settings = {**waiting_engine.SETTINGS, **rate, "TRANSCRIBER_CORS_ORIGINS": OTHER_SITE}
    with Service(folder, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def watched(waiting_service: Service, reading: Path) -> WatchedJob:
    return asyncio.run(_watch(waiting_service, waiting_service.upload(reading)))


async def _watch(service: Service, job_id: str) -> WatchedJob:
    early = asyncio.create_task(hear_socket(service, job_id))
    crowd = [asyncio.create_task(hear_socket(service, job_id)) for _ in range(N_CROWD)]
    reconnecting = asyncio.create_task(hear_in_parts(service, job_id))
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
