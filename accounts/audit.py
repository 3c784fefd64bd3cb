"""The audit log: who did what to which object, from where, when.

With accounts off nothing is written. Reading one's own recordings is no entry; reading what others own is, and all
exports are. One thing is one entry for ten minutes, so that a page that is open does not fill the log.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models import Model
from django.db.models.functions import Now
from django.http import HttpRequest

from accounts import events
from accounts.models import AuditEntry
from transcription import access, hooks
from transcription.models import Job, Recording

SIGN_IN, FAILED_SIGN_IN, SIGN_OUT = "sign in", "failed sign-in", "sign out"
CHANGE_PASSWORD, ADD_FACTOR, REMOVE_FACTOR = "change password", "add factor", "remove factor"
ONE_ENTRY = timedelta(minutes=10)
"""For so long the same person's same action on the same object is one entry."""
LINK_NAME, OPERATOR_NAME = "(share link)", "(operator)"
"""Who is no person: whoever has a link, and whoever runs commands on the machine."""
MAX_EXPIRED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Source:
    """Where a request or a socket comes from."""

    address: str = ""
    request: HttpRequest | None = None
    token: str = ""
    """The beginning of the API token that was sent."""

    @classmethod
    def of_request(cls, request: HttpRequest) -> "Source":
        # The address of the client: whoever trusts a proxy has put it right by now.
        return cls(str(request.META.get("REMOTE_ADDR") or ""), request)


_source: ContextVar[Source] = ContextVar("audit source")


@contextmanager
def from_source(source: Source) -> Iterator[None]:
    """What is recorded now comes from there."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def set_token(key: str) -> None:
    """The present request was sent with the API token that begins like this; its name is its owner's own affair."""
    _source.set(replace(_source.get(Source()), token=key))


def record(
    action: str,
    *,
    kind: str = "",
    object_id: str = "",
    detail: str = "",
    request: HttpRequest | None = None,
    person: Any = None,
) -> None:
    """Write an entry, unless the last ten minutes have it. `person`: a user, if it is not who asks.

    `detail` never holds content, nor any secret.
    """
    if settings.TRANSCRIBER_ACCOUNTS == "off":
        return
    source = _source.get(Source())
    if request is not None:
        source = replace(Source.of_request(request), token=source.token)
    person_id, name = _who(source, person)
    values = {
        "person_id": person_id,
        "name": name[:150],
        "token": source.token[:100],
        "address": source.address[:45],
        "action": action[:50],
        "kind": kind[:50],
        "object_id": object_id[:100],
        "detail": detail[:200],
    }
    if not AuditEntry.objects.filter(at__gt=Now() - ONE_ENTRY, **values).exists():
        AuditEntry.objects.create(**values)


def _who(source: Source, person: Any) -> tuple[int | None, str]:
    """The id and the name of who acts."""
    if person is None and source.request is not None:
        person = getattr(source.request, "person", None) or getattr(source.request, "user", None)
    if person is not None and person.pk is not None:
        return person.pk, str(person.get_username())
    present = access.current()
    if present.user_id is not None:  # a socket's
        people = get_user_model()._default_manager.filter(pk=present.user_id)
        return present.user_id, str(people.values_list("username", flat=True).first() or "")
    if present.sees_all:
        return None, OPERATOR_NAME
    return None, LINK_NAME if present.recording_ids else ""


def expire() -> int:
    """Delete entries older than TRANSCRIBER_AUDIT_DAYS, the oldest first; returns how many."""
    too_old = Now() - timedelta(days=settings.TRANSCRIBER_AUDIT_DAYS)
    oldest = AuditEntry.objects.filter(at__lt=too_old).order_by("at")
    ids = list(oldest.values_list("pk", flat=True)[:MAX_EXPIRED_AT_ONCE])
    return AuditEntry.objects.filter(pk__in=ids).expire()


# ---- What is listened to


def on_action(
    *,
    request: HttpRequest | None,
    action: str,
    kind: str,
    object_id: str,
    detail: str,
    row: Model,
    owner_id: int | None,
    **_: Any,
) -> None:
    """Note what was done to a recording, or to what was made of one; not that somebody read what is theirs."""
    if settings.TRANSCRIBER_ACCOUNTS == "off":
        return
    present = access.current()
    if present.sees_all:
        return  # the service itself
    if action == hooks.READ:
        if present.user_id is not None and present.user_id == (owner_id or _owner_of(row)):
            return
        detail = detail or ("as administrator" if present.reads_all else "")
    record(action, kind=kind, object_id=object_id, detail=detail, request=request)


