"""Who asks: the person of a session or of an API token."""

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from accounts import tokens
from accounts.models import ApiToken
from transcription.access import Access


class UnknownPersonError(Exception):
    """A token that is not valid; the message says so to who sent it."""


@dataclass(frozen=True, slots=True)
class Identity:
    user: Any  # a user, also one who is not known
    token: ApiToken | None = None
    """The token that was sent; None for a session."""

    @property
    def can_write(self) -> bool:
        """False for a token that may only read."""
        return self.token is None or self.token.scope == ApiToken.Scope.WRITE

    @property
    def is_known(self) -> bool:
        return bool(self.user.is_authenticated)

    def access(self, *, changes: bool, recording_ids: frozenset[UUID]) -> Access:
        """What this person, and share links to these recordings, may see; and change, if that is wanted."""
        return Access(
            user_id=self.user.pk,
            recording_ids=recording_ids,
            reads_all=self._is_administrator and settings.TRANSCRIBER_ADMINS_READ_ALL,
            changes=changes,
        )

    @property
    def _is_administrator(self) -> bool:
        return bool(getattr(self.user, "is_superuser", False))


def of_request(request: HttpRequest) -> Identity:
    """Raises UnknownPersonError if it has a token that is not valid."""
    return _of_token(request.headers.get("Authorization", "")) or Identity(request.user)


def of_scope(scope: dict[str, Any]) -> Identity:
    """The same of a WebSocket whose cookies were read; its token and session are, each time, as they are by then."""
    sent = _of_token(tokens.authorization_header(scope["headers"]))
    if sent is not None:
        return sent
    session = import_module(settings.SESSION_ENGINE).SessionStore(
        scope["cookies"].get(settings.SESSION_COOKIE_NAME)
    )
    return Identity(get_user(cast("HttpRequest", SimpleNamespace(session=session))))


def _of_token(header: str) -> Identity | None:
    """Who sent an Authorization header; None if it holds no API token. Raises UnknownPersonError."""
    text = tokens.bearer_text(header)
    if text is None:
        return None
    token = tokens.find_token(text)
    if token is None:
        raise UnknownPersonError(tokens.INVALID)
    if token.has_expired:
        raise UnknownPersonError(tokens.EXPIRED)
    tokens.note_use(token)
    return Identity(token.user, token=token)
