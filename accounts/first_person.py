"""What was made while there were no accounts belongs to the first person, from when there is one."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction

from transcription import access


def find_first_person() -> User | None:
    """The administrator whose account is the oldest; None if nobody has one."""
    people = get_user_model().objects.filter(is_active=True, is_superuser=True)
    return people.order_by("pk").first()


def adopt_ownerless() -> None:
    """Give rows without an owner to the first person, if there is one. Idempotent."""
    person = find_first_person()
    if person is None:
        return
    with transaction.atomic(), access.as_service():
        for model in _owned_models():
            model._default_manager.filter(owner=None).update(owner=person)


def _owned_models() -> list[Any]:
    return [
        model
        for model in apps.get_models()
        if isinstance(getattr(model, "scope", None), access.Scope)
        and any(field.name == "owner" for field in model._meta.fields)
    ]


def on_person_saved(*, instance: User, created: bool, raw: bool = False, **_: Any) -> None:
    if created and not raw and instance.is_superuser and settings.TRANSCRIBER_ACCOUNTS != "off":
        adopt_ownerless()
