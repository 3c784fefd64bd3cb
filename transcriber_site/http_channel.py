"""The connection of an HTTP client as Twisted reads it, except that a body can be refused before it has come.

Twisted reads each body to its end before anybody can answer.
"""

from twisted.web import http

LINGER_SECONDS = 30.0
LINGER_BYTES = 64 * 1024**2
"""What is read, and discarded, of a refused body. Many clients read the response only when they have sent their
request, and a connection that is closed with data unread is reset, which can cost them the response."""


class Channel(http.HTTPChannel):  # type: ignore[misc]
    is_refused = False
    """Whether the rest of what the client sends is discarded."""
    _n_discarded = 0  # bytes
    _is_lingering = False

    def allHeadersReceived(self) -> None:  # noqa: N802
        request = self.requests[-1]
        if self.length != 0:
            request.find_body_limit(self._command, self._path)
        super().allHeadersReceived()
        if request.rejection is not None:
            self.refuse()

    def _send100Continue(self) -> None:  # noqa: N802
        if self.requests[-1].rejection is None:
            super()._send100Continue()

    def refuse(self) -> None:
        """Have the request answered at once; the rest of its body is discarded, and ends the connection."""
        if self.is_refused:
            return
        self.is_refused = True
        self.persistent = False
        request = self.requests[-1]
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
        self.transport.loseWriteConnection()
        self._abortingCall = self.callLater(LINGER_SECONDS, self.forceAbortClient)
