"""Bounds what is read of a provider's response: before it is parsed, and whatever it consists of."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

MAX_RESPONSE_BYTES = 16 * 1024**2
"""Of one response, with the reasoning that is not shown, and the envelope of each event of a stream."""


class TooLongError(Exception):
    """A response is larger than MAX_RESPONSE_BYTES, or is compressed, so that nobody knows what it grows to."""


def event_hooks() -> dict[str, list[Any]]:
    """For an httpx client: its responses are not compressed, and end with TooLongError where they are too long.

    Hooks, because a transport of our own would take the place of the proxies that the environment configures.
    """
    return {"request": [_ask_for_plain_bytes], "response": [_bound]}


async def _ask_for_plain_bytes(request: "httpx2.Request") -> None:
    request.headers["Accept-Encoding"] = "identity"


async def _bound(response: "httpx2.Response") -> None:
    import httpx2

    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TooLongError
    received = response.stream
    assert isinstance(received, httpx2.AsyncByteStream), "the client is an asynchronous one"
    stream: httpx2.AsyncByteStream = received

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            n_bytes = 0
            async for block in stream:
                n_bytes += len(block)
                if n_bytes > MAX_RESPONSE_BYTES:
                    raise TooLongError
                yield block

        async def aclose(self) -> None:
            await stream.aclose()

    response.stream = Bounded()
