"""Who may see and change what: the one place that filters by owner, share, link and role.

Each request, socket and worker acts with an `Access`. The models of recordings and of what is made of them have the
manager `ScopedManager`: its rows are those that the present access covers, and without an access it raises.
"""

from collections.abc import Callable, Iterator
from contextlib import _GeneratorContextManager, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest

View = TypeVar("View", bound=Callable[..., Any])
Row = TypeVar("Row", bound=models.Model)


class NoAccessError(Exception):
    """Rows were asked for where nobody has said who asks: a bug of this service."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request, a socket or a process may see, and what belongs to it."""

    sees_all: bool = False
    """The service itself, and anybody while accounts are off."""
    user_id: int | None = None
    """The person who asks, and who owns what is made; None for the service, for links and for nobody."""
    recording_ids: frozenset[UUID] = frozenset()
    """The recordings that share links show."""
    reads_all: bool = False
    """An administrator who may read, but not change, what others own."""
    changes: bool = False
    """Whether rows are asked for to be changed: then those that may only be read are left out."""


SERVICE = Access(sees_all=True, changes=True)
"""The service itself, and anybody while accounts are off."""
NOBODY = Access()

_current: ContextVar[Access | None] = ContextVar("access", default=None)
_of_process: Access | None = None


def become_service() -> None:
    """Let this process act as the service where nothing else is said: workers and commands, never a web process."""
    global _of_process
    _of_process = SERVICE


def current() -> Access:
    """The present access. Raises NoAccessError."""
    access = _current.get() or _of_process
    if access is None:
        raise NoAccessError(
            "Rows were asked for, but nobody has said who asks: see transcription/access.py."
        )
    return access


@contextmanager
def acting_as(access: Access) -> Iterator[None]:
    """Act with this access, in this thread or task."""
    token = _current.set(access)
    try:
        yield
    finally:
        _current.reset(token)


def narrow(access: Access) -> Token[Access | None]:
    """Act with this access until the surrounding `acting_as` ends."""
    return _current.set(access)


def as_service() -> "_GeneratorContextManager[None]":
    """Act as the service: for what concerns all people's work, such as places in the queue. Also a decorator."""
    return acting_as(SERVICE)


def owner_id() -> int | None:
    """The person to whom what is made now belongs; None while accounts are off."""
    return current().user_id


# ---- Rows


class ScopedManager(models.Manager[Row]):
    """The rows that the present access covers, as it is when the query is made. Raises NoAccessError.

    Its model says in `scope` how its rows belong to a recording.
    """

    def get_queryset(self) -> "models.QuerySet[Row]":
        rows, access = super().get_queryset(), current()
        if access.sees_all or (access.reads_all and not access.changes):
            return rows
        return rows.filter(_is_covered(self.model.scope, access))  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Scope:
    """How a model's rows belong to a recording."""

    field: str
    """The field of the row that leads to the recording."""
    lookup: str = "pk"
    """The lookup of a recording that this field's value answers."""
    has_owner: bool = False
    """Whether a row whose `field` is empty belongs to its own `owner`."""
    for_owner: bool = False
    """Whether the recording's owner alone may see the row, whoever else may read the recording."""


ITSELF = Scope("pk")
OF_RECORDING = Scope("recording")
OF_JOB = Scope("job", "jobs")


def _is_covered(scope: Scope, access: Access) -> Q:
    """The condition of the rows that the access covers.

    It joins no table: an UPDATE with a join checks its conditions in a subquery, and PostgreSQL does not check those
    again after it has waited for another transaction.
    """
    condition = _is_owner(access) if scope.for_owner else _recording_is_covered(access)
    if scope is ITSELF:
        return condition
    recordings = apps.get_model("transcription", "Recording")._base_manager.filter(
        condition, **{scope.lookup: OuterRef(scope.field)}
    )
    covered = Q(Exists(recordings))
    if scope.has_owner and access.user_id is not None:
        covered |= Q(**{f"{scope.field}__isnull": True}, owner=access.user_id)
    return covered


def _is_owner(access: Access) -> Q:
    return Q(pk__in=()) if access.user_id is None else Q(owner=access.user_id)


def _recording_is_covered(access: Access) -> Q:
    shown = Q(pk__in=() if access.changes else access.recording_ids)
    if access.user_id is None:
        return shown
    share = apps.get_model("transcription", "Share")
    shares = share._base_manager.filter(
        Q(user=access.user_id) | Q(group__in=_groups_of(access.user_id)), recording=OuterRef("pk")
    )
    if access.changes:
        shares = shares.filter(role=share.Role.EDITOR)
    return shown | _is_owner(access) | Q(Exists(shares))


def _groups_of(user_id: int) -> "models.QuerySet[Any]":
    return apps.get_model("auth", "Group")._default_manager.filter(user=user_id).values("pk")


def refuse_readers(model: type[models.Model], **lookup: Any) -> None:
    """Raise PermissionDenied if the row was not found because it may only be read."""
    access = current()
    if access.sees_all or not access.changes:
        return
    with to_read():
        may_read = model._default_manager.filter(**lookup).exists()
    if may_read:
        raise PermissionDenied("This recording is shared with you to be read, not to be changed.")


def to_read() -> "_GeneratorContextManager[None]":
    """Act as who asks, but to read alone: for what a request that changes something shows afterwards."""
    return acting_as(replace(current(), changes=False))


def can_change(row: models.Model) -> bool:
    """Whether a row that was found may be changed too."""
    access = current()
    if access.sees_all or access.changes:
        return True
    with acting_as(replace(access, changes=True)):
        return type(row)._default_manager.filter(pk=row.pk).exists()


def is_owner(recording: Any) -> bool:
    """Whether the recording belongs to who asks; while accounts are off, to anybody."""
    access = current()
    return access.sees_all or (access.user_id is not None and recording.owner_id == access.user_id)


def refuse_but_owner(recording: Any, *, to: str) -> None:
    """Raise PermissionDenied unless the recording belongs to who asks, such as `to` delete it."""
    if not is_owner(recording):
        raise PermissionDenied(f"Only its owner may {to} this recording.")


def is_link() -> bool:
    """Whether nobody is known who asks: what is shown is shown by share links alone."""
    access = current()
    return access.user_id is None and not access.sees_all


# ---- Requests and views

LINKS, CHAT_LINKS = "links", "chat links"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def set_person(request: HttpRequest, person: Any) -> None:
    """Say who asks: a user, also one who is not known. REST framework sets its requests' `user` to None."""
    request.person = person  # type: ignore[attr-defined]


def person_of(request: HttpRequest) -> Any:
    """The user that `set_person` said."""
    return request.person  # type: ignore[attr-defined]


def reads_only(view: View) -> View:
    """Declare that a view changes no row of others, whatever its method: who may read may use it."""
    view.reads_only = True  # type: ignore[attr-defined]
    return view


def open_to_links(view: View) -> View:
    """Declare that a share link shows this view of its recording."""
    view.open_to_links = LINKS  # type: ignore[attr-defined]
    return view


def open_to_chat_links(view: View) -> View:
    """Declare that a share link that allows questions shows this view of its recording."""
    view.open_to_links = CHAT_LINKS  # type: ignore[attr-defined]
    return view


def may_change(view: Any, method: str | None) -> bool:
    """Whether such a request to a view asks for rows in order to change them."""
    return method not in SAFE_METHODS and not getattr(view, "reads_only", False)
