"""Listeners of a job: in the tests' own process, or over a WebSocket to a service."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from django.test import Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.service import Service
from transcription.live import feed
from transcription.models import Job

Message = dict[str, Any]


# ---- In the same process


class Listener:
    """What a listener has, by applying what it hears."""

    def __init__(self, segments: dict[int, Message] | None = None) -> None:
        self.segments = dict(segments or {})
        self.messages: list[Message] = []

    def apply(self, message: Message) -> None:
        self.messages.append(message)
        if message.get("type") == "speakers":
            assert len(message["segments"]) <= feed.SEGMENTS_PER_MESSAGE
            for segment_id in message["removed"]:
                self.segments.pop(segment_id, None)
            self.segments |= {segment["id"]: segment for segment in message["segments"]}
        elif "id" in message:
            self.segments[message["id"]] = message

    @property
    def transcript(self) -> list[Message]:
        return sorted(self.segments.values(), key=lambda s: (s["start"], s["id"]))

    @property
    def kinds(self) -> list[str]:
        return [message.get("type", "segment") for message in self.messages]


def result_of(job: Job) -> list[Message]:
    answer = Client().get(f"/api/transcribe/result/{job.pk}")
    assert answer.status_code == 200
    segments: list[Message] = answer.json()["segments"]
    return segments


async def hear(job: Job, *, after: int | None = None, had: Listener | None = None) -> Listener:
    """Listen to the end with what there was from before."""
    client = Listener(had.segments if had else None)
    async for message in feed.subscribe(job.pk, after=after):
        client.apply(json.loads(message))
    return client


async def listening(job: Job, act: Callable[[], None], **options: Any) -> Listener:
    """Listen before, while and after this happens."""
    listener = asyncio.create_task(hear(job, **options))
    await asyncio.sleep(2 * feed.POLL_SECONDS)
    await sync_to_async(act)()
    async with asyncio.timeout(10):
        return await listener


# ---- Over a WebSocket


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


async def hear_socket(
    service: Service, job_id: str, query: str = "", *, segments: int = -1
) -> Heard:
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


async def hear_in_parts(service: Service, job_id: str) -> Heard:
    """A listener with a bad connection, who says each time what it has."""
    whole = Heard()
    query = ""
    while whole.code is None:
        part = await hear_socket(service, job_id, query, segments=15)
        whole.messages += part.messages
        whole.n_connections += 1
        whole.code = part.code
        if whole.segments:
            query = f"?after={whole.segments[-1]['id']}"
    return whole