def _owner_of(row: Any) -> int | None:
    """The owner of the recording that a row was made of; of the row, if it was made of a text that was sent."""
    if isinstance(row, Job) and Job.recording.is_cached(row):
        return row.recording.owner_id
    belongs_to = row.serializable_value(row.scope.field)
    if belongs_to is None:
        return cast("int | None", row.owner_id)
    recordings = Recording._base_manager.filter(**{row.scope.lookup: belongs_to})
    return recordings.values_list("owner", flat=True).first()


def on_sign_in(*, request: HttpRequest | None, user: Any, **_: Any) -> None:
    record(SIGN_IN, request=request, person=user)


def on_sign_out(*, request: HttpRequest | None, user: Any, **_: Any) -> None:
    if user is not None:
        record(SIGN_OUT, request=request, person=user)


def on_failed_sign_in(
    *, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """Note whose account it was. A name that nobody has is left out: it may be a password in the wrong field."""
    people = get_user_model()._default_manager
    name = str(credentials.get("username") or "")
    person = people.filter(username=name).first()
    email = str(credentials.get("email") or "")
    if person is None and email:
        person = people.filter(email__iexact=email).first()
    record(FAILED_SIGN_IN, request=request, person=person)


def on_person_changed(
    *, request: HttpRequest | None, person: Any, action: str, details: str, **_: Any
) -> None:
    """Note what was done to a person; whoever joins or uses a link does it themselves."""
    record(
        action,
        kind="user" if person else "invitation",
        object_id=str(person.pk) if person else "",
        detail=details,
        request=request,
        person=person if action in (events.JOINED, events.PASSWORD_RESET) else None,
    )


def on_token_changed(
    *, request: HttpRequest | None, person: Any, token: Any, action: str, **_: Any
) -> None:
    record(
        action,
        kind="apitoken",
        object_id=str(token.public_id),
        detail=f"{token.token_key}…, {token.scope}",
        request=request,
    )


def on_own_change(action: str) -> Callable[..., None]:
    """A listener that notes what people change of their own sign-in."""

    def listen(*, request: HttpRequest | None, user: Any, **_: Any) -> None:
        record(action, kind="user", object_id=str(user.pk), request=request, person=user)

    return listen


def on_admin_log(*, instance: Any, created: bool, raw: bool = False, **_: Any) -> None:
    """Note what an administrator did in Django's admin. Its own log holds names; this one does not."""
    if not created or raw:
        return
    content_type = instance.content_type
    record(
        f"admin: {instance.get_action_flag_display().lower()}",
        kind=content_type.model if content_type else "",
        object_id=str(instance.object_id or ""),
        detail=_changed_fields(instance),
        person=instance.user,
    )


def _changed_fields(entry: Any) -> str:
    """The names of the fields that were changed, from the admin's own log; no values."""
    try:
        parts = json.loads(entry.change_message or "[]")
    except ValueError:
        return "password" if "password" in entry.change_message.lower() else ""
    fields = [
        field
        for part in parts
        if isinstance(part, dict)
        for change in part.values()
        for field in change.get("fields", ())
    ]
    return ", ".join(fields)


def connect() -> None:
    """Listen to what `transcription`, the sign-in, people's pages and Django's admin say."""
    from allauth.account import signals as account
    from allauth.mfa import signals as mfa
    from django.contrib.admin.models import LogEntry
    from django.db.models.signals import post_save

    hooks.action_done.connect(on_action, dispatch_uid="audit")
    user_logged_in.connect(on_sign_in, dispatch_uid="audit")
    user_logged_out.connect(on_sign_out, dispatch_uid="audit")
    user_login_failed.connect(on_failed_sign_in, dispatch_uid="audit")
    events.person_changed.connect(on_person_changed, dispatch_uid="audit")
    events.token_changed.connect(on_token_changed, dispatch_uid="audit")
    for signal, action in (
        (account.password_changed, CHANGE_PASSWORD),
        (account.password_set, CHANGE_PASSWORD),
        (mfa.authenticator_added, ADD_FACTOR),
        (mfa.authenticator_removed, REMOVE_FACTOR),
    ):
        signal.connect(on_own_change(action), weak=False, dispatch_uid=f"audit: {action}")
    post_save.connect(on_admin_log, sender=LogEntry, dispatch_uid="audit")
