"""Listeners that do not read: they cost no memory, hold up nobody, and are let go."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.running_jobs import processes_with
from tests.service import ROOT, Service, peak_memory
from tests.transcription.live.listeners import Heard, hear_socket
from transcription.live.consumers import SLOW_SECONDS, TOO_SLOW

pytestmark = pytest.mark.slow

N_SEGMENTS = 600
TEXT_BYTES = 50_000
N_STUCK = 6
CONTENT_BYTES = N_SEGMENTS * TEXT_BYTES
NORMAL = 1000
ROWS = f"""
import sys, django
django.setup()
from transcription import access
access.become_service()
from transcription.models import Chunk, Job, Leased, Recording, Segment
recording = Recording.objects.create(name="long.flac", file="long.flac", size=1, duration=60.0)
job = Job.objects.create(pk=sys.argv[1], recording=recording, status="running", model_name="tiny.en", diarize=False)
whole = dict(job=job, streams=[], speech=[], start=0, end=30)
done = Chunk.objects.create(**whole, index=0, state=Leased.State.DONE)
Chunk.objects.create(**whole, index=1, state=Leased.State.DOING)
Segment.objects.bulk_create(
    Segment(job=job, chunk=done, start=index / 20, end=index / 20 + 0.05, text="x" * {TEXT_BYTES})
    for index in range({N_SEGMENTS})
)
"""


@pytest.fixture
def job_id(fresh_web: Service) -> str:
    """A job that is under way and has 30 MB of segments."""
    job_id = str(uuid4())
    environment = {
        "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
        **fresh_web.environment(),
    }
    command = [sys.executable, "-c", ROWS, job_id]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return job_id


@pytest.fixture
def fresh_web(tmp_path: Path) -> Any:
    with Service(tmp_path / "data", roles="web") as running:
        yield running


async def _read_on(live: ClientConnection) -> Heard:
    """All that is still to be had on a connection, up to its end."""
    heard = Heard(n_connections=1)
    try:
        while True:
            async with asyncio.timeout(10):
                message = await live.recv()
            heard.messages.append(json.loads(message))
    except ConnectionClosed as closed:
        heard.code = closed.rcvd.code if closed.rcvd else None
    return heard


@dataclass
class Listened:
    fast: Heard
    """By one that always read."""
    stuck: list[Heard]
    """By those that did not read for a while, and then came back."""
    grown: int
    """The bytes of memory that the web process took for them."""


async def _listen(service: Service, job_id: str) -> Listened:
    [web] = processes_with(service, "transcriber_site.web")
    url = f"ws://127.0.0.1:{service.port}/api/transcribe/live/{job_id}"
    options: dict[str, Any] = {"max_queue": 1, "ping_interval": None, "close_timeout": 1}
    fast = asyncio.create_task(hear_socket(service, job_id))
    await hear_socket(service, job_id, segments=N_SEGMENTS)  # the feed has read all by then
    before = peak_memory(web.pid)
    sockets = [await connect(url, **options) for _ in range(N_STUCK)]
    began = time.monotonic()
    await asyncio.sleep(SLOW_SECONDS / 2)
    late = await hear_socket(service, job_id, segments=N_SEGMENTS)
    assert len(late.segments) == N_SEGMENTS, "the stuck ones held it up"
    await asyncio.sleep(began + SLOW_SECONDS + 3 - time.monotonic())
    stuck = [await _read_on(socket) for socket in sockets]
    grown = peak_memory(web.pid) - before
    statement = "UPDATE transcription_job SET status = 'completed' WHERE id = %s"
    await asyncio.to_thread(service.query, statement, UUID(job_id).hex)
    for heard in stuck:
        rest = await hear_socket(service, job_id, f"?after={heard.segments[-1]['id']}")
        heard.messages += rest.messages
    return Listened(await fast, stuck, grown)


@pytest.mark.alone
def test_a_listener_that_does_not_read_costs_no_memory_and_is_let_go(
    fresh_web: Service, job_id: str
) -> None:
    listened = asyncio.run(_listen(fresh_web, job_id))
    ids = [segment["id"] for segment in listened.fast.segments]
    assert len(ids) == N_SEGMENTS
    assert (listened.fast.code, listened.fast.statuses[-1]["status"]) == (NORMAL, "completed")
    for heard in listened.stuck:
        assert heard.code == TOO_SLOW
        assert [segment["id"] for segment in heard.segments] == ids, "who comes back gets the rest"
    assert listened.grown < CONTENT_BYTES / 2, f"{listened.grown / 1e6:.0f} MB"
