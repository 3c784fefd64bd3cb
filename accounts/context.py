"""What all pages know of people."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.people import is_administrator


def accounts(request: HttpRequest) -> dict[str, Any]:
    """`accounts`: None while accounts are off."""
    if settings.TRANSCRIBER_ACCOUNTS == "off":
        return {"accounts": None}
    user = getattr(request, "user", None)
    return {
        "accounts": {
            "is_administrator": is_administrator(getattr(request, "person", user)),
            "may_register": settings.TRANSCRIBER_REGISTRATION == "open",
            "has_provider": bool(settings.TRANSCRIBER_OIDC_ISSUER),
            "has_passkeys": has_passkeys(request),
        }
    }


def has_passkeys(request: HttpRequest) -> bool:
    """Whether browsers offer passkeys at this address: with TLS, or on the machine itself, by name."""
    name = request.get_host().rpartition("]")[2].partition(":")[0]
    is_name = bool(name) and not name.replace(".", "").isdigit()
    return is_name and (request.is_secure() or name == "localhost" or name.endswith(".localhost"))
