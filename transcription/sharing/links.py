"""Share links: each shows one recording to whoever has it.

The address holds a token, which is stored as a hash alone. Whoever opens it gets a cookie that names the link, and is
led on to an address without the token. Each later request looks whether the link is still valid.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core import signing
from django.db.models import QuerySet
from django.utils import timezone

from transcription import access
from transcription.models import Recording, ShareLink

TOKEN_BYTES = 32
DEFAULT_DAYS = 30
MAX_DAYS = 365
COOKIE = "shared-"
"""How the name of each cookie begins; the id of its recording follows."""
MAX_COOKIES = 20
"""How many recordings a browser has open at once; opening one more closes the one that was opened first."""

_signer = signing.Signer(salt="transcription.sharing.links")


def create_link(
    *, recording: Recording, days: int = DEFAULT_DAYS, allows_chat: bool = False, note: str = ""
) -> tuple[ShareLink, str]:
    """A new link and its token, which cannot be found out again."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    link = ShareLink.objects.create(
        recording=recording,
        token_hash=hash_token(token),
        allows_chat=allows_chat,
        note=note,
        expires_at=timezone.now() + timedelta(days=days),
    )
    return link, token


def hash_token(token: str) -> str:
    # Without a salt and slow rounds: nobody guesses 256 random bits, and a link is found by its hash.
    return hashlib.sha256(token.encode()).hexdigest()


def valid_links() -> QuerySet[ShareLink]:
    """The links that still work. Those of a person who may not sign in do not: nobody is left to revoke them."""
    return ShareLink.objects.filter(
        revoked_at=None, expires_at__gt=timezone.now(), recording__owner__is_active=True
    )


def list_links(*, recording: Recording) -> QuerySet[ShareLink]:
    """The recording's links that still work, newest first."""
    return valid_links().filter(recording=recording)


def revoke_link(*, recording: Recording, link_id: UUID) -> ShareLink | None:
    """Let a link work no longer; None if there is none, or it was revoked before."""
    links = ShareLink.objects.filter(recording=recording, pk=link_id)
    # No row: another request was first.
    n_revoked = links.filter(revoked_at=None).update(revoked_at=timezone.now())
    return links.get() if n_revoked else None


@access.as_service()
def find_by_token(token: str) -> ShareLink | None:
    """The valid link with this token."""
    return valid_links().filter(token_hash=hash_token(token)).first()


# ---- Cookies


def cookie_of(link: ShareLink) -> tuple[str, str]:
    """The name and value of the cookie that stands for a link."""
    opened_at = int(timezone.now().timestamp())
    return f"{COOKIE}{link.recording_id.hex}", _signer.sign(f"{link.pk.hex}.{opened_at}")


def surplus_cookies(cookies: Mapping[str, str], *, name: str) -> list[str]:
    """The names of the cookies to delete when one with this name is set: first those not ours, then the oldest."""
    others = [other for other in cookies if other.startswith(COOKIE) and other != name]
    newest = sorted(others, key=lambda other: _opened(cookies[other])[1], reverse=True)
    return newest[MAX_COOKIES - 1 :]


def _opened(cookie: str) -> tuple[UUID | None, int]:
    """The id of the link that a cookie stands for, and when it was opened; None if the cookie is not ours."""
    try:
        link_id, opened_at = _signer.unsign(cookie).split(".")
        return UUID(link_id), int(opened_at)
    except (signing.BadSignature, ValueError):
        return None, 0


def shown_recordings(cookies: Mapping[str, str], view: Any) -> frozenset[UUID]:
    """The recordings whose links a browser has opened, if links show this view."""
    kind = getattr(view, "open_to_links", None)
    if kind is None:
        return frozenset()
    return opened_recordings(cookies, for_chat=kind == access.CHAT_LINKS)


def opened_recordings(cookies: Mapping[str, str], *, for_chat: bool) -> frozenset[UUID]:
    """The recordings whose links a browser has opened and that are valid now; for chat those that allow it."""
    values = [value for name, value in cookies.items() if name.startswith(COOKIE)]
    link_ids = [link_id for value in values if (link_id := _opened(value)[0])]
    if not link_ids:
        return frozenset()
    with access.as_service():
        links = valid_links().filter(pk__in=link_ids[:MAX_COOKIES])
        if for_chat:
            links = links.filter(allows_chat=True)
        return frozenset(links.values_list("recording", flat=True))
