"""Finds out who asks, and lets each request see and change what is theirs."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from accounts import identity
from accounts.public import is_public
from transcription import access
from transcription.sharing.links import shown_recordings

SIGN_IN = "Sign in, or send an API token: Authorization: Bearer <token>."
MAY_NOT_WRITE = "This token may only read. Use one with the scope `write`."


class AccessMiddleware:
    """Each view acts with the access of who asks; who is not known gets what is public, or what a link shows."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with access.acting_as(access.NOBODY):
            return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: object, kwargs: object
    ) -> HttpResponse | None:
        if settings.TRANSCRIBER_ACCOUNTS == "off":
            access.set_person(request, request.user)
            access.narrow(access.SERVICE)
            return None
        try:
            who = identity.of_request(request)
        except identity.UnknownPersonError as error:
            return _unauthorized(str(error))
        access.set_person(request, who.user)
        changes = access.may_change(view, request.method)
        if changes and not who.can_write:
            return JsonResponse({"detail": MAY_NOT_WRITE}, status=403)
        shown = shown_recordings(request.COOKIES, view)
        assert request.resolver_match is not None, "a view was found"
        if not (who.is_known or shown or is_public(request.resolver_match.view_name)):
            return _refuse(request)
        access.narrow(who.access(changes=changes, recording_ids=shown))
        return None


def _refuse(request: HttpRequest) -> HttpResponse:
    """A page leads to the sign-in; all else is a 401."""
    is_page = request.path_info.startswith(("/app/", "/admin/"))
    if is_page and request.method in ("GET", "HEAD") and not request.headers.get("HX-Request"):
        return redirect(f"{reverse('account_login')}?next={request.path}")
    return _unauthorized(SIGN_IN)


def _unauthorized(detail: str) -> HttpResponse:
    return JsonResponse({"detail": detail}, status=401, headers={"WWW-Authenticate": "Bearer"})
