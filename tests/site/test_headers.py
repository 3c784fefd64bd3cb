"""Every response can be traced; pages of other sites read only what they are allowed to."""

import re
from typing import Any

import pytest
from django.test import AsyncClient, Client

NOTES = "https://notes.example.org"
PATHS = ["/health", "/", "/api/nothing-here", "/api/docs"]


@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_a_request_id_and_its_time(client: Client, path: str) -> None:
    response = client.get(path)
    assert re.fullmatch(r"[0-9a-f]{32}", response["X-Request-ID"])
    assert float(response["X-Process-Time-Ms"]) >= 0


async def test_responses_of_the_asgi_handler_have_them_too(async_client: AsyncClient) -> None:
    response = await async_client.get("/health", headers={"X-Request-ID": "from-the-caller.1"})
    assert response.status_code == 200
    assert response["X-Request-ID"] == "from-the-caller.1"
    assert float(response["X-Process-Time-Ms"]) >= 0


@pytest.mark.parametrize("sent", ["trace-1", "A" * 128, "a.b_c-d"])
def test_a_valid_id_of_the_client_is_kept(client: Client, sent: str) -> None:
    assert client.get("/health", headers={"X-Request-ID": sent})["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "A" * 129, "two words", "<script>", "line\tbreak"])
def test_any_other_id_is_replaced(client: Client, sent: str) -> None:
    response = client.get("/health", headers={"X-Request-ID": sent})
    assert re.fullmatch(r"[0-9a-f]{32}", response["X-Request-ID"])


@pytest.mark.parametrize("path", ["/health", "/api/nothing-here"])
def test_no_other_site_reads_an_answer_unless_it_is_listed(
    client: Client, settings: Any, path: str
) -> None:
    response = client.get(path, headers={"Origin": NOTES})
    assert "Access-Control-Allow-Origin" not in response
    settings.CORS_ALLOWED_ORIGINS = [NOTES]
    response = client.get(path, headers={"Origin": NOTES})
    assert response["Access-Control-Allow-Origin"] == NOTES
    assert "Access-Control-Allow-Credentials" not in response
    assert "X-Request-ID" in response["Access-Control-Expose-Headers"]
    response = client.get(path, headers={"Origin": "https://other.example.org"})
    assert "Access-Control-Allow-Origin" not in response


@pytest.mark.parametrize("origin", ["app://notes", "capacitor://localhost"])
def test_apps_that_are_no_web_sites_can_be_listed(
    client: Client, settings: Any, origin: str
) -> None:
    settings.CORS_ALLOWED_ORIGINS = [origin]
    assert (
        client.get("/health", headers={"Origin": origin})["Access-Control-Allow-Origin"] == origin
    )
    assert client.post("/nowhere", headers={"Origin": origin}).status_code == 404


def test_a_preflight_is_answered_and_traced(client: Client, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = [NOTES]
    headers = {
        "Origin": NOTES,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-Request-ID",
    }
    response = client.options("/api/transcribe/", headers=headers)
    assert response.status_code == 200
    assert response["Access-Control-Allow-Origin"] == NOTES
    assert "x-request-id" in response["Access-Control-Allow-Headers"]
    assert response["X-Request-ID"]
    assert response["X-Process-Time-Ms"]


@pytest.mark.parametrize("path", ["/health", "/health/", "/api/docs", "/api/docs/", "/api/schema/"])
def test_paths_answer_with_and_without_trailing_slash(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_health_has_a_status_and_a_timestamp(client: Client) -> None:
    body = client.get("/health").json()
    assert body["status"] == "healthy"
    assert isinstance(body["timestamp"], float)


def test_the_root_names_the_service_and_its_endpoints(client: Client) -> None:
    body = client.get("/").json()
    assert body["name"] == "Transcriber"
    assert body["version"]
    assert body["endpoints"]["transcribe"] == "/api/transcribe/"


def test_the_docs_page_loads_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert all(url.startswith(("/static/", "/api/docs?script=")) for url in loaded)
    for url in loaded:
        assert client.get(url).status_code == 200


@pytest.mark.parametrize(
    "path", [*PATHS, "/app/", "/admin/login/", "/static/transcription/app.css"]
)
@pytest.mark.django_db
def test_every_response_tells_browsers_what_they_may_do_with_it(client: Client, path: str) -> None:
    response = client.get(path)
    policy = {
        name: values
        for name, *values in (
            part.split() for part in response["Content-Security-Policy"].split(";")
        )
    }
    assert policy["default-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert policy["object-src"] == ["'none'"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert "script-src" not in policy, "the default is stricter than any list"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in response


@pytest.mark.parametrize("path", ["/app/", "/api/docs", "/admin/login/"])
@pytest.mark.django_db
def test_no_page_has_a_script_or_a_style_in_line(client: Client, path: str) -> None:
    page = client.get(path).content.decode()
    assert re.findall(r"<script(?![^>]*\ssrc=)[^>]*>|<style|\sstyle=|\son\w+=", page) == []
