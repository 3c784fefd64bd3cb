"""What recovery does for people's rows: what has expired is deleted, what has no owner goes to the first person."""

from django.conf import settings

from accounts import audit, limits
from accounts.first_person import adopt_ownerless


def recover() -> None:
    """Delete uses that no longer count and old entries of the audit log; adopt what has no owner. Idempotent."""
    limits.expire()
    audit.expire()
    if settings.TRANSCRIBER_ACCOUNTS != "off":
        adopt_ownerless()  # such as a web process made that was started before accounts were required
