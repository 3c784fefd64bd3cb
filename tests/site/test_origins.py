"""What pages of other sites may do: read nothing and change nothing, unless they are listed."""

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client

from tests import UNKNOWN_ID
from tests.transcription.admin.builders import make_job
from transcriber_site import asgi
from transcription.models import Job

SOCKET = f"/api/transcribe/live/{UNKNOWN_ID}"
NOTES = "https://notes.example.org"
OWN = "http://localhost:8000"
HOST = {"Host": "localhost:8000"}
TOKEN = {"Authorization": "Bearer abc"}

pytestmark = pytest.mark.django_db


def cancel(client: Client, job: Job, **headers: str) -> int:
    path = f"/api/transcribe/cancel/{job.pk}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, headers={**HOST, **named}).status_code


@pytest.fixture
def job() -> Job:
    job = make_job(status=Job.Status.RUNNING)
    job.stages.update(state="todo")
    return job


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": NOTES},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:9000"},
        {"Origin": "https://localhost:8000"},
        {"Origin": "http://localhost:8000.example.org"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Origin": f"{OWN} {NOTES}"},
        {"Origin": NOTES, "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "something new"},
        {"Origin": NOTES, "Authorization": "Bearer abc"},
    ],
)
def test_a_page_of_another_site_changes_nothing(
    client: Client, job: Job, headers: dict[str, str]
) -> None:
    assert cancel(client, job, **headers) == 403
    assert Job.objects.get(pk=job.pk).status == Job.Status.RUNNING


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN},
        {"Origin": "HTTP://localhost:8000"},
        {"Origin": OWN, "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
        {"Cookie": "sessionid=x"},
    ],
)
def test_our_own_pages_and_programs_go_on_as_they_do(
    client: Client, job: Job, headers: dict[str, str]
) -> None:
    assert cancel(client, job, **headers) == 200
    assert Job.objects.get(pk=job.pk).status == Job.Status.CANCELLED


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "generic"])
@pytest.mark.parametrize(
    "path", ["/", "/health", "/nowhere", "/app/", "/api/transcribe/", "/admin/login/"]
)
def test_every_method_that_may_change_something_is_asked_everywhere(
    client: Client, method: str, path: str
) -> None:
    call = getattr(client, method)
    arguments = ("PURGE", path) if method == "generic" else (path,)
    answer = call(*arguments, headers={**HOST, "Origin": NOTES})
    assert answer.status_code == 403
    detail = answer.json()["detail"]
    assert NOTES in detail
    assert "TRANSCRIBER_CORS_ORIGINS" in detail
    assert "TRANSCRIBER_PROXIES" in detail


@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_what_changes_nothing_is_answered_but_cannot_be_read(client: Client, method: str) -> None:
    answer = getattr(client, method)("/api/transcribe/jobs", headers={**HOST, "Origin": NOTES})
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_preflight_of_another_site_is_given_no_leave(client: Client) -> None:
    asked = {"Origin": NOTES, "Access-Control-Request-Method": "DELETE"}
    answer = client.options(f"/api/transcribe/jobs/{UNKNOWN_ID}", headers={**HOST, **asked})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_listed_sites_may_use_the_api(client: Client, job: Job, settings: Any) -> None:
    settings.TRANSCRIBER_CORS_ORIGINS = settings.CORS_ALLOWED_ORIGINS = [NOTES]
    assert cancel(client, job, Origin="https://other.example.org") == 403
    assert cancel(client, job, Origin=NOTES, Sec_Fetch_Site="cross-site") == 200
    answer = client.get("/health", headers={**HOST, "Origin": NOTES})
    assert "Cross-Origin-Resource-Policy" not in answer


def test_a_star_lets_every_site_use_the_api(client: Client, job: Job, settings: Any) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = True
    assert cancel(client, job, Origin="https://anybody.example.org") == 200


