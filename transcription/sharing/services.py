"""Sharing a recording with people and groups, each as reader or editor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db.models import QuerySet

from transcription import access
from transcription.models import Job, Recording, Share

UNKNOWN_NAMES = 20
"""How many names that nobody has a person may send in UNKNOWN_NAMES_PERIOD: enough for typing errors, too few to find
out who has an account here."""
UNKNOWN_NAMES_PERIOD = timedelta(hours=1)


class UnknownNameError(Exception):
    """Nobody has this name; the message says what to do."""


class TooManyNamesError(Exception):
    """Too many names were tried; the message says so. Try again after UNKNOWN_NAMES_PERIOD."""


def list_shares(*, recording: Recording) -> QuerySet[Share]:
    """With whom the recording is shared, in the order in which that was done."""
    return Share.objects.filter(recording=recording).select_related("user", "group")


def share_with_person(*, recording: Recording, name: str, role: Share.Role) -> Share:
    """Share the recording with the person of this user name; if it is already, change the role.

    Raises UnknownNameError, or TooManyNamesError.
    """
    people = get_user_model()._default_manager.filter(
        **{get_user_model().USERNAME_FIELD: name}, is_active=True
    )
    person = _found(people, name, kind="person")
    if person.pk == recording.owner_id:
        raise UnknownNameError("The recording is yours: it need not be shared with you.")
    return _share(recording, role, user=person)


def share_with_group(*, recording: Recording, name: str, role: Share.Role) -> Share:
    """Share the recording with the group of this name, as with a person."""
    return _share(
        recording, role, group=_found(Group.objects.filter(name=name), name, kind="group")
    )


def _share(recording: Recording, role: Share.Role, **who: Any) -> Share:
    share, _is_new = Share.objects.update_or_create(
        recording=recording, **who, defaults={"role": role}
    )
    return share


def change_role(*, recording: Recording, share_id: int, role: Share.Role) -> Share | None:
    """Change the role of those with whom the recording is shared; None if it is not (any more)."""
    shares = list_shares(recording=recording).filter(pk=share_id)
    return shares.get() if shares.update(role=role) else None


def end_share(*, recording: Recording, share_id: int) -> Share | None:
    """Share the recording no longer; returns what ended, None if it had ended before."""
    share = list_shares(recording=recording).filter(pk=share_id).first()
    n_deleted, _ = Share.objects.filter(recording=recording, pk=share_id).delete()
    return share if n_deleted else None


# ---- What others share


@dataclass(frozen=True, slots=True)
class SharedByOther:
    """A recording that its owner shares with who asks."""

    owner: str
    can_change: bool


def shared_by_others(jobs: Sequence[Job]) -> dict[UUID, SharedByOther]:
    """Which of these jobs, by id, have recordings that belong to another. `jobs` have their recordings."""
    others = [job for job in jobs if not access.is_owner(job.recording)]
    if not others:
        return {}
    owner_ids = [job.recording.owner_id or 0 for job in others]
    people = get_user_model()._default_manager.filter(pk__in=owner_ids)
    names = {person.pk: person.get_username() for person in people}
    with access.acting_as(replace(access.current(), changes=True)):
        found = Job.objects.filter(pk__in=[job.pk for job in others])
        can_change = set(found.values_list("pk", flat=True))
    return {
        job.pk: SharedByOther(names.get(job.recording.owner_id or 0, ""), job.pk in can_change)
        for job in others
    }


def own_groups() -> list[str]:
    """The names of the groups that who asks is in."""
    groups = (
        Group.objects.filter(user=access.owner_id()) if access.owner_id() else Group.objects.none()
    )
    return list(groups.order_by("name").values_list("name", flat=True))


# ---- Names


def _found(rows: "QuerySet[Any]", name: str, *, kind: str) -> Any:
    """The row with a name. Who tries many names learns nothing, not even by one that is right."""
    # Each name takes a slot before it is looked up, so that many at once pass no limit; `incr` would not be atomic.
    keys = (f"unknown-names-{access.owner_id()}-{n}" for n in range(UNKNOWN_NAMES))
    seconds = UNKNOWN_NAMES_PERIOD.total_seconds()
    taken = next((key for key in keys if cache.add(key, 1, seconds)), None)
    if taken is None:
        raise TooManyNamesError("You have sent too many names that nobody has. Wait an hour.")
    if row := rows.first():
        cache.delete(taken)
        return row
    raise UnknownNameError(
        f"No {kind} here is called {name}. Write the name exactly, with its capital letters."
    )
