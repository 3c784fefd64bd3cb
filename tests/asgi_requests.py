"""Requests as the web process hands them to Django, with the addresses of their connection."""

import json
from typing import Any

from channels.testing import HttpCommunicator

from transcriber_site import asgi

LOOPBACK = ("127.0.0.1", 8000)


async def ask(
    path: str,
    *,
    method: str = "GET",
    client: tuple[str, int] | None = LOOPBACK,
    server: tuple[str, int] | None = LOOPBACK,
    scheme: str = "http",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], Any]:
    """A response's status, its headers, and its document if it is JSON."""
    sent = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    communicator = HttpCommunicator(asgi.application, method, path, headers=sent)
    communicator.scope |= {"client": client, "server": server, "scheme": scheme}
    answer = await communicator.get_response(timeout=10)
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait(timeout=10)
    received = {name.decode().lower(): value.decode() for name, value in answer["headers"]}
    is_json = received.get("content-type", "").startswith("application/json")
    return answer["status"], received, json.loads(answer["body"]) if is_json else None
