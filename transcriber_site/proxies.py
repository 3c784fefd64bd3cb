"""The client's address and scheme behind proxies: from their headers, if `TRANSCRIBER_PROXIES` names them.

`X-Forwarded-For` is read from its end: each proxy appends the address that it was called from, so the last one that is
no trusted proxy's is the client's, whatever the client itself has sent. Of `X-Forwarded-Proto` the last value counts.
No other header is trusted: a proxy passes `Host` on.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from django.conf import settings

from transcriber_site.hosts import parse_address

Network = IPv4Network | IPv6Network
Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]
HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""The scheme of a page that may open a connection of each scheme."""
_ENCRYPTED = {"http": "https", "ws": "wss"}


class Forwarded:
    """An ASGI application that shows another one the client instead of the proxy.

    The proxy's address stays at `scope["transcriber.peer"]`.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self._application(with_client(scope), receive, send)


def with_client(scope: Scope) -> Scope:
    """The scope with the client's address and scheme; the same one if no trusted proxy sent it."""
    peer = scope.get("client")
    if not settings.TRANSCRIBER_PROXIES or not peer or not is_trusted(peer[0]):
        return scope
    headers = _forwarding_headers(scope.get("headers", ()))
    default = "ws" if scope["type"] == "websocket" else "http"
    return {
        **scope,
        "transcriber.peer": peer,
        "client": [client_address(peer[0], headers["x-forwarded-for"]), 0],
        "scheme": _scheme(scope.get("scheme") or default, headers["x-forwarded-proto"]),
    }


def is_trusted(address: str) -> bool:
    return _is_in(address, tuple(settings.TRANSCRIBER_PROXIES))


@lru_cache(maxsize=1024)
def _is_in(address: str, networks: Sequence[Network]) -> bool:
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in networks)


def client_address(peer: str, forwarded_for: Sequence[str]) -> str:
    """The last address that is not a trusted proxy's; the last proxy's own if what comes before it is no address."""
    client = peer
    for value in reversed(forwarded_for):
        address = parse_address(_without_port(value))
        if address is None:
            return client
        client = str(address)
        if not is_trusted(client):
            return client
    return client


def _forwarding_headers(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {"x-forwarded-for": [], "x-forwarded-proto": []}
    for name, value in headers:
        if name in (b"x-forwarded-for", b"x-forwarded-proto"):
            found[name.decode()] += [one.strip() for one in value.decode("latin-1").split(",")]
    return found


def _scheme(scheme: str, forwarded: Sequence[str]) -> str:
    """The scheme between client and proxy, of the same kind (HTTP or WebSocket) as between proxy and service."""
    if not forwarded:
        return scheme
    plain = "ws" if scheme in ("ws", "wss") else "http"
    return _ENCRYPTED[plain] if forwarded[-1].lower() in ("https", "wss") else plain


def _without_port(value: str) -> str:
    """The address of `192.0.2.1:4711` and `[2001:db8::1]:4711`, as some proxies write it."""
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0] if value.count(":") == 1 else value
