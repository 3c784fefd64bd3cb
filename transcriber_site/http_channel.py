"""The connection of an HTTP client, as Twisted reads it, with limits: request lines, and bodies that are refused.

Twisted hangs up without an answer when a line is longer than 16 KiB (1,800 Chinese letters in an address), and reads
each body to its end before anybody can refuse it.
"""

import json
import uuid
from http import HTTPStatus
from typing import Any

from django.conf import settings
from twisted.web import http

_HTTPChannel: Any = http.HTTPChannel  # it has types in part
MAX_LINE_BYTES = 64 * 1024
MAX_HEAD_BYTES = MAX_LINE_BYTES + 16 * 1024  # the request line and all headers
LINGER_SECONDS = 30.0
LINGER_BYTES = 64 * 1024**2
"""What is read, and discarded, of a refused body. Many clients read the response only when they have sent their
request, and a connection that is closed with data unread is reset, which can cost them the response."""


class Channel(_HTTPChannel):  # type: ignore[misc]
    MAX_LENGTH = MAX_LINE_BYTES
    totalHeadersSize = MAX_HEAD_BYTES  # noqa: N815

    is_refused = False
    """Whether the rest of what the client sends is discarded."""
    _n_discarded = 0  # bytes
    _is_lingering = False

    # ---- Lines

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        """Answer here: there is no request yet that Django could."""
        is_request_line = not hasattr(self, "_command")
        status = (
            HTTPStatus.REQUEST_URI_TOO_LONG
            if is_request_line
            else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        )
        what = "address of the request" if is_request_line else "request's header"
        detail = f"The {what} is longer than the {MAX_LINE_BYTES:,} bytes allowed. Shorten it."
        body = json.dumps({"detail": detail}).encode()
        cors = "Access-Control-Allow-Origin: *\r\n" if settings.CORS_ALLOW_ALL_ORIGINS else ""
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-ID: {uuid.uuid4().hex}\r\n"
            f"X-Process-Time-Ms: 0.0\r\n{cors}Connection: close\r\n\r\n"
        )
        self.is_refused = True
        self.setRawMode()
        self.transport.write(head.encode() + body)
        self.loseConnection()

    # ---- Bodies

    def allHeadersReceived(self) -> None:  # noqa: N802
        request = self.requests[-1]
        if self.length != 0:
            request.find_body_limit(self._command, self._path)
        super().allHeadersReceived()
        self.refuse_rejected()

    def _send100Continue(self) -> None:  # noqa: N802
        if self.requests[-1].rejection is None:
            super()._send100Continue()

    def refuse_rejected(self) -> None:
        """Have the request answered at once if its body is rejected; what comes of that is discarded, then the end."""
        request = self.requests[-1]
        if request.rejection is None or self.is_refused:
            return
        self.is_refused = True
        self.persistent = False
        request.requestHeaders.removeHeader(b"upgrade")  # the WebSocket would read on here
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        super().allContentReceived()

    def allContentReceived(self) -> None:  # noqa: N802
        if not self.is_refused:
            super().allContentReceived()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        if not self.is_refused:
            super().rawDataReceived(data)
            return
        self._n_discarded += len(data)
        if self._n_discarded > LINGER_BYTES:
            if self._is_lingering:
                self.transport.abortConnection()
            else:
                self._networkProducer.pauseProducing()  # until it is answered

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802
        if not self.is_refused:
            super()._respondToBadRequestAndDisconnect()

    def loseConnection(self) -> None:  # noqa: N802
        """Close the connection; of a refused request first the writing side, until the client has closed it too."""
        if not self.is_refused:
            super().loseConnection()
            return
        if self._is_lingering:
            return
        self._is_lingering = True
        self.setTimeout(None)
        self._networkProducer.unregisterProducer()
        self._networkProducer.resumeProducing()
        if self.isSecure():
            # Twisted gathers what is written over TLS, and sends it later in this iteration of its loop.
            self.callLater(0, self.transport.loseWriteConnection)
        else:
            self.transport.loseWriteConnection()
        self._abortingCall = self.callLater(LINGER_SECONDS, self.forceAbortClient)
