"""Links that can be used once: they take the place of mail."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts import events, tokens
from accounts.first_person import find_first_person
from accounts.models import OneTimeLink
from accounts.notices import tell

INVITATION_LIFETIME = timedelta(days=7)
RESET_LIFETIME = timedelta(days=1)
FIRST_PERSON_LIFETIME = timedelta(days=1)
Purpose = OneTimeLink.Purpose


class LinkUsedError(Exception):
    """The link was used, has expired, or is needed no longer."""


def make_first_person_link() -> str | None:
    """The path of the link that makes the first administrator; None if there is one. Earlier links are dead."""
    if find_first_person() is not None:
        return None
    OneTimeLink.objects.filter(purpose=Purpose.FIRST_PERSON).delete()
    _, path = _make_link(
        Purpose.FIRST_PERSON, lifetime=FIRST_PERSON_LIFETIME, makes_administrator=True
    )
    return path


def make_invitation(
    *,
    request: HttpRequest,
    made_by: User,
    makes_administrator: bool,
    groups: Iterable[Group],
    note: str,
) -> str:
    """The path of a link with which one person can join."""
    with transaction.atomic():
        link, path = _make_link(
            Purpose.INVITATION,
            lifetime=INVITATION_LIFETIME,
            makes_administrator=makes_administrator,
            made_by=made_by,
            note=note,
        )
        link.groups.set(groups)
    role = "administrator" if makes_administrator else "member"
    events.person_changed.send(
        OneTimeLink, request=request, person=None, action=events.INVITED, details=f"{role}: {note}"
    )
    return path


def make_reset_link(*, request: HttpRequest | None, person: User, made_by: User | None) -> str:
    """The path of a link with which a person sets a new password. Earlier ones are dead."""
    OneTimeLink.objects.filter(purpose=Purpose.RESET, person=person, used_at=None).delete()
    _, path = _make_link(Purpose.RESET, lifetime=RESET_LIFETIME, person=person, made_by=made_by)
    events.person_changed.send(
        OneTimeLink, request=request, person=person, action=events.RESET_LINK_MADE, details=""
    )
    tell(person, f"{_name(made_by)} made a link that resets your password.")
    return path


def find_link(token: str) -> OneTimeLink | None:
    """The link with this token, if it can be used."""
    link = OneTimeLink.objects.filter(token_hash=_hash(token)).first()
    return link if link is not None and is_usable(link) else None


def find_usable(link_id: object) -> OneTimeLink | None:
    """The link with this id, if it can be used."""
    link = OneTimeLink.objects.filter(pk=link_id).first() if isinstance(link_id, int) else None
    return link if link is not None and is_usable(link) else None


def is_usable(link: OneTimeLink) -> bool:
    if link.used_at is not None or link.expires_at <= timezone.now():
        return False
    if link.purpose == Purpose.FIRST_PERSON:
        return find_first_person() is None
    return link.person is None or link.person.is_active


def list_invitations() -> list[OneTimeLink]:
    """The invitations that can still be used."""
    return list(
        OneTimeLink.objects.filter(
            purpose=Purpose.INVITATION, used_at=None, expires_at__gt=timezone.now()
        )
    )


def withdraw_invitation(link_id: int) -> bool:
    deleted, _ = OneTimeLink.objects.filter(
        pk=link_id, purpose=Purpose.INVITATION, used_at=None
    ).delete()
    return bool(deleted)


def join(*, request: HttpRequest, link: OneTimeLink, username: str, password: str) -> User:
    """Make the person whom a link invites. Raises LinkUsedError."""
    with transaction.atomic():
        _claim(link)
        person = User.objects.create_user(
            username,
            password=password,
            is_staff=link.makes_administrator,
            is_superuser=link.makes_administrator,
        )
        person.groups.set(link.groups.all())
    events.person_changed.send(
        User, request=request, person=person, action=events.JOINED, details=link.purpose
    )
    return person


def reset_password(*, request: HttpRequest, link: OneTimeLink, password: str) -> User:
    """Set the password that a link lets its person choose; API tokens and sessions end. Raises LinkUsedError."""
    assert link.person is not None, "a constraint of the table says so"
    with transaction.atomic():
        _claim(link)
        person = User.objects.select_for_update().get(pk=link.person.pk)
        person.set_password(password)
        person.save(update_fields=("password",))
        tokens.revoke_all(person)
    events.person_changed.send(
        User, request=request, person=person, action=events.PASSWORD_RESET, details="by a link"
    )
    return person


def _claim(link: OneTimeLink) -> None:
    """Use the link. Zero rows: somebody else was first, or it is too late."""
    rows = OneTimeLink.objects.filter(pk=link.pk, used_at=None, expires_at__gt=timezone.now())
    if not is_usable(link) or not rows.update(used_at=timezone.now()):
        raise LinkUsedError


def _make_link(
    purpose: str,
    *,
    lifetime: timedelta,
    person: User | None = None,
    made_by: User | None = None,
    makes_administrator: bool = False,
    note: str = "",
) -> tuple[OneTimeLink, str]:
    token = secrets.token_urlsafe(32)
    link = OneTimeLink.objects.create(
        token_hash=_hash(token),
        purpose=purpose,
        person=person,
        made_by=made_by,
        makes_administrator=makes_administrator,
        note=note,
        expires_at=timezone.now() + lifetime,
    )
    return link, reverse("open-one-time-link", args=[token])


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _name(person: User | None) -> str:
    return "The operator" if person is None else person.get_username()
