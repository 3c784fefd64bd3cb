"""What administrators change about people."""

from collections.abc import Iterable
from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from accounts import events
from accounts.models import OneTimeLink
from accounts.notices import tell

LAST_ADMINISTRATOR = "This is the last administrator. Make somebody else one first."


class LastAdministratorError(Exception):
    """Without this person nobody could administrate."""


def is_administrator(person: object) -> bool:
    return isinstance(person, User) and person.is_active and person.is_superuser


def list_people() -> "QuerySet[Any]":
    """All people, by name, with their groups and whether they have a second factor (`has_second_factor`)."""
    factors = Authenticator.objects.filter(user=OuterRef("pk"))
    return (
        User.objects.annotate(has_second_factor=Exists(factors))
        .prefetch_related("groups")
        .order_by("username")
    )


def set_active(*, request: HttpRequest | None, person: User, active: bool) -> None:
    """Let a person sign in, or not: sessions and API tokens of who may not are dead at once.

    Raises LastAdministratorError.
    """
    with transaction.atomic():
        person = _locked(person, loses_administrator=not active)
        person.is_active = active
        person.save(update_fields=("is_active",))
        if not active:
            _end_links_made_by(person)
    action = events.ACTIVATED if active else events.DEACTIVATED
    events.person_changed.send(User, request=request, person=person, action=action, details="")


def set_administrator(*, request: HttpRequest, person: User, administrator: bool) -> None:
    """Make a person an administrator, or a member. Raises LastAdministratorError."""
    with transaction.atomic():
        person = _locked(person, loses_administrator=not administrator)
        person.is_staff = person.is_superuser = administrator
        person.save(update_fields=("is_staff", "is_superuser"))
        if not administrator:
            _end_links_made_by(person)
    action = events.MADE_ADMINISTRATOR if administrator else events.MADE_MEMBER
    events.person_changed.send(User, request=request, person=person, action=action, details="")


def _end_links_made_by(person: User) -> None:
    """Who is an administrator no longer cannot come back, or bring others, by a link made before."""
    OneTimeLink.objects.filter(made_by=person, used_at=None).delete()


def set_groups(*, request: HttpRequest | None, person: User, groups: Iterable[Group]) -> None:
    groups = sorted(groups, key=lambda group: group.name)
    person.groups.set(groups)
    events.person_changed.send(
        User,
        request=request,
        person=person,
        action=events.GROUPS_CHANGED,
        details=", ".join(group.name for group in groups),
    )


def remove_second_factor(
    *, request: HttpRequest | None, person: User, made_by: User | None
) -> bool:
    """Delete a person's authenticator app, passkeys and recovery codes; false if there were none."""
    deleted, _ = Authenticator.objects.filter(user=person).delete()
    if not deleted:
        return False
    events.person_changed.send(
        User, request=request, person=person, action=events.SECOND_FACTOR_REMOVED, details=""
    )
    who = "The operator" if made_by is None else made_by.get_username()
    tell(person, f"{who} removed the second factor of your sign-in. Set up a new one.")
    return True


def groups_named(names: Iterable[str]) -> list[Group]:
    """The groups with these names; those that are missing are made."""
    longest = Group._meta.get_field("name").max_length or 0
    cut = {name.strip()[:longest] for name in names}
    return [Group.objects.get_or_create(name=name)[0] for name in sorted(cut) if name]


def _locked(person: User, *, loses_administrator: bool) -> User:
    """The person's row, locked with those of all administrators, so that two cannot make each other members."""
    administrators = list(
        User.objects.select_for_update().filter(is_active=True, is_superuser=True).order_by("pk")
    )
    if loses_administrator and [each.pk for each in administrators] == [person.pk]:
        raise LastAdministratorError(LAST_ADMINISTRATOR)
    return User.objects.select_for_update().get(pk=person.pk)
