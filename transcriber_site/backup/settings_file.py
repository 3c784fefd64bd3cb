"""The settings that differ from their defaults, without secrets, as a file for the environment of a service."""

import os
import re
import shlex
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.views.debug import SafeExceptionReporterFilter

from transcriber_site import env

HEAD = """# The service's settings when this backup was made. Secrets are left out: the secret key, tokens and keys of
# other services, and passwords in addresses (shown as ***). Set them again when you restore.
"""
_SECRET_OPTION = re.compile(r"pass|secret|key|token", re.IGNORECASE)


def settings_text() -> str:
    lines = [_line(name) for name in sorted(env.known_names())]
    return HEAD + "".join(line for line in lines if line)


def _line(name: str) -> str:
    if path := os.environ.get(f"{name}_FILE"):
        return f"{name}_FILE={shlex.quote(path)}\n"
    value = os.environ.get(name, "").strip()
    if not value:
        return ""
    if SafeExceptionReporterFilter.hidden_settings.search(name):
        return f"# {name} was set; it is not in the backup.\n"
    return f"{name}={shlex.quote(_without_password(value))}\n"


def _without_password(value: str) -> str:
    """An address without its password; any other value as it is."""
    if "://" not in value or "," in value:
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return "***"
    place = parts.netloc
    if "@" in place:
        user, _, host = place.rpartition("@")
        name, separator, _password = user.partition(":")
        place = f"{name}{separator and ':***'}@{host}"
    options = [
        (name, "***" if _SECRET_OPTION.search(name) else option)
        for name, option in parse_qsl(parts.query, keep_blank_values=True)
    ]
    query = urlencode(options, safe="*/")
    return urlunsplit(parts._replace(netloc=place, query=query))
