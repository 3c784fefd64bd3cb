"""Without accounts the service is for this machine alone, however it was started."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from tests.asgi_requests import ask
from transcriber_site import callers, exposure, web

BOTH_REMEDIES = ("TRANSCRIBER_ACCOUNTS=required", "TRANSCRIBER_OPEN=true")
LAPTOP = "192.0.2.7"


def assert_names_both_remedies(text: str) -> None:
    for remedy in BOTH_REMEDIES:
        assert remedy in text


@pytest.fixture(params=["accounts", "open"])
def _shared(request: pytest.FixtureRequest, settings: Any) -> None:
    if request.param == "accounts":
        settings.TRANSCRIBER_ACCOUNTS = "required"
    else:
        settings.TRANSCRIBER_OPEN = True


# ---- At the start


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3"])
def test_loopback_is_listened_on_without_accounts(host: str) -> None:
    assert exposure.bind_refusal(host) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", LAPTOP, "", "nowhere.invalid", "::ffff:0:0"])
def test_any_other_address_is_not(host: str) -> None:
    assert_names_both_remedies(str(exposure.bind_refusal(host)))


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", LAPTOP])
def test_with_accounts_or_leave_it_is(host: str) -> None:
    assert exposure.bind_refusal(host) is None


def test_serve_refuses_to_start_on_another_address(settings: Any, tmp_path: Any) -> None:
    settings.TRANSCRIBER_DATA_DIR = tmp_path
    with pytest.raises(CommandError) as refused:
        call_command("serve", "--host", "0.0.0.0")
    assert_names_both_remedies(str(refused.value))
    assert list(tmp_path.iterdir()) == [], "it has done nothing yet"


APPLICATION = "transcriber_site.asgi:application"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bind", "0.0.0.0"],
        ["-b", LAPTOP, "-p", "8000"],
        ["--bind", "::"],
        ["--unix-socket", "/tmp/transcriber.sock"],
        ["--endpoint", "tcp:8000"],
        ["--endpoint", r"tcp:port=8000:interface=\:\:"],
        ["--endpoint", "ssl:443:privateKey=key.pem:certKey=cert.pem"],
    ],
)
def test_so_does_the_web_process_by_itself(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        web.CommandLine().run([*arguments, APPLICATION])
    assert_names_both_remedies(str(refused.value))


def test_headers_are_not_believed_from_everybody() -> None:
    with pytest.raises(SystemExit, match="TRANSCRIBER_PROXIES"):
        web.CommandLine().run(["--proxy-headers", APPLICATION])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--port", "8000"],
        ["--bind", "::1"],
        ["--fd", "3"],
        ["--endpoint", r"tcp:8000:interface=\:\:1"],
        ["--endpoint", "ssl:port=443:interface=127.0.0.1:privateKey=a:certKey=b"],
    ],
)
def test_the_web_process_starts_on_loopback(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(web.WebServer, "run", lambda server: started.append(server.endpoints))
    web.CommandLine().run(["--verbosity", "0", *arguments, APPLICATION])
    assert len(started) == 1


# ---- At each request


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("path", ["/health", "/app/", "/static/transcription/app.css"])
def test_who_asks_from_elsewhere_gets_a_403_with_both_remedies(
    client: Client, path: str, method: str
) -> None:
    answer = getattr(client, method)(path, REMOTE_ADDR=LAPTOP)
    assert answer.status_code == 403
    assert_names_both_remedies(answer.json()["detail"])


@pytest.mark.parametrize("header", callers.FORWARDING_HEADERS)
def test_what_came_through_a_proxy_gets_it_too(client: Client, header: str) -> None:
    answer = client.get("/health", headers={header: "127.0.0.1"})
    assert answer.status_code == 403
    assert_names_both_remedies(answer.json()["detail"])


async def test_the_address_that_was_connected_to_counts() -> None:
    status, _, document = await ask("/health", server=(LAPTOP, 8000))
    assert status == 403
    assert_names_both_remedies(document["detail"])
    status, _, _ = await ask("/health", client=None, server=None)
    assert status == 403, "only a proxy speaks through a Unix socket"
    six = ("::1", 8000)
    status, _, _ = await ask("/health", client=six, server=six, headers={"Host": "[::1]:8000"})
    assert status == 200


@pytest.mark.usefixtures("_shared")
def test_with_accounts_or_leave_others_are_answered(client: Client) -> None:
    assert client.get("/health", REMOTE_ADDR=LAPTOP).status_code == 200
    assert client.get("/health", headers={"X-Forwarded-For": LAPTOP}).status_code == 200


@pytest.mark.usefixtures("_shared")
def test_with_https_a_proxy_that_is_not_trusted_is_named_instead_of_redirected(
    client: Client, settings: Any
) -> None:
    settings.TRANSCRIBER_HTTPS = settings.SECURE_SSL_REDIRECT = True
    answer = client.get("/app/", REMOTE_ADDR=LAPTOP, headers={"X-Forwarded-Proto": "https"})
    assert answer.status_code == 403
    assert f"a proxy at {LAPTOP}" in answer.json()["detail"]
    assert "TRANSCRIBER_PROXIES" in answer.json()["detail"]


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("path", ["/health", "/health/"])
def test_with_https_pages_are_redirected_and_probes_answered(
    client: Client, settings: Any, path: str
) -> None:
    settings.TRANSCRIBER_HTTPS = settings.SECURE_SSL_REDIRECT = True
    answer = client.get("/app/?q=a", headers={"Host": "localhost"})
    assert (answer.status_code, answer["Location"]) == (301, "https://localhost/app/?q=a")
    assert client.get(path).status_code == 200


@pytest.mark.django_db
def test_a_refusal_asks_no_database(django_assert_num_queries: Callable[..., Any]) -> None:
    with django_assert_num_queries(0):
        assert Client().post("/api/transcribe/", REMOTE_ADDR=LAPTOP).status_code == 403
