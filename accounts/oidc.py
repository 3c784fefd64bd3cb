"""Sign-in through an OpenID Connect provider."""

from collections.abc import Mapping
from typing import Any

from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

from accounts import people


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
