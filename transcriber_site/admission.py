"""Who is let in: what every request and every socket must fulfil before anything else looks at it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from transcriber_site import callers, exposure, hosts, origins, proxies
from transcriber_site.callers import Caller

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    status: HTTPStatus
    detail: str


def refusal(caller: Caller, *, method: str) -> Refusal | None:
    """Why this caller's request is refused; None if it may go on. Sockets are asked for with `method="SOCKET"`."""
    if reason := exposure.refusal(caller) or _untrusted_proxy(caller):
        return Refusal(HTTPStatus.FORBIDDEN, reason)
    if caller.host is not None and not hosts.is_ours(caller.host, listens_on=caller.listens_on):
        return Refusal(HTTPStatus.BAD_REQUEST, hosts.refusal(caller.host))
    if method in origins.SAFE_METHODS:
        return None
    reason = origins.refusal(caller)
    return Refusal(HTTPStatus.FORBIDDEN, reason) if reason else None


def _untrusted_proxy(caller: Caller) -> str | None:
    """With TRANSCRIBER_HTTPS a proxy that is not believed would be redirected to itself for ever."""
    if not settings.TRANSCRIBER_HTTPS or caller.scheme != "http" or not caller.is_forwarded:
        return None
    if caller.peer is not None and proxies.is_trusted(caller.peer):
        return None
    return (
        f"This request came through a proxy at {caller.peer or 'a Unix socket'}, which TRANSCRIBER_PROXIES does not "
        "name: whether it was encrypted is not known. Add the proxy's address."
    )


class Admission:
    """Middleware. It stands before all others but the one that traces: static files and health checks are asked too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        found = refusal(callers.from_request(request), method=request.method or "")
        response = self.get_response(request) if found is None else _refuse(request, found)
        if not settings.TRANSCRIBER_CORS_ORIGINS:
            # No page of another site can show what is here as a picture or a recording either.
            response.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


def _refuse(request: HttpRequest, found: Refusal) -> HttpResponseBase:
    _logger.warning("Refused %s %s: %s", request.method, request.path, found.detail)
    response = JsonResponse({"detail": found.detail}, status=found.status)
    response["X-Content-Type-Options"] = "nosniff"
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log it again
    return response


class AdmittedSockets:
    """ASGI. A socket is closed before it is accepted, which its client sees as 403."""

    def __init__(self, application: proxies.Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        found = refusal(callers.from_scope(scope), method="SOCKET")
        if found is None:
            await self._application(scope, receive, send)
            return
        _logger.warning("Refused the socket %s: %s", scope["path"], found.detail)
        await receive()
        await send({"type": "websocket.close", "code": 4403})
