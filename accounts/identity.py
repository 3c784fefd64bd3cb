"""Who asks: the person of a session or of an API token."""

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest

from transcription.access import Access


class UnknownPersonError(Exception):
    """A token that is not valid; the message says so to who sent it."""


@dataclass(frozen=True, slots=True)
class Identity:
    user: AbstractBaseUser | AnonymousUser
    can_write: bool = True
    """False for a token that may only read."""

    @property
    def is_known(self) -> bool:
        return self.user.is_authenticated

    def access(self, *, changes: bool, recording_ids: frozenset[UUID]) -> Access:
        """What this person, and share links to these recordings, may see; and change, if that is wanted."""
        return Access(user_id=self.user.pk, recording_ids=recording_ids, changes=changes)


def of_request(request: HttpRequest) -> Identity:
    """Raises UnknownPersonError if it has a token that is not valid."""
    return Identity(request.user)


def of_scope(scope: dict[str, Any]) -> Identity:
    """The same of a WebSocket whose cookies were read; its session is, each time, as it is by then."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(
        scope["cookies"].get(settings.SESSION_COOKIE_NAME)
    )
    return Identity(get_user(cast("HttpRequest", SimpleNamespace(session=session))))
