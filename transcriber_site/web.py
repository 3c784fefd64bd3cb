"""The web process: daphne, with uploads spooled to disk and backpressure on what is sent.

`python -m transcriber_site.web` takes the arguments of `daphne`.

daphne 4.2 holds an upload in memory twice: Twisted parses each posted form, although daphne does not
use the result (400 MB took 4.7 GB and blocked all other requests), and daphne queues the whole body
for the application at once. It also accepts a body of any size before the application can reject it
(http_channel.py refuses it at once), and closes the connection without a response when the disk is full.

It applies no backpressure to responses and WebSockets: a whole recording, or transcript, would be buffered for a
slow client.
"""

import asyncio
import gc
import io
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

from autobahn.websocket.protocol import PreparedMessage
from daphne import http_protocol, ws_protocol
from daphne.cli import DEFAULT_HOST, DEFAULT_PORT, CommandLineInterface
from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from twisted.internet.interfaces import ISSLTransport

from transcriber_site import admission, callers, exposure
from transcriber_site.bodies import BodyOnDisk, Message, Receive
from transcriber_site.body_limits import BodyLimit, body_limit
from transcriber_site.http_channel import Channel
from transcriber_site.processes import raise_open_file_limit
from transcription.disk import require_space
from transcription.speech.media import decoder_process

# What is written of an upload without a length between two looks at the disk.
SPACE_CHECK_BYTES = 4 * 1024**2
CLOSE_SECONDS = 10.0
"""The time for a WebSocket's client to read what was sent before its close, and answer that; autobahn gives 1 s."""

