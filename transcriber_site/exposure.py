"""Without accounts the service is for this machine alone: it listens on loopback, and serves no proxy."""

import re

from django.conf import settings

from transcriber_site import hosts
from transcriber_site.callers import Caller

REMEDIES = (
    "Set TRANSCRIBER_ACCOUNTS=required, so that people sign in, or TRANSCRIBER_OPEN=true if everybody who can reach "
    "this address may read, change and delete everything."
)


def is_for_this_machine_alone() -> bool:
    return settings.TRANSCRIBER_ACCOUNTS == "off" and not settings.TRANSCRIBER_OPEN


def bind_refusal(host: str) -> str | None:
    """Why the service does not listen on this name or address; None if it does."""
    if not is_for_this_machine_alone() or hosts.binds_loopback(host):
        return None
    return f"Listening on {host or 'all addresses'} would open the service to others, without accounts. {REMEDIES}"


def endpoint_refusal(endpoint: str) -> str | None:
    """The same of one of Twisted's descriptions of endpoints, such as `tcp:port=8000:interface=127.0.0.1`."""
    if endpoint.startswith(("fd:", "systemd:")):
        return None  # opened by somebody else: each request tells to which address it came
    if endpoint.startswith("unix:"):
        return bind_refusal(endpoint)
    found = re.search(r":interface=((?:\\.|[^:\\])*)", endpoint)
    return bind_refusal(re.sub(r"\\(.)", r"\1", found[1]) if found else "")


def refusal(caller: Caller) -> str | None:
    """Why a request is refused that did not come straight from this machine; None if it may go on."""
    if not is_for_this_machine_alone():
        return None
    if caller.is_forwarded:
        return f"This request came through a proxy, and the service has no accounts. {REMEDIES}"
    is_local = caller.peer is not None and hosts.is_loopback(caller.peer)
    server = hosts.parse_address(caller.listens_on) if caller.listens_on else None
    if is_local and (server is None or server.is_loopback):
        return None
    return f"The service has no accounts, so it answers this machine alone. {REMEDIES}"
