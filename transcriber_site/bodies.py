"""Request bodies that web.py has already written to disk when Django reads them."""

from collections.abc import Awaitable, Callable
from typing import Any

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIHandler, ASGIRequest

from transcriber_site import hosts

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]


class BodyOnDisk:
    """An ASGI `receive` whose body is a file; awaiting it waits for the client to disconnect."""

    def __init__(self, file: Any, receive: Receive) -> None:
        self.file = file
        self._receive = receive

    async def __call__(self) -> Message:
        message = await self._receive()
        # daphne has queued an empty body first: skip it.
        return await self._receive() if message["type"] == "http.request" else message


class Request(ASGIRequest):
    """Knows the address that it came to, which is a good host too; Django knows names alone."""

    def get_host(self) -> str:
        host: str = self._get_raw_host()  # type: ignore[attr-defined]  # in no stub
        server = self.scope.get("server")
        if not hosts.is_ours(host, listens_on=server[0] if server else None):
            raise DisallowedHost(hosts.refusal(host))
        return host


class UploadHandler(ASGIHandler):
    """Django's ASGI handler, which reads a body on disk in place; the base class copies it."""

    request_class = Request

    async def read_body(self, receive: Any) -> Any:
        if isinstance(receive, BodyOnDisk):
            receive.file.seek(0)
            return receive.file
        return await super().read_body(receive)


def body_rejection(request: object) -> Exception | None:
    """The reason why the web process discarded the request's body, or None."""
    return (
        request.scope.get("transcriber.body_rejection")
        if isinstance(request, ASGIRequest)
        else None
    )
