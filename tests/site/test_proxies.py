"""Behind a trusted proxy the client's address and scheme are known; what a client says of itself never counts."""

from ipaddress import ip_network
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import public
from tests.asgi_requests import ask
from transcriber_site import asgi, callers, proxies
from transcription.request_checks import requester

PROXY, INNER, CLIENT = "10.0.0.1", "10.0.0.2", "192.0.2.7"


@pytest.fixture(autouse=True)
def _trusted(settings: Any) -> None:
    settings.TRANSCRIBER_PROXIES = [ip_network("10.0.0.0/24"), ip_network("2001:db8:1::/48")]


def scope(peer: str | None = PROXY, *, kind: str = "http", **headers: str) -> dict[str, Any]:
    return {
        "type": kind,
        "scheme": {"http": "http", "websocket": "ws"}[kind],
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
        "client": [peer, 4711] if peer else None,
        "server": ["10.0.0.9", 8000],
    }


@pytest.mark.parametrize(
    ("said", "client"),
    [
        (CLIENT, CLIENT),
        (f"1.1.1.1, {CLIENT}", CLIENT),
        (f"{CLIENT}, {INNER}", CLIENT),
        (f"1.1.1.1,{CLIENT},{INNER}", CLIENT),
        (f"{CLIENT}:4711", CLIENT),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:db8::7, 2001:db8:1::2", "2001:db8::7"),
        (f"{CLIENT}, unknown", PROXY),
        (f"unknown, {INNER}", INNER),
        (INNER, INNER),
        ("", PROXY),
        ("<script>", PROXY),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy_s(said: str, client: str) -> None:
    assert proxies.with_client(scope(x_forwarded_for=said))["client"] == [client, 0]


def test_several_headers_are_one_list() -> None:
    asked = scope()
    asked["headers"] = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", CLIENT.encode())]
    assert proxies.with_client(asked)["client"][0] == CLIENT


@pytest.mark.parametrize("peer", [CLIENT, "10.0.1.1", None, "testserver"])
def test_whoever_else_says_so_is_not_believed(peer: str | None) -> None:
    asked = scope(peer, x_forwarded_for="127.0.0.1", x_forwarded_proto="https")
    assert proxies.with_client(asked) is asked


def test_without_proxies_nobody_is_believed(settings: Any) -> None:
    settings.TRANSCRIBER_PROXIES = []
    asked = scope(x_forwarded_for=CLIENT, x_forwarded_proto="https")
    assert proxies.with_client(asked) is asked


@pytest.mark.parametrize(
    ("kind", "said", "scheme"),
    [
        ("http", "https", "https"),
        ("http", "HTTPS", "https"),
        ("http", "http", "http"),
        ("http", "http, https", "https"),
        ("http", "https, http", "http"),
        ("http", "javascript", "http"),
        ("websocket", "https", "wss"),
        ("websocket", "wss", "wss"),
        ("websocket", "http", "ws"),
    ],
)
def test_the_scheme_is_the_one_between_client_and_proxy(kind: str, said: str, scheme: str) -> None:
    assert proxies.with_client(scope(kind=kind, x_forwarded_proto=said))["scheme"] == scheme


def test_a_scheme_that_the_proxy_does_not_tell_stays() -> None:
    assert proxies.with_client(scope(x_forwarded_for=CLIENT))["scheme"] == "http"


def test_who_sent_the_request_is_known_beside_whom_it_is_for() -> None:
    asked = proxies.with_client(
        scope(x_forwarded_for=CLIENT, x_forwarded_proto="https", host="notes.example.org")
    )
    caller = callers.from_scope(asked)
    assert (caller.peer, caller.scheme, caller.is_forwarded) == (PROXY, "https", True)
    assert caller.listens_on == "10.0.0.9"


async def test_the_application_sees_the_client() -> None:
    seen: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope)

    await proxies.Forwarded(application)(scope(x_forwarded_for=CLIENT), None, None)
    assert seen[0]["client"] == [CLIENT, 0]
    assert seen[0]["transcriber.peer"] == [PROXY, 4711]


# ---- Through the whole application


@api_view(["GET", "POST"])
def who(request: Request) -> Response:
    return Response({"requester": requester(request), "url": request.build_absolute_uri()})


urlpatterns = [path("who", who, name="who")]
HEADERS = {
    "Host": "notes.example.org",
    "X-Forwarded-For": f"127.0.0.1, {CLIENT}",
    "X-Forwarded-Proto": "https",
    "Origin": "https://notes.example.org",
}


@pytest.fixture
def _shared(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(public.PUBLIC, "who", "shows the tests whom a view sees")
    settings.ROOT_URLCONF = __name__
    settings.TRANSCRIBER_ACCOUNTS = "required"
    settings.TRANSCRIBER_HTTPS = settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["notes.example.org"]


@pytest.mark.usefixtures("_shared")
async def test_what_is_done_is_noted_as_the_client_s() -> None:
    status, _, document = await ask(
        "/who", method="POST", client=(PROXY, 4711), server=("10.0.0.9", 8000), headers=HEADERS
    )
    assert status == 200
    assert document == {"requester": CLIENT, "url": "https://notes.example.org/who"}


@pytest.mark.usefixtures("_shared")
async def test_a_client_that_speaks_like_a_proxy_is_noted_as_itself() -> None:
    status, _, document = await ask("/who", client=(CLIENT, 4711), scheme="https", headers=HEADERS)
    assert status == 200
    assert document["requester"] == CLIENT
    status, _, document = await ask("/who", client=(CLIENT, 4711), headers=HEADERS)
    assert status == 403, "whether it was encrypted is not known"
    assert CLIENT in document["detail"]


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize(
    ("peer", "origin", "is_accepted"),
    [
        (PROXY, "https://notes.example.org", True),
        (PROXY, "http://notes.example.org", False),
        (CLIENT, "https://notes.example.org", False),
    ],
)
@pytest.mark.django_db(transaction=True)  # consumers close old connections
async def test_a_socket_behind_a_proxy_is_for_our_own_pages(
    peer: str, origin: str, is_accepted: bool
) -> None:
    headers = {**HEADERS, "Origin": origin}
    communicator = WebsocketCommunicator(
        asgi.application,
        "/nowhere",
        headers=[(name.lower().encode(), value.encode()) for name, value in headers.items()],
    )
    addresses = {"client": [peer, 4711], "server": ["10.0.0.9", 8000], "scheme": "ws"}
    communicator.scope |= addresses
    _, code = await communicator.connect()
    await communicator.disconnect()
    assert (code != 4403) == is_accepted, "what is accepted is closed too, as there is nothing"