Application = Callable[[Message, Receive, Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Producer:
    """A push producer (Twisted's term): the connection pauses it while more than 64 KiB are buffered for the client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._writable = asyncio.Event()
        self._writable.set()
        super().__init__(*args, **kwargs)

    async def wait_writable(self) -> None:
        """Wait until the client has read what is buffered, or has disconnected."""
        await self._writable.wait()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's names
        self._writable.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._writable.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._writable.set()


class WebRequest(Producer, http_protocol.WebRequest):  # type: ignore[misc]  # daphne is untyped
    """Leaves form parsing to Django, and refuses a body that is too large or cannot be written."""

    content: Any  # the file that the body is written to
    limit: BodyLimit | None = None
    """The largest body that the endpoint takes; None if the request has none."""
    refusal: admission.Refusal | None = None
    """Why the request will be refused, whatever is in its body."""
    rejection: Exception | None = None
    n_received = 0  # bytes
    n_checked = 0  # bytes for which there was space
    awaited: ClassVar[dict["WebRequest", int]] = {}
    """The bytes that each upload in progress has declared and not sent yet: two must not count on the same space."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, parsePOSTFormSubmission=False)

    # ---- Request body

    def find_body_limit(self, method: bytes, uri: bytes) -> None:
        """Find out how large a body the endpoint takes that the request is for."""
        root = self.requestHeaders.getRawHeaders("daphne-root-path", [self.server.root_path])[0]
        path = unquote_to_bytes(uri.partition(b"?")[0]).decode(errors="replace")
        self.limit = body_limit(method.decode("latin-1"), path.removeprefix(root))
        self.refusal = self._find_refusal(method.decode("latin-1"))

    def _find_refusal(self, method: str) -> admission.Refusal | None:
        """Why Django's middleware will refuse the request, whatever is in its body."""
        caller = callers.from_connection(
            self.requestHeaders.getAllRawHeaders(),
            is_encrypted=bool(self.isSecure()),
            peer=getattr(self.channel.getPeer(), "host", None),
            listens_on=getattr(self.channel.getHost(), "host", None),
        )
        return admission.refusal(caller, method=method)

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        super().gotLength(0)
        if self.limit is None:
            return
        if self.refusal is not None:
            self._reject(SuspiciousOperation(self.refusal.detail))
        self._check_size(length or 0)
        if self.limit.is_upload:
            self._check_space(length or 0)
        if self.rejection is None:
            super().gotLength(self.limit.max_bytes if length is None else length)
            if self.limit.is_upload and length is not None:
                self.awaited[self] = length

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        if self.rejection is None:
            self._receive(data)
            self.channel.refuse_rejected()

    def _receive(self, data: bytes) -> None:
        """Write a piece of the body, unless that takes too much."""
        self.n_received += len(data)
        self._check_size(self.n_received)
        if self in self.awaited:
            self.awaited[self] -= len(data)
        elif self.limit is not None and self.limit.is_upload and self.n_received > self.n_checked:
            self._check_space(SPACE_CHECK_BYTES)
            self.n_checked += SPACE_CHECK_BYTES
        if self.rejection is None:
            try:
                self.content.write(data)
                self.content.flush()
            except OSError as error:
                self._reject(error)

    def _check_size(self, n_bytes: int) -> None:
        if self.limit is not None and n_bytes > self.limit.max_bytes:
            self._reject(RequestDataTooBig(self.limit.refusal))

    def _check_space(self, n_bytes: int) -> None:
        """Reject the body unless so many more bytes leave the disk's reserve free, whatever others still send."""
        try:
            require_space(Path(settings.FILE_UPLOAD_TEMP_DIR), n_bytes + sum(self.awaited.values()))
        except OSError as error:
            self._reject(error)

    def _reject(self, reason: Exception) -> None:
        self.awaited.pop(self, None)
        if self.rejection is None:
            self.rejection = reason
            content, self.content = self.content, io.BytesIO()
            with suppress(OSError):  # a full disk: flushing the rest fails too
                content.close()

    # ---- Response

    def handle_reply(self, message: Message) -> None:
        if not self.finished and self.channel is not None and self.producer is None:
            self.registerProducer(self, streaming=True)
        if self.method == b"HEAD":
            # Twisted suppresses only the first part of the body; daphne would write the others.
            message = {name: value for name, value in message.items() if name != "body"}
        super().handle_reply(message)

    def handle_exception(self, exception: Exception) -> None:
        if not self._response_started:
            super().handle_exception(exception)
        elif not self.finished:
            # daphne would start a second response; that error ends its application checker, for all requests.
            self.loseConnection()

    def finish(self) -> None:
        self._release()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._release()
        super().connectionLost(reason)

    def _release(self) -> None:
        self.awaited.pop(self, None)
        if self.producer is not None:
            self.unregisterProducer()
        self._writable.set()


class WebSocket(Producer, ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """Encodes a text message once for all listeners that it is sent to.

    It writes the frame as autobahn's `sendData` does, without formatting a log line for each message.
    """

    def onConnect(self, request: Any) -> Any:  # noqa: N802  # autobahn's name
        self.closeHandshakeTimeout = CLOSE_SECONDS
        self.unregisterProducer()  # the HTTP connection, which this one continues
        self.registerProducer(self, True)
        return super().onConnect(request)

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: N802  # daphne's name
        if isinstance(content, bytes) or self.state != self.STATE_OPEN or self.send_queue:
            super().serverSend(content, binary)
        else:
            self.transport.write(_encode_frame(content))


@lru_cache(maxsize=256)
def _encode_frame(text: str) -> bytes:
    message = PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=True)
    frame: bytes = message.payloadHybi
    return frame


class WebServer(Server):  # type: ignore[misc]
    """Passes each request body to the application as a file on disk."""

    def __init__(self, application: Application, **options: Any) -> None:
        super().__init__(_with_body_on_disk(application), **options)

    def run(self) -> None:
        raise_open_file_limit()
        # Twisted spools an upload to a temporary file until it is complete: use the configured folder.
        tempfile.tempdir = settings.FILE_UPLOAD_TEMP_DIR
        # A full garbage collection over Django's objects pauses all requests for 0.08 s. They are never
        # freed: exclude them.
        import_module(settings.ROOT_URLCONF)
        gc.collect()
        gc.freeze()
        decoder_process.start_spawner()
        super().run()

    def create_application(self, protocol: Any, scope: Message) -> Any:
        if scope["type"] == "http":
            # daphne queues `content` as soon as this returns: give it an empty body instead.
            body, protocol.content = protocol.content, io.BytesIO()
            scope["transcriber.body"] = body
            if not any(name == b"content-length" for name, _ in scope["headers"]):
                # A chunked upload: Django treats a body without a length as empty.
                length = str(body.seek(0, io.SEEK_END)).encode()
                scope["headers"] = [*scope["headers"], (b"content-length", length)]
            scope["transcriber.body_rejection"] = protocol.rejection
        else:
            # daphne does not say how a socket's client is connected.
            is_encrypted = ISSLTransport.providedBy(protocol.transport)
            scope["scheme"] = "wss" if is_encrypted else "ws"
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        await super().handle_reply(protocol, message)
        if message["type"] != "websocket.close":
            await protocol.wait_writable()


class CommandLine(CommandLineInterface):  # type: ignore[misc]
    server_class = WebServer

    def run(self, args: Sequence[str]) -> None:
        """Start, unless what is asked for would open the service to others without accounts."""
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcriber_site.settings")
        asked = self.parser.parse_args(args)
        if asked.proxy_headers:
            sys.exit(
                "--proxy-headers believes whoever sends such headers. Set TRANSCRIBER_PROXIES instead."
            )
        listens_on = build_endpoint_description_strings(
            host=asked.host or DEFAULT_HOST,
            port=asked.port or DEFAULT_PORT,
            unix_socket=asked.unix_socket,
        )
        for endpoint in [*listens_on, *asked.socket_strings]:
            if reason := exposure.endpoint_refusal(endpoint):
                sys.exit(reason)
        super().run(args)


def _with_body_on_disk(application: Application) -> Application:
    async def call(scope: Message, receive: Receive, send: Any) -> None:
        body = scope.pop("transcriber.body", None)
        await application(scope, receive if body is None else BodyOnDisk(body, receive), send)

    return call


if __name__ == "__main__":
    # bm25s, the transcript search, imports these if they are installed: 80 MB that it does not need.
    for name in ("numba", "scipy", "jax"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # makes the import fail

    from transcriber_site import web  # the classes of transcriber_site.web, not of __main__

    http_protocol.WebRequest = web.WebRequest
    http_protocol.HTTPFactory.protocol = Channel
    # HTTP/1.1 over TLS too: Channel speaks no other version.
    http_protocol.HTTPFactory.acceptableProtocols = lambda _: [b"http/1.1"]
    ws_protocol.WebSocketFactory.protocol = web.WebSocket
    web.CommandLine.entrypoint()
