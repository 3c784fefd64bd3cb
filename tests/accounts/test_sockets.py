"""Live sockets: who is not known is refused before the socket is accepted; others' jobs are like none at all."""

from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client

from tests.accounts.world import World, make_world
from transcriber_site import asgi
from transcription.live import consumers
from transcription.models import Job, Share

pytestmark = pytest.mark.django_db(transaction=True)
NOT_FOUND = 4404


@pytest.fixture
def world(settings: Any) -> World:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    return make_world()


async def connect(world: World, name: str, job_id: object) -> WebsocketCommunicator:
    headers = [(b"host", b"localhost")]
    if name != "nobody":
        client = Client()
        await sync_to_async(client.force_login)(world.people[name])
        cookie = (
            f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        )
        headers.append((b"cookie", cookie.encode()))
    path = f"/api/transcribe/live/{job_id}"
    socket = WebsocketCommunicator(asgi.application, path, headers=headers)
    socket.scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000)}
    return socket


async def heard(world: World, name: str, job_id: object) -> tuple[bool, list[Any]]:
    """Whether the socket was accepted, and all that it sent up to its close code."""
    socket = await connect(world, name, job_id)
    accepted, code = await socket.connect(timeout=10)
    if not accepted:
        return False, [code]
    messages: list[Any] = []
    while True:
        message = await socket.receive_output(timeout=10)
        if message["type"] == "websocket.close":
            return True, [*messages, message["code"]]
        messages.append(message["text"])


def test_the_owner_and_a_reader_hear_everything(world: World) -> None:
    for name in ("alice", "dave"):
        accepted, messages = async_to_sync(heard)(world, name, world.ids["job"])
        assert accepted
        assert world.canary in repr(messages), name
        assert messages[-1] == 1000


def test_somebody_elses_job_is_like_one_that_never_was(world: World) -> None:
    for name in ("bob", "carol", "erin"):
        accepted, messages = async_to_sync(heard)(world, name, world.ids["job"])
        never_was = async_to_sync(heard)(world, name, uuid4())
        assert (accepted, messages) == never_was, name
        assert messages[-1] == NOT_FOUND
        assert world.canary not in repr(messages)


def test_who_is_not_known_is_refused_before_the_socket_is_accepted(world: World) -> None:
    assert async_to_sync(heard)(world, "nobody", world.ids["job"])[0] is False


def test_a_share_that_ends_ends_the_listening(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.0)

    async def listen() -> Any:
        socket = await connect(world, "dave", world.ids["failed"])
        await socket.connect(timeout=10)
        first = await socket.receive_output(timeout=10)
        await sync_to_async(Share.objects.all().delete)()
        job = Job.objects.filter(pk=world.ids["failed"])
        await sync_to_async(job.update)(message=f"Going on {world.canary}")
        return first, await socket.receive_output(timeout=10)

    Job.objects.filter(pk=world.ids["failed"]).update(status=Job.Status.RUNNING)
    job = Job.objects.get(pk=world.ids["failed"])
    Share.objects.create(recording=job.recording, user=world.people["dave"])
    first, last = async_to_sync(listen)()
    assert first["type"] == "websocket.send"
    assert (last["type"], last.get("code")) == ("websocket.close", NOT_FOUND)
