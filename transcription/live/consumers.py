"""The live WebSocket: forwards a job's feed to a listener."""

import asyncio
import logging
import re
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import re_path

from transcription.jobs import status as job_status
from transcription.live import feed

NORMAL_CLOSURE = 1000
INTERNAL_ERROR = 4500  # an application may choose 1000 or its own codes alone, so not 1011
BAD_REQUEST = 4400
AN_ID = re.compile(r"[0-9]{1,20}")

_logger = logging.getLogger(__name__)


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is untyped
    channel_layer_alias = (
        "none"  # only the feed uses the layer: a listener must survive an outage of Redis
    )
    _forwarding: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.accept()
        self._forwarding = asyncio.create_task(self._forward())

    async def disconnect(self, code: int) -> None:
        if self._forwarding is not None:
            self._forwarding.cancel()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        """Ignore what listeners send."""

    async def _forward(self) -> None:
        try:
            code = await self._forward_all()
        except feed.FeedBrokenError as broken:
            code = broken.code
        except Exception:
            _logger.exception("A live socket failed.")
            code = INTERNAL_ERROR
        await self.close(code)

    async def _forward_all(self) -> int:
        written_id = self.scope["url_route"]["kwargs"]["job_id"]
        try:
            job_id = UUID(written_id)
        except ValueError:
            status = job_status.live_status_message(job_status.not_found_document(written_id))
            await self.send(feed.as_json(status))
            return feed.NOT_FOUND
        query = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        after = query.get("after", [None])[-1]
        if after is not None and not AN_ID.fullmatch(after):
            await self.send(
                feed.as_json({"detail": "after must be the id of a segment, a number."})
            )
            return BAD_REQUEST
        messages = feed.listen(job_id, after=None if after is None else int(after))
        async with aclosing(messages):
            async for message in messages:
                await self.send(message)
        return NORMAL_CLOSURE


websocket_urlpatterns = [
    re_path(r"^api/transcribe/live/(?P<job_id>[^/]+)/?$", LiveConsumer.as_asgi()),
]
