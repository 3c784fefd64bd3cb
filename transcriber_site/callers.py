"""Where a request comes from, as its connection and its headers tell: for HTTP, and for sockets before they open."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from transcriber_site import proxies

FORWARDING_HEADERS = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)
"""Who sends one of these is a proxy, or says so."""
_LOOKED_AT = frozenset(
    name.encode()
    for name in (*FORWARDING_HEADERS, "host", "origin", "sec-fetch-site", "authorization", "cookie")
)


@dataclass(frozen=True, slots=True)
class Caller:
    host: str | None
    """The header `Host`: by what name the service was called."""
    origin: str | None
    """The header `Origin`: the site whose page sent the request. Programs other than browsers send none."""
    site: str | None
    """The header `Sec-Fetch-Site`: how that site is related to this service."""
    scheme: str
    """`http` or `https`, behind a trusted proxy the client's; empty if not known."""
    peer: str | None
    """The address at the other end of the connection: a proxy's, if there is one. None: a Unix socket."""
    listens_on: str | None
    """The address of this machine that the connection was made to, if known."""
    is_forwarded: bool
    has_only_token: bool
    """Whether it identifies itself by a token and sends no cookie: no page of another site can do that unknown to
    the person who holds the token."""


def from_scope(scope: Mapping[str, Any]) -> Caller:
    """The caller of an ASGI scope, before or after `proxies.Forwarded` has looked at it."""
    peer, server = scope.get("transcriber.peer") or scope.get("client"), scope.get("server")
    return _caller(
        {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope.get("headers", ())
            if name in _LOOKED_AT
        },
        scheme=proxies.HTTP_SCHEMES.get(scope.get("scheme", ""), ""),
        peer=peer[0] if peer else None,
        listens_on=server[0] if server else None,
    )


def from_request(request: HttpRequest) -> Caller:
    if isinstance(request, ASGIRequest):
        return from_scope(request.scope)
    # WSGI, as Django's test client and `runserver` speak it: only the client's address is known.
    host: str = request._get_raw_host()  # type: ignore[attr-defined]  # in no stub
    return _caller(
        {"host": host, **{name.lower(): value for name, value in request.headers.items()}},
        scheme=request.scheme or "",
        peer=request.META.get("REMOTE_ADDR") or None,
        listens_on=None,
    )


def from_connection(
    headers: Iterable[tuple[bytes, list[bytes]]],
    *,
    is_encrypted: bool,
    peer: str | None,
    listens_on: str | None,
) -> Caller:
    """The caller of a request whose headers Twisted has read, and whose body not yet."""
    scope = {
        "type": "http",
        "scheme": "https" if is_encrypted else "http",
        "headers": [(name.lower(), value) for name, values in headers for value in values],
        "client": (peer, 0) if peer else None,
        "server": (listens_on, 0) if listens_on else None,
    }
    return from_scope(proxies.with_client(scope))


def _caller(
    headers: Mapping[str, str], *, scheme: str, peer: str | None, listens_on: str | None
) -> Caller:
    has_token = headers.get("authorization", "")[:7].lower() == "bearer "
    return Caller(
        host=headers.get("host"),
        origin=headers.get("origin"),
        site=headers.get("sec-fetch-site"),
        scheme=scheme,
        peer=peer,
        listens_on=listens_on,
        is_forwarded=any(name in headers for name in FORWARDING_HEADERS),
        has_only_token=has_token and not headers.get("cookie"),
    )
