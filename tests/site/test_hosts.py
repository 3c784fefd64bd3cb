"""By what names and addresses the service may be called: a name that somebody else points at this machine is none."""

import socket
from io import BytesIO
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings as site_settings
from django.test import Client

from tests import UNKNOWN_ID
from tests.asgi_requests import ask
from transcriber_site import asgi, hosts
from transcriber_site.bodies import Request

SOCKET = f"/api/transcribe/live/{UNKNOWN_ID}"
LAPTOP = "192.0.2.7"
PATHS = ["/health", "/", "/app/", "/static/transcription/app.css", "/nowhere", "/admin/login/"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9000", "127.0.0.1:8000", "[::1]:8000", "localhost."]
)
@pytest.mark.django_db
def test_this_machine_is_called_by_its_loopback_names(client: Client, host: str) -> None:
    assert client.get("/app/", headers={"Host": host}).status_code == 200


def test_this_machine_is_called_by_its_own_name() -> None:
    name = socket.gethostname()
    assert hosts.is_ours(f"{name}:8000", listens_on="127.0.0.1")
    assert hosts.is_ours(f"{name.partition('.')[0]}.local", listens_on=None)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["get", "post", "options"])
def test_another_name_is_a_400_that_names_the_setting(
    client: Client, path: str, method: str
) -> None:
    answer = getattr(client, method)(path, headers={"Host": "rebound.example.org:8000"})
    assert answer.status_code == 400
    detail = answer.json()["detail"]
    assert "'rebound.example.org:8000'" in detail
    assert "add rebound.example.org to TRANSCRIBER_ALLOWED_HOSTS" in detail
    assert answer["X-Request-ID"]


@pytest.mark.parametrize("host", ["a b", "localhost:port", "[::1", "", "localhost@evil.example"])
def test_what_is_no_host_is_refused_too(client: Client, host: str) -> None:
    answer = client.get("/health", headers={"Host": host})
    assert answer.status_code == 400
    assert "TRANSCRIBER_ALLOWED_HOSTS" in answer.json()["detail"]


def test_names_that_are_listed_are_taken(client: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = hosts.allowed_hosts(["notes.example.org", ".example.com"])
    for host in ("notes.example.org", "a.b.example.com:444", "localhost"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    assert client.get("/health", headers={"Host": "example.org"}).status_code == 400


@pytest.mark.parametrize(
    ("host", "listens_on", "is_good"),
    [
        (LAPTOP, LAPTOP, True),
        (f"{LAPTOP}:8000", f"::ffff:{LAPTOP}", True),
        ("[2001:db8::7]:8000", "2001:db8:0::7", True),
        (LAPTOP, "192.0.2.8", False),
        ("0.0.0.0:8000", "127.0.0.1", False),
        ("127.1", "127.0.0.1", False),
        (LAPTOP, None, False),
    ],
)
def test_an_address_is_good_where_the_service_listens_on_it(
    host: str, listens_on: str | None, is_good: bool
) -> None:
    assert hosts.is_ours(host, listens_on=listens_on) == is_good


async def test_django_takes_the_address_that_was_connected_to(settings: Any) -> None:
    """Also where Django itself asks for the host, as its check of forms does."""
    settings.TRANSCRIBER_OPEN = True
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/health",
        "headers": [(b"host", f"{LAPTOP}:8000".encode())],
        "server": (LAPTOP, 8000),
    }
    assert Request(scope, BytesIO()).get_host() == f"{LAPTOP}:8000"
    status, _, _ = await ask("/health", headers={"Host": LAPTOP}, server=(LAPTOP, 8000))
    assert status == 200
    status, _, _ = await ask("/health", headers={"Host": LAPTOP}, server=("192.0.2.8", 80))
    assert status == 400


@pytest.mark.parametrize(
    ("host", "is_accepted"), [("localhost:8000", True), ("rebound.example.org", False)]
)
@pytest.mark.django_db(transaction=True)
async def test_a_socket_is_asked_for_its_host_before_it_is_accepted(
    host: str, is_accepted: bool
) -> None:
    """The one that is accepted is closed for another reason: there is no such job."""
    communicator = WebsocketCommunicator(
        asgi.application, SOCKET, headers=[(b"host", host.encode())]
    )
    communicator.scope |= {"client": ["127.0.0.1", 4711], "server": ["127.0.0.1", 8000]}
    accepted, code = await communicator.connect()
    await communicator.disconnect()
    assert accepted == is_accepted
    assert is_accepted or code == 4403


def test_nothing_is_allowed_that_nobody_listed() -> None:
    own = {"localhost", "127.0.0.1", "[::1]", "testserver", socket.gethostname().lower()}
    assert {host for host in site_settings.ALLOWED_HOSTS if not host.endswith(".local")} <= own
