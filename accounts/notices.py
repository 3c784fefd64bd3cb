"""What people are told at their next sign-in."""

from typing import Any

from django.utils import timezone

from accounts.models import Notice


def tell(person: Any, text: str) -> None:
    """Show this to the person at the next sign-in."""
    Notice.objects.create(person=person, text=text)


def take_notices(person: Any) -> list[str]:
    """What the person has not been told yet, with the time; it counts as told from now on."""
    rows = Notice.objects.filter(person=person, shown_at=None)
    notices = [
        notice
        for notice in rows
        # Zero rows: another sign-in showed it meanwhile.
        if Notice.objects.filter(pk=notice.pk, shown_at=None).update(shown_at=timezone.now())
    ]
    return [f"{notice.created_at:%Y-%m-%d %H:%M} UTC: {notice.text}" for notice in notices]
