"""Finds out who opens a WebSocket, before it is accepted."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.db import database_sync_to_async
from channels.sessions import CookieMiddleware
from django.conf import settings

from accounts import audit, identity
from transcription import access
from transcription.live.consumers import FIND_ACCESS, LiveConsumer
from transcription.sharing.links import shown_recordings

TOKEN_KEY = "transcriber.token"  # noqa: S105  # a key
"""The key of a socket's scope: the name of the API token with which it was opened."""
Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class AccessSockets:
    """Refuses who is not known; tells consumers how to find out what who listens may see."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def find_access() -> access.Access | None:
            if settings.TRANSCRIBER_ACCOUNTS == "off":
                return access.SERVICE
            found: access.Access | None = await database_sync_to_async(access_of)(scope)
            return found

        if await find_access() is None:
            await send({"type": "websocket.close"})  # before it is accepted: a 403
            return
        client = scope.get("client") or ("",)
        source = audit.Source(address=str(client[0]), token=scope.get(TOKEN_KEY, ""))
        with audit.from_source(source):
            await self._application(scope | {FIND_ACCESS: find_access}, receive, send)


def access_of(scope: dict[str, Any]) -> access.Access | None:
    """What the socket's listener may see; None if nobody knows them, or their token or session has ended."""
    try:
        who = identity.of_scope(scope)
    except identity.UnknownPersonError:
        return None
    scope[TOKEN_KEY] = who.token.token_key if who.token is not None else ""
    shown = shown_recordings(scope["cookies"], LiveConsumer)
    if not (who.is_known or shown):
        return None
    return who.access(changes=False, recording_ids=shown)


def with_access(application: Application) -> Any:
    """The application behind both middlewares that it needs."""
    return CookieMiddleware(AccessSockets(application))
