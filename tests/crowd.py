"""Many listeners on one job of one web process: what each gets, and how long after the commit."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.service import ROOT, Service
from transcriber_site.processes import raise_open_file_limit

AT_ONCE = 50
"""Connections that are being opened at the same time."""


@dataclass
class Listened:
    """When each listener got each segment (seconds since the epoch, by id), and when it was committed."""

    job_id: str = ""
    committed: dict[int, float] = field(default_factory=dict)
    arrived: list[dict[int, float]] = field(default_factory=list)
    final: list[str] = field(default_factory=list)

    def delays(self) -> list[float]:
        return sorted(
            at - self.committed[segment_id]
            for listener in self.arrived
            for segment_id, at in listener.items()
        )


def listen(service: Service, *, n_listeners: int) -> Listened:
    """Commit a job's chunks while so many listen from its first segment to its end."""
    raise_open_file_limit()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.committing"],
        cwd=ROOT,
        env=service.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as committing:
        assert committing.stdin is not None
        assert committing.stdout is not None
        listened = Listened(job_id=json.loads(committing.stdout.readline()))
        asyncio.run(_listen(service, listened, n_listeners, committing.stdin))
        for line in committing.stdout:
            chunk: dict[str, Any] = json.loads(line)
            listened.committed |= dict.fromkeys(chunk["ids"], chunk["at"])
    return listened


async def _listen(service: Service, listened: Listened, n_listeners: int, begin: Any) -> None:
    url = f"{service.url}/api/transcribe/live/{listened.job_id}"
    slots = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def opened() -> aiohttp.ClientWebSocketResponse:
            async with slots:
                return await session.ws_connect(url, compress=0)

        sockets = await asyncio.gather(*(opened() for _ in range(n_listeners)))
        begin.write("begin\n")
        begin.flush()
        heard = await asyncio.gather(*(_hear(socket) for socket in sockets))
    for messages in heard:
        documents = [(at, json.loads(message)) for at, message in messages]
        listened.arrived.append({one["id"]: at for at, one in documents if "id" in one})
        listened.final.append(documents[-1][1].get("status"))


async def _hear(socket: aiohttp.ClientWebSocketResponse) -> list[tuple[float, str]]:
    """What comes and when; to read it is left for later, so that a listener does not keep the others waiting."""
    return [(time.time(), message.data) async for message in socket]
