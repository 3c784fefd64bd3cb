"""Finds out who asks, and lets each request see and change what is theirs."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts import audit, identity
from accounts.public import is_public
from transcription import access
from transcription.sharing.links import shown_recordings

SIGN_IN = "Sign in, or send an API token: Authorization: Bearer <token>."
NO_ACCOUNTS = (
    "This service has no accounts. Its operator can turn them on: TRANSCRIBER_ACCOUNTS=required."
)
SESSION_ONLY = "API tokens are not accepted here. Sign in with a browser."
ACCOUNT_PATHS = ("/accounts/", "/api/accounts/")
SESSION_PATHS = (*ACCOUNT_PATHS, "/admin/")
"""What a token cannot do: a leaked one must not make others, change the password or use the admin."""
PAGES = ("/app/", "/admin/", "/accounts/")
MAY_NOT_WRITE = "This token may only read. Use one with the scope `write`."


class AccessMiddleware:
    """Each view acts with the access of who asks; who is not known gets what is public, or what a link shows."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        source = audit.Source.of_request(request)
        with access.acting_as(access.NOBODY), audit.from_source(source):
            return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: object, kwargs: object
    ) -> HttpResponse | None:
        if settings.TRANSCRIBER_ACCOUNTS == "off":
            access.set_person(request, request.user)
            access.narrow(access.SERVICE)
            if request.path_info.startswith(ACCOUNT_PATHS):
                return JsonResponse({"detail": NO_ACCOUNTS}, status=404)
            return None
        try:
            who = identity.of_request(request)
        except identity.UnknownPersonError as error:
            return _unauthorized(str(error))
        access.set_person(request, who.user)
        if who.token is not None:
            audit.set_token(who.token.token_key)
            if request.path_info.startswith(SESSION_PATHS):
                return JsonResponse({"detail": SESSION_ONLY}, status=403)
            request.user = who.user
        changes = access.may_change(view, request.method)
        if not who.can_write and request.method not in access.SAFE_METHODS:
            return JsonResponse({"detail": MAY_NOT_WRITE}, status=403)
        shown = shown_recordings(request.COOKIES, view)
        assert request.resolver_match is not None, "a view was found"
        if not (who.is_known or shown or is_public(request.resolver_match.view_name)):
            return _refuse(request)
        access.narrow(who.access(changes=changes, recording_ids=shown))
        return None


def _refuse(request: HttpRequest) -> HttpResponse:
    """A page leads to the sign-in; all else is a 401."""
    is_page = request.path_info.startswith(PAGES)
    if is_page and request.method in ("GET", "HEAD") and not request.headers.get("HX-Request"):
        query = urlencode({"next": request.get_full_path()})
        return redirect(f"{reverse('account_login')}?{query}")
    return _unauthorized(SIGN_IN)


def _unauthorized(detail: str) -> HttpResponse:
    return JsonResponse({"detail": detail}, status=401, headers={"WWW-Authenticate": "Bearer"})
