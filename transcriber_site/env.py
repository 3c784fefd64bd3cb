"""Strict parsing of environment variables.

Every reader takes the variable's name and its default. An invalid value raises `SettingError`, which
names the variable and the allowed values and stops the start. An empty variable counts as unset.
Any variable can instead be given as NAME_FILE, the path of a file with the value (container secrets).
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environs import FileAwareEnv

_UNITS = {
    "": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KIB": 1024,
    "MIB": 1024**2,
    "GIB": 1024**3,
}
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}

_environment = FileAwareEnv(strip_whitespace=True)
_names: set[str] = set()


class SettingError(ImproperlyConfigured):
    """An environment variable has an invalid value."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")


def known_names() -> frozenset[str]:
    """The variables read so far: all of them, once the settings module is loaded."""
    return frozenset(_names)


def text(name: str, default: str = "") -> str:
    _names.add(name)
    try:
        value: str = _environment.str(name, "")
    except ValueError as error:
        raise SettingError(name, f"cannot be read: {error}") from error
    return value.strip() or default


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise SettingError(name, f"must be one of {', '.join(allowed)}; it is {value!r}")
    return value


def integer(name: str, default: int, minimum: int, maximum: int | None = None) -> int:
    span = f"{minimum} or more" if maximum is None else f"from {minimum} to {maximum}"
    return _parse_number(
        name,
        default,
        int,
        lambda n: n >= minimum and (maximum is None or n <= maximum),
        f"a whole number, {span}",
    )


def flag(name: str, default: bool) -> bool:
    value = text(name, "true" if default else "false").lower()
    if value not in _TRUE | _FALSE:
        raise SettingError(name, f"must be true or false; it is {value!r}")
    return value in _TRUE


def size(name: str, default: int) -> int:
    """A number of bytes: `1048576`, `500MB`, `2GiB`."""
    return _parse_number(
        name,
        default,
        _parse_bytes,
        lambda n: n > 0,
        "a number of bytes above 0, such as 1048576, 500MB or 2GiB",
    )


def items(name: str, default: str = "") -> list[str]:
    """The items of a comma-separated list."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def origins(
    name: str, default: str = "", *, schemes: Sequence[str] = ("http", "https")
) -> list[str]:
    """Web origins, each a scheme and a host: `https://notes.example.org`."""
    values = items(name, default)
    for origin in values:
        scheme, _, host = origin.partition("://")
        if origin != "*" and not (scheme in schemes and re.fullmatch(r"[^/\s]+", host)):
            raise SettingError(
                name,
                f"must list origins such as https://notes.example.org ({', '.join(schemes)}); "
                f"{origin!r} is not one",
            )
    return values


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """IP addresses, and networks of them: `192.0.2.7`, `10.0.0.0/8`."""
    values = items(name)
    try:
        return [ip_network(value) for value in values]
    except ValueError as error:
        raise SettingError(
            name, f"must list addresses or networks such as 192.0.2.7 or 10.0.0.0/8: {error}"
        ) from error


def url(name: str, schemes: Sequence[str]) -> str:
    """A URL with one of these schemes, or an empty string."""
    value = text(name)
    if value and value.partition("://")[0] not in schemes:
        allowed = ", ".join(f"{scheme}://" for scheme in schemes)
        raise SettingError(
            name, f"must begin with one of {allowed}"
        )  # the value is not shown: it may contain a password
    if value.startswith("http") and not _has_host(value):
        raise SettingError(name, "must be an address such as http://localhost:8080/v1")
    return value


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port
        return False


def _parse_bytes(value: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)?", value, re.IGNORECASE)
    if match is None:
        raise ValueError(value)
    return int(float(match[1]) * _UNITS[(match[2] or "").upper()])


def _parse_number(
    name: str,
    default: int,
    parse: Callable[[str], int],
    accept: Callable[[int], bool],
    expected: str,
) -> int:
    value = text(name, str(default))
    try:
        number = parse(value)
    except ValueError:
        number = None
    if number is None or not accept(number):
        raise SettingError(name, f"must be {expected}; it is {value!r}")
    return number