@pytest.mark.parametrize(
    ("trusted", "origin", "status"),
    [
        (NOTES, NOTES, 200),
        ("https://*.example.org", NOTES, 200),
        ("https://*.example.org", "https://example.com", 403),
        (NOTES, "http://notes.example.org", 403),
    ],
)
def test_origins_trusted_by_django_are_trusted_here(
    client: Client, job: Job, settings: Any, trusted: str, origin: str, status: int
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [trusted]
    assert cancel(client, job, Origin=origin) == status


def test_the_forms_of_the_admin_go_on(settings: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    User.objects.create_superuser("ada", password="it is Ada, surely")
    page = client.get("/admin/login/", headers=HOST)
    form = {"username": "ada", "password": "it is Ada, surely"}
    form["csrfmiddlewaretoken"] = page.cookies["csrftoken"].value
    answer = client.post("/admin/login/", form, headers={**HOST, "Origin": OWN})
    assert answer.status_code == 302
    answer = client.post("/admin/login/", form, headers={**HOST, "Origin": NOTES})
    assert answer.status_code == 403


# ---- Tokens


@pytest.fixture
def _accounts(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"


@pytest.mark.usefixtures("_accounts")
@pytest.mark.parametrize("path", ["/api/nothing-here", "/v1/nothing-here"])
def test_with_accounts_any_site_may_use_a_token(client: Client, path: str) -> None:
    answer = client.post(path, headers={**HOST, **TOKEN, "Origin": NOTES})
    assert answer.status_code != 403
    assert answer["Access-Control-Allow-Origin"] == NOTES
    assert "Access-Control-Allow-Credentials" not in answer
    asked = {
        "Origin": NOTES,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, Authorization",
    }
    answer = client.options(path, headers={**HOST, **asked})
    assert answer["Access-Control-Allow-Origin"] == NOTES
    assert "authorization" in answer["Access-Control-Allow-Headers"]


@pytest.mark.usefixtures("_accounts")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cookie": "sessionid=x"},
        {"Cookie": "sessionid=x", **TOKEN},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
    ],
)
def test_with_a_cookie_or_without_a_token_no_other_site_does(
    client: Client, headers: dict[str, str]
) -> None:
    headers = {**HOST, **headers, "Origin": NOTES}
    assert client.post("/api/nothing-here", headers=headers).status_code == 403
    assert "Access-Control-Allow-Origin" not in client.get("/api/nothing-here", headers=headers)


@pytest.mark.usefixtures("_accounts")
def test_a_token_opens_no_page_to_other_sites(client: Client) -> None:
    for path in ("/app/", "/admin/login/", "/health"):
        answer = client.get(path, headers={**HOST, **TOKEN, "Origin": NOTES})
        assert "Access-Control-Allow-Origin" not in answer
    asked = {"Origin": NOTES, "Access-Control-Request-Method": "POST"}
    answer = client.options("/api/nothing-here", headers={**HOST, **asked})
    assert "Access-Control-Allow-Origin" not in answer, "it asked for no token"


# ---- Sockets


async def is_accepted(**headers: str) -> bool:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    communicator = WebsocketCommunicator(
        asgi.application,
        SOCKET,
        headers=[(name.lower().encode(), value.encode()) for name, value in named],
    )
    communicator.scope |= {"client": ["127.0.0.1", 4711], "server": ["127.0.0.1", 8000]}
    accepted, _ = await communicator.connect()
    await communicator.disconnect()
    return bool(accepted)


@pytest.mark.django_db(transaction=True)
async def test_a_socket_is_for_our_own_pages_and_for_programs(settings: Any) -> None:
    host = "localhost:8000"
    assert await is_accepted(Host=host)
    assert await is_accepted(Host=host, Origin=OWN)
    assert not await is_accepted(Host=host, Origin=NOTES)
    assert not await is_accepted(Host=host, Origin="null")
    assert not await is_accepted(Host=host, Origin="http://localhost:9000")
    assert not await is_accepted(Host=host, Sec_Fetch_Site="cross-site")
    settings.CORS_ALLOWED_ORIGINS = [NOTES]
    assert await is_accepted(Host=host, Origin=NOTES)


def test_with_accounts_all_origins_are_those_of_tokens_alone(client: Client, settings: Any) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = True
    settings.TRANSCRIBER_ACCOUNTS = "required"
    origin = {"Origin": "https://anybody.example.org"}
    assert client.post("/api/transcribe/cancel/x", headers=origin).status_code == 403
    settings.TRANSCRIBER_ACCOUNTS = "off"
    assert client.post("/api/transcribe/cancel/x", headers=origin).status_code == 404
