"""API tokens: making, finding and revoking them."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from knox.crypto import hash_token

from accounts import events
from accounts.models import ApiToken

SCHEME = "bearer"
MAX_PER_PERSON = 50
LAST_USE_INTERVAL = timedelta(minutes=1)
INVALID = "This API token is not valid. Make a new one on your profile page, /accounts/."
EXPIRED = "This API token has expired. Make a new one on your profile page, /accounts/."


class TooManyTokensError(Exception):
    """The person has as many tokens as one may have."""


def create_token(
    *,
    request: HttpRequest | None,
    person: User,
    name: str,
    scope: str,
    days: int | None,
) -> tuple[ApiToken, str]:
    """A new token, and its text, which is stored nowhere. Raises TooManyTokensError."""
    if ApiToken.objects.filter(user=person).count() >= MAX_PER_PERSON:
        raise TooManyTokensError
    lifetime = None if days is None else timedelta(days=days)
    token, text = ApiToken.objects.create(user=person, expiry=lifetime, name=name, scope=scope)
    events.token_changed.send(
        ApiToken, request=request, person=person, token=token, action=events.TOKEN_MADE
    )
    return token, text


def list_tokens(person: Any) -> list[ApiToken]:
    """The person's tokens, oldest first, also expired ones."""
    return list(ApiToken.objects.filter(user=person).order_by("created"))


def revoke_token(*, request: HttpRequest | None, person: User, public_id: UUID) -> bool:
    """Delete one of a person's tokens; false if there is none with this id."""
    token = ApiToken.objects.filter(user=person, public_id=public_id).first()
    if token is None:
        return False
    token.delete()
    events.token_changed.send(
        ApiToken, request=request, person=person, token=token, action=events.TOKEN_REVOKED
    )
    return True


def revoke_all(person: Any) -> None:
    ApiToken.objects.filter(user=person).delete()


def find_token(text: str) -> ApiToken | None:
    """The token with this text, of a person who is active; it may have expired.

    One query: knox's own authentication reads all tokens of the person, and deletes those that have expired.
    """
    rows = ApiToken.objects.select_related("user").filter(digest=hash_token(text))
    token: ApiToken | None = rows.filter(user__is_active=True).first()
    return token


def note_use(token: ApiToken) -> None:
    """Remember that the token is used now, written at most once a minute."""
    now = timezone.now()
    if token.last_used_at is not None and now - token.last_used_at < LAST_USE_INTERVAL:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USE_INTERVAL)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def bearer_text(header: str) -> str | None:
    """The token of an Authorization header; None if the header is of another scheme, or empty."""
    scheme, _, text = header.strip().partition(" ")
    return text.strip() if scheme.lower() == SCHEME else None


def authorization_header(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The Authorization header of an ASGI scope."""
    found = (value for name, value in headers if name.lower() == b"authorization")
    return next(found, b"").decode("latin-1")
