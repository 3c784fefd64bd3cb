"""Sign-in through an OpenID Connect provider."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import requests
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.openid_connect import views
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts import people

_logger = logging.getLogger(__name__)

NO_ANSWER = "The provider does not answer. Try again later, or sign in with a password."


def login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Lead to the provider; 503 if it does not answer.

    By a page of our own: browsers that check a policy's `form-action` follow no redirect of a form to another site.
    """
    try:
        response: HttpResponse = views.login(request, provider_id)
    except requests.RequestException as error:
        _logger.warning("The OpenID Connect provider does not answer: %s", error)
        return render(request, "accounts/message.html", {"text": NO_ANSWER}, status=503)
    if response.status_code != HTTPStatus.FOUND:
        return response
    return render(request, "accounts/leaving.html", {"address": response["Location"]})


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return bool(settings.TRANSCRIBER_OIDC_CREATES_PEOPLE)

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Forget addresses that the provider gives: nobody is recognized by them."""
        sociallogin.email_addresses = []


def replace_groups(*, request: HttpRequest, user: User, sociallogin: Any = None, **_: Any) -> None:
    """After a sign-in through the provider: the person is in the groups that the provider names, and in no others."""
    claim = settings.TRANSCRIBER_OIDC_GROUPS_CLAIM
    if sociallogin is None or not claim:
        return
    groups = people.groups_named(group_names(sociallogin.account.extra_data, claim=claim))
    if set(groups) != set(user.groups.all()):
        people.set_groups(request=request, person=user, groups=groups)


def group_names(claims: Mapping[str, Any], *, claim: str) -> list[str]:
    """The names in a claim of the ID token or the user info; none if it is missing or not a list of texts."""
    for source in ("userinfo", "id_token"):
        value = (claims.get(source) or {}).get(claim)
        if isinstance(value, str):
            return [value]
        if isinstance(value, list):
            return [name for name in value if isinstance(name, str)]
    return []
