"""Who listens live to a shared recording hears no more once the share, or the link, has ended."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings as site
from django.contrib.auth.models import User
from django.test import Client

from tests.transcription.builders import add_segment, make_job
from tests.transcription.sharing.conftest import give
from transcriber_site.asgi import application
from transcription.live import consumers, feed
from transcription.models import Chunk, Job, Share, ShareLink
from transcription.sharing import links

pytestmark = [pytest.mark.both, pytest.mark.django_db(transaction=True)]

RECHECK_SECONDS = 0.5


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert consumers.RECHECK_SECONDS == 10.0
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", RECHECK_SECONDS)


@pytest.fixture
def running(anna: User) -> Job:
    return give(make_job("Strawberry fields.", diarize=False), anna)


def say(job: Job, text: str) -> None:
    """One more segment, of a chunk that is done with it."""
    n_chunks = job.chunks.count()
    chunk = Chunk.objects.create(
        job=job, index=n_chunks, start=0, end=600, streams=[], speech=[], state="done"
    )
    add_segment(chunk, text, 10.0 * n_chunks)


class Listener:
    """A browser's socket, with its cookies."""

    def __init__(self, job: Job, browser: Client) -> None:
        cookies = "; ".join(f"{name}={each.value}" for name, each in browser.cookies.items())
        self._socket = WebsocketCommunicator(
            application,
            f"/api/transcribe/live/{job.pk}",
            headers=[(b"host", b"localhost"), (b"cookie", cookies.encode())],
        )

    async def connect(self) -> bool:
        is_accepted, _code = await self._socket.connect(timeout=5)
        return bool(is_accepted)

    async def hear(self, text: str) -> None:
        """Read messages up to the one with this text."""
        async with asyncio.timeout(5):
            while text not in await self._socket.receive_from(timeout=5):
                pass

    async def end(self) -> tuple[int, list[Any]]:
        """The code of the socket's end, and what came before it."""
        messages = []
        while (event := await self._socket.receive_output(timeout=5))["type"] != "websocket.close":
            messages.append(json.loads(event["text"]))
        return int(event["code"]), messages


def shared_with(person: User, job: Job) -> Share:
    return Share.objects.create(recording=job.recording, user=person, role=Share.Role.READER)


def end_of_share(job: Job) -> None:
    Share.objects.filter(recording=job.recording).delete()


def end_of_link(job: Job) -> None:
    link = ShareLink.objects.get()
    assert links.revoke_link(recording=job.recording, link_id=link.pk)


async def _hears_no_more(job: Job, browser: Client, ending: Callable[[Job], None]) -> None:
    listener = Listener(job, browser)
    assert await listener.connect()
    await listener.hear("Strawberry fields.")
    await sync_to_async(say)(job, "Nothing is real.")
    await listener.hear("Nothing is real.")
    await sync_to_async(ending)(job)
    await asyncio.sleep(RECHECK_SECONDS)
    await sync_to_async(say)(job, "A secret.")
    code, messages = await listener.end()
    assert code == feed.NOT_FOUND
    assert "A secret." not in json.dumps(messages)


async def test_a_reader_hears_no_more_once_the_share_has_ended(
    ben: User, as_ben: Client, running: Job
) -> None:
    await sync_to_async(shared_with)(ben, running)
    await _hears_no_more(running, as_ben, end_of_share)


async def test_a_visitor_hears_no_more_once_the_link_is_revoked(running: Job) -> None:
    def open_link() -> Client:
        _link, token = links.create_link(recording=running.recording)
        visitor = Client()
        assert visitor.get(f"/app/shared/{token}").status_code == 302
        return visitor

    visitor = await sync_to_async(open_link)()
    assert site.SESSION_COOKIE_NAME not in visitor.cookies
    await _hears_no_more(running, visitor, end_of_link)


async def test_who_listens_hears_on_while_it_is_shared(
    ben: User, as_ben: Client, running: Job
) -> None:
    await sync_to_async(shared_with)(ben, running)
    listener = Listener(running, as_ben)
    assert await listener.connect()
    await listener.hear("Strawberry fields.")
    await asyncio.sleep(RECHECK_SECONDS)
    await sync_to_async(say)(running, "Nothing is real.")
    await listener.hear("Nothing is real.")


async def test_nobody_listens_without_a_share(as_ben: Client, running: Job) -> None:
    listener = Listener(running, as_ben)
    assert await listener.connect()
    code, messages = await listener.end()
    assert code == feed.NOT_FOUND
    assert "Strawberry" not in json.dumps(messages)
    assert not await Listener(running, Client()).connect()
