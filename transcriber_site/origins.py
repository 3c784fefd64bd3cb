"""Which sites' pages may change anything, or open a socket: our own, and those of `TRANSCRIBER_CORS_ORIGINS`.

Browsers send `Origin` with every request that changes something, and `Sec-Fetch-Site` with every request; no page can
alter either. Programs other than browsers send neither, and no page of another site can use them.
"""

from typing import Any

from corsheaders.signals import check_request_enabled
from django.conf import settings
from django.http import HttpRequest
from django.utils.http import is_same_domain

from transcriber_site import callers
from transcriber_site.callers import Caller

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
TOKEN_PATHS = ("/api/", "/v1/")
"""What pages of any site may use with a token, once accounts are on."""
REQUIRED = "required"


def refusal(caller: Caller) -> str | None:
    """Why a request that changes something, or a socket, is refused; None if it may go on."""
    if _takes_token(caller):
        return None
    if caller.origin is None:
        if caller.site in (None, "same-origin", "none"):
            return None
        return f"A page of another site sent this request. {_REMEDY}"
    if _is_own(caller.origin, caller) or _is_allowed(caller.origin):
        return None
    return (
        f"A page of {caller.origin[:100]} sent this request, and this service is "
        f"{caller.scheme or 'http'}://{(caller.host or '')[:100]}. {_REMEDY} Behind a proxy, have it pass the header "
        "Host on, and name its address in TRANSCRIBER_PROXIES."
    )


_REMEDY = (
    "Pages of other sites may change nothing here, unless TRANSCRIBER_CORS_ORIGINS lists them."
)


def _is_own(origin: str, caller: Caller) -> bool:
    scheme, _, host = origin.lower().partition("://")
    if host != (caller.host or "").lower() or not host:
        return False
    # daphne alone does not say whether a socket is encrypted; what counts is the host.
    return scheme == caller.scheme or (not caller.scheme and scheme in ("http", "https"))


def _is_allowed(origin: str) -> bool:
    return (
        # With accounts `*` is for tokens alone: a page of any site must not act with the cookies of who visits it.
        (settings.CORS_ALLOW_ALL_ORIGINS and settings.TRANSCRIBER_ACCOUNTS == "off")
        or origin in settings.CORS_ALLOWED_ORIGINS
        or any(_matches(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)
    )


def _matches(origin: str, trusted: str) -> bool:
    """Whether an origin is the trusted one, or one of `https://*.example.org`."""
    scheme, _, host = origin.partition("://")
    trusted_scheme, _, pattern = trusted.partition("://")
    return scheme == trusted_scheme and is_same_domain(host, pattern.removeprefix("*"))


def _takes_token(caller: Caller) -> bool:
    return caller.has_only_token and settings.TRANSCRIBER_ACCOUNTS == REQUIRED


def may_read_with_token(sender: Any, request: HttpRequest, **_: Any) -> bool:
    """Whether a page of any site may read the answer: to a request with a token, and to the preflight of one."""
    if settings.TRANSCRIBER_ACCOUNTS != REQUIRED or not request.path_info.startswith(TOKEN_PATHS):
        return False
    if request.method == "OPTIONS":
        asked = request.headers.get("Access-Control-Request-Headers", "").lower()
        return "authorization" in [name.strip() for name in asked.split(",")]
    return _takes_token(callers.from_request(request))


def connect_cors() -> None:
    check_request_enabled.connect(may_read_with_token, dispatch_uid="transcriber_site.origins")
