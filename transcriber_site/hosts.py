"""Which names and addresses are this service's own.

A page of another site can have its own name point at this machine (DNS rebinding), and then reads what the service
answers as if it were its own. So the service answers to names that it knows, and to addresses that it listens on.
"""

import socket
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http.request import split_domain_port, validate_host

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def allowed_hosts(configured: Sequence[str]) -> list[str]:
    """Loopback, this machine's own name (also as phones of the same network know it), and what is configured."""
    name = socket.gethostname().lower()
    own = [name, f"{name.partition('.')[0]}.local"] if name else []
    return list(dict.fromkeys([*LOOPBACK, *own, *configured]))


def is_ours(host: str, *, listens_on: str | None) -> bool:
    """Whether a `Host` header names this service: a name that is allowed, or the address that was connected to."""
    domain, _ = split_domain_port(host)
    if not domain:
        return False
    if validate_host(domain, settings.ALLOWED_HOSTS):
        return True
    address = parse_address(domain.strip("[]"))
    return address is not None and listens_on is not None and address == parse_address(listens_on)


def refusal(host: str) -> str:
    """What the 400 says to a caller that used another host."""
    domain, _ = split_domain_port(host)
    if domain:
        remedy = f"If it is a name of this service, add {domain} to TRANSCRIBER_ALLOWED_HOSTS."
    else:
        remedy = "It is no host name; TRANSCRIBER_ALLOWED_HOSTS lists those that are taken."
    return f"This service does not answer to the host {host[:100]!r}. {remedy}"


@lru_cache(maxsize=1024)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, of IPv4 also where IPv6 wraps it; None if the text is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_loopback(address: str) -> bool:
    parsed = parse_address(address)
    return parsed is not None and parsed.is_loopback


def binds_loopback(host: str) -> bool:
    """Whether a server that listens on this name or address can be reached from this machine alone."""
    if parse_address(host.strip("[]")) is not None:
        return is_loopback(host.strip("[]"))
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # listening there will fail, and say why
    return bool(host) and all(is_loopback(str(address[0])) for *_, address in found)
