"""The live WebSocket: sends the messages of a job's feed to a listener."""

import asyncio
import logging
import re
import time
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import re_path

from transcription import access, hooks
from transcription.jobs import status as job_status
from transcription.live import feed
from transcription.live.looks import as_json
from transcription.models import Job

NORMAL_CLOSURE = 1000
INTERNAL_ERROR = 4500  # not 1011: an application may send only 1000 and codes from 3000 on
BAD_REQUEST = 4400
TOO_SLOW = 4408
SLOW_SECONDS = 20.0
"""A listener that takes longer to read what was sent is let go; it comes back with `after`. Less than the timeout of
pings, which are not answered either, and whose end of a connection has no code."""
RECHECK_SECONDS = 10.0
"""After so long it is asked again, before a message is sent, whether the listener may still have it."""
FIND_ACCESS = "transcriber.access"
"""The key of a socket's scope: a coroutine function that returns its present Access, None if there is none any more."""
SEGMENT_ID = re.compile(r"[0-9]{1,20}")

_logger = logging.getLogger(__name__)


@access.open_to_links
class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is untyped
    # Only the feed uses the channel layer, so sockets stay open during an outage of Redis.
    channel_layer_alias = "none"
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
        except feed.FeedClosedError as closed:
            code = closed.code
        except Exception:
            _logger.exception("A live socket failed.")
            code = INTERNAL_ERROR
        await self.close(code)

    async def _forward_all(self) -> int:
        job_id_text = self.scope["url_route"]["kwargs"]["job_id"]
        try:
            job_id = UUID(job_id_text)
        except ValueError:
            status = job_status.live_status_message(job_status.not_found_document(job_id_text))
            await self.send(as_json(status))
            return feed.NOT_FOUND
        query = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        after = query.get("after", [None])[-1]
        if after is not None and not SEGMENT_ID.fullmatch(after):
            detail = "after must be the id of a segment: a number, such as 42."
            await self.send(as_json({"detail": detail}))
            return BAD_REQUEST
        if not await self._may_listen(job_id):
            job_id = uuid4()  # answered exactly like a job that never was
        messages = feed.subscribe(job_id, after=None if after is None else int(after))
        checked_at = time.monotonic()
        async with aclosing(messages):
            async for message in messages:
                if time.monotonic() > checked_at + RECHECK_SECONDS:
                    if not await self._may_listen(job_id):
                        return feed.NOT_FOUND
                    checked_at = time.monotonic()
                try:
                    async with asyncio.timeout(SLOW_SECONDS):
                        await self.send(message)  # waits until the connection can take more
                except TimeoutError:
                    return TOO_SLOW
        return NORMAL_CLOSURE

    async def _may_listen(self, job_id: UUID) -> bool:
        """Whether the job's recording belongs to who listens, or is shared with them; now, as that may end."""
        present: access.Access | None = await self.scope[FIND_ACCESS]()
        if present is None or present.sees_all:
            return present is not None
        return bool(await database_sync_to_async(_report_reading)(present, job_id))


def _report_reading(present: access.Access, job_id: UUID) -> bool:
    """Whether this access covers the job; if so, that it is read is reported."""
    with access.acting_as(present):
        job = Job.objects.select_related("recording").filter(pk=job_id).first()
        if job is not None:
            hooks.report(None, hooks.READ, job)
    return job is not None


websocket_urlpatterns = [
    re_path(r"^api/transcribe/live/(?P<job_id>[^/]+)/?$", LiveConsumer.as_asgi()),
]
