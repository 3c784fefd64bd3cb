"""The web process: daphne, with uploads kept on disk and answers sent no faster than they are read.

`python -m transcriber_site.web` is `daphne`.

As it stands, daphne 4.2 has an upload in memory twice: Twisted parses each posted form, which
daphne never looks at (400 MB took 4.7 GB, and nobody else was answered meanwhile), and daphne
queues the whole body for the application at once. It also takes in any amount before the
application can refuse it, and drops the connection without a word when the disk is full.

What is answered it takes from the application as fast as that can make it, so that all of a long
recording would wait in memory for a client that reads slowly.
"""

import asyncio
import gc
import io
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

from autobahn.websocket.protocol import PreparedMessage
from daphne import http_protocol, ws_protocol
from daphne.cli import CommandLineInterface
from daphne.server import Server
from django.conf import settings
from django.core.exceptions import RequestDataTooBig

from transcriber_site.bodies import BodyOnDisk, Message, Receive
from transcriber_site.processes import allow_many_files

# What searches transcripts, bm25s, loads these where it finds them: 80 MB that it can do without.
for _name in ("numba", "scipy", "jax"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # "there is no such module"

FORM_BYTES = 1024**2  # what a form may hold besides its file

Application = Callable[[Message, Receive, Callable[[Message], Awaitable[None]]], Awaitable[None]]


class WebRequest(http_protocol.WebRequest):  # type: ignore[misc]  # daphne is untyped
    """Leaves the parsing of forms to Django, and throws away a body that cannot be kept.

    It is also the producer, in Twisted's sense, of its answer: the connection tells it when more than
    64 KiB wait for the client, and when all of that is sent.
    """

    content: Any  # the file that the body is written to
    refusal: Exception | None = None
    n_received = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._writable = asyncio.Event()
        self._writable.set()
        super().__init__(*args, **kwargs, parsePOSTFormSubmission=False)

    # ---- The body that comes in

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        super().gotLength(length)
        if length is not None:
            self._check_size(length)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        self.n_received += len(data)
        self._check_size(self.n_received)
        if self.refusal is not None:
            return  # it is read to its end, so that the client comes to read the answer
        try:
            self.content.write(data)
            self.content.flush()
        except OSError as error:
            self._refuse(error)

    def _check_size(self, n_bytes: int) -> None:
        limit = settings.TRANSCRIBER_MAX_UPLOAD_BYTES
        if n_bytes > limit + FORM_BYTES:
            self._refuse(
                RequestDataTooBig(
                    f"The upload is larger than the {limit:,} bytes allowed here "
                    "(TRANSCRIBER_MAX_UPLOAD_BYTES)."
                )
            )

    def _refuse(self, reason: Exception) -> None:
        if self.refusal is None:
            self.refusal = reason
            content, self.content = self.content, io.BytesIO()
            with suppress(OSError):  # what its buffer still holds finds no room either
                content.close()

    # ---- The answer that goes out

    async def writable(self) -> None:
        """Wait until the client has taken what was sent, or is gone."""
        await self._writable.wait()

    def handle_reply(self, message: Message) -> None:
        if not self.finished and self.channel is not None and self.producer is None:
            self.registerProducer(self, streaming=True)
        if self.method == b"HEAD":
            # Twisted leaves out the first piece of a body, but daphne writes the others all the same.
            message = {name: value for name, value in message.items() if name != "body"}
        super().handle_reply(message)

    def handle_exception(self, exception: Exception) -> None:
        if not self._response_started:
            super().handle_exception(exception)
        elif not self.finished:
            # daphne would begin a second response, and stop looking after all others when that fails.
            self.loseConnection()

    def pauseProducing(self) -> None:  # noqa: N802
        self._writable.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._writable.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._writable.set()

    def finish(self) -> None:
        self._release()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._release()
        super().connectionLost(reason)

    def _release(self) -> None:
        if self.producer is not None:
            self.unregisterProducer()
        self._writable.set()


class WebSocket(ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """Frames a message once, however many listeners it goes to.

    And writes it as autobahn's `sendData` does, without the line for the log that this makes of each, read or not.
    """

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: N802  # daphne's name
        if isinstance(content, bytes) or self.state != self.STATE_OPEN or self.send_queue:
            super().serverSend(content, binary)
        else:
            self.transport.write(_framed(content))


@lru_cache(maxsize=256)
def _framed(text: str) -> bytes:
    message = PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=True)
    frame: bytes = message.payloadHybi
    return frame


class WebServer(Server):  # type: ignore[misc]
    """Hands the application the body of a request as the file that it lies in."""

    def __init__(self, application: Application, **options: Any) -> None:
        super().__init__(_with_bodies(application), **options)

    def run(self) -> None:
        allow_many_files()
        # Twisted keeps what is uploaded in a temporary file until it is complete: on the disk that is meant for it.
        tempfile.tempdir = settings.FILE_UPLOAD_TEMP_DIR
        # Looking through all of Django's own objects for garbage stops everybody for 0.08 s, again
        # and again; they stay for good, so they are not to be looked at any more.
        import_module(settings.ROOT_URLCONF)
        gc.collect()
        gc.freeze()
        super().run()

    def create_application(self, protocol: Any, scope: Message) -> Any:
        if scope["type"] == "http":
            # daphne queues what is in `content` as soon as this returns; in its place it gets
            # nothing.
            body, protocol.content = protocol.content, io.BytesIO()
            scope["transcriber.body"] = body
            if not any(name == b"content-length" for name, _ in scope["headers"]):
                # Sent in chunks; Django takes a body without a length for none.
                length = str(body.seek(0, io.SEEK_END)).encode()
                scope["headers"] = [*scope["headers"], (b"content-length", length)]
            scope["transcriber.refusal"] = protocol.refusal
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        await super().handle_reply(protocol, message)
        if isinstance(protocol, WebRequest):
            await protocol.writable()


class CommandLine(CommandLineInterface):  # type: ignore[misc]
    server_class = WebServer


def _with_bodies(application: Application) -> Application:
    async def with_body(scope: Message, receive: Receive, send: Any) -> None:
        body = scope.pop("transcriber.body", None)
        await application(scope, receive if body is None else BodyOnDisk(body, receive), send)

    return with_body


if __name__ == "__main__":
    from transcriber_site import web  # the module as the application knows it, not as __main__

    http_protocol.WebRequest = web.WebRequest
    ws_protocol.WebSocketFactory.protocol = web.WebSocket
    web.CommandLine.entrypoint()
