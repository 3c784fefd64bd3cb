"""The bodies of requests, which lie on the disk already when Django comes to read them (see web.py)."""

from collections.abc import Awaitable, Callable
from typing import Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]


class BodyOnDisk:
    """A request's `receive` that has the body as a file; awaited, it tells that the client is gone."""

    def __init__(self, file: Any, receive: Receive) -> None:
        self.file = file
        self._receive = receive

    async def __call__(self) -> Message:
        message = await self._receive()
        # The empty body that daphne has queued comes first.
        return await self._receive() if message["type"] == "http.request" else message


class UploadHandler(ASGIHandler):
    """Django's handler, without the copy that it makes of a body that lies on the disk already."""

    async def read_body(self, receive: Any) -> Any:
        if isinstance(receive, BodyOnDisk):
            receive.file.seek(0)
            return receive.file
        return await super().read_body(receive)


def refusal_of(request: object) -> Exception | None:
    """Why the body of `request` was thrown away as it came in, or None."""
    return request.scope.get("transcriber.refusal") if isinstance(request, ASGIRequest) else None
