"""A page of another site, in a real browser, tries what it could do to the service on the same machine."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser import browser
from tests.servers import free_port
from tests.service import Service

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

REBOUND = "rebound.example.org"
TABLES = (
    "transcription_job",
    "transcription_recording",
    "transcription_segment",
    "transcription_edit",
    "summaries_summary",
    "retranslation_retranslation",
    "django_admin_log",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """As it starts for somebody who sets nothing."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def job_id(service: Service, audio_dir: Path) -> str:
    job_id = service.upload(audio_dir / "jfk.flac")
    service.finished(job_id)
    return job_id


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of another site, whose one page is empty."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!DOCTYPE html><title>Another site</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", free_port()), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def rows(service: Service) -> dict[str, Any]:
    return {table: sorted(map(repr, service.query(f"SELECT * FROM {table}"))) for table in TABLES}


def requests(job_id: str, segment_id: str) -> dict[str, tuple[str, str, str]]:
    """Method, path and kind of body of what changes something."""
    api = "/api/transcribe"
    return {
        "upload": ("POST", f"{api}/", "form"),
        "cancel": ("POST", f"{api}/cancel/{job_id}", "none"),
        "delete": ("DELETE", f"{api}/jobs/{job_id}", "none"),
        "delete on the page": ("POST", f"/app/jobs/{job_id}/delete", "none"),
        "diarize": ("POST", f"{api}/diarize/{job_id}", "none"),
        "rename a speaker": ("POST", f"{api}/speakers/{job_id}", "json"),
        "edit a text": ("PATCH", f"{api}/segments/{segment_id}", "json"),
        "delete a segment": ("DELETE", f"{api}/segments/{segment_id}?was=x", "none"),
        "split": ("POST", f"{api}/segments/{segment_id}/split", "json"),
        "summarize": ("POST", "/api/summary/", "json"),
        "ask": ("POST", "/api/chat/", "json"),
        "retranslate": ("POST", f"/api/retranslate/suspects?job_id={job_id}", "none"),
    }


BODIES = {"none": None, "json": json.dumps({"from": None, "to": "X", "text": "X", "job_id": "X"})}
FETCH = """
async ([url, method, kind, text, options]) => {
    let body;
    if (kind === "form") {
        body = new FormData();
        body.append("file", new Blob([new Uint8Array(200000)]), "evil.wav");
    } else if (kind === "json") {
        body = text;
    }
    try {
        const answer = await fetch(url, { method, body, ...options });
        return `${answer.type} ${answer.status} ${await answer.text()}`;
    } catch (error) {
        return `error: ${error.message}`;
    }
}
"""
CORS: list[dict[str, Any]] = [
    {"mode": "cors"},
    {"mode": "cors", "credentials": "include", "headers": {"Content-Type": "application/json"}},
    {"mode": "no-cors"},
    {"mode": "no-cors", "credentials": "include", "referrerPolicy": "no-referrer"},
]
FORM = """
([url, encoding]) => {
    const form = Object.assign(document.createElement("form"), { method: "POST", action: url, enctype: encoding });
    const field = Object.assign(document.createElement("input"), { name: '{"job_id":"X","x":"', value: '"}' });
    form.append(field);
    document.body.append(form);
    form.submit();
}
"""
SOCKET = """
(url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})
"""
SHOWN = """
([kind, url]) => new Promise((resolve) => {
    const shown = document.createElement(kind);
    shown.onload = shown.onloadedmetadata = () => resolve("loaded");
    shown.onerror = () => resolve("refused");
    shown.src = url;
    document.body.append(shown);
})
"""


async def visit(context: BrowserContext, address: str) -> Page:
    page = await context.new_page()
    await page.goto(address)
    return page


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_another_site_changes_and_reads_nothing(
    service: Service, job_id: str, site: int, name: str
) -> None:
    """From another port of the same machine (same-site, to a browser) as from another name."""
    segment_id = service.result(job_id)["segments"][0]["id"]
    before = rows(service)
    files = sorted(service.data_dir.glob("files/**/*"))
    async with browser() as running:
        context = await running.new_context()
        page = await visit(context, f"http://{name}:{site}/")
        for what, (method, path, kind) in requests(job_id, segment_id).items():
            for options in CORS:
                if options["mode"] == "no-cors" and method not in ("GET", "POST"):
                    continue
                asked = [service.url + path, method, kind, BODIES.get(kind), options]
                said = await page.evaluate(FETCH, asked)
                assert said in ("error: Failed to fetch", "opaque 0 "), (what, options)
        for path in (f"/api/transcribe/result/{job_id}", "/api/transcribe/jobs", "/app/", "/"):
            for options in CORS:
                said = await page.evaluate(
                    FETCH, [service.url + path, "GET", "none", None, options]
                )
                assert said in ("error: Failed to fetch", "opaque 0 "), (path, options)
        assert rows(service) == before
        assert sorted(service.data_dir.glob("files/**/*")) == files


@pytest.mark.parametrize(
    "encoding", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
)
async def test_a_form_of_another_site_is_refused(
    service: Service, job_id: str, site: int, encoding: str
) -> None:
    before = rows(service)
    async with browser() as running:
        context = await running.new_context()
        for what, (method, path, _) in requests(job_id, "1").items():
            if method != "POST":
                continue
            page = await visit(context, f"http://127.0.0.1:{site}/")
            async with page.expect_navigation() as navigation:
                await page.evaluate(FORM, [service.url + path, encoding])
            answer = await navigation.value
            assert answer is not None
            assert answer.status == 403, what
            assert "TRANSCRIBER_CORS_ORIGINS" in await answer.text()
            await page.close()
    assert rows(service) == before


async def test_another_site_hears_nothing_and_shows_nothing(
    service: Service, job_id: str, site: int
) -> None:
    live = f"/api/transcribe/live/{job_id}"
    async with browser() as running:
        context = await running.new_context()
        page = await visit(context, f"http://127.0.0.1:{site}/")
        socket = f"ws://127.0.0.1:{service.port}{live}"
        assert await page.evaluate(SOCKET, socket) == "refused"
        for kind, path in (
            ("audio", f"/app/jobs/{job_id}/audio"),
            ("img", "/static/transcription/icon.svg"),
            ("script", "/static/transcription/jobs.js"),
        ):
            assert await page.evaluate(SHOWN, [kind, service.url + path]) == "refused", path
        await page.evaluate(SHOWN, ["iframe", f"{service.url}/app/"])
        framed = [frame.url for frame in page.frames if frame != page.main_frame]
        assert framed == ["chrome-error://chromewebdata/"]
        own = await visit(context, f"{service.url}/app/")
        assert await own.evaluate(SOCKET, socket) == "open", "our own page hears it"
        assert await own.evaluate(SHOWN, ["audio", f"/app/jobs/{job_id}/audio"]) == "loaded"


async def test_a_name_that_is_pointed_at_this_machine_reads_nothing(
    service: Service, job_id: str
) -> None:
    """DNS rebinding: to the browser the service is then the other site itself."""
    before = rows(service)
    rule = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    async with browser(rule) as running:
        context = await running.new_context()
        page = await context.new_page()
        answer = await page.goto(f"http://{REBOUND}:{service.port}/")
        assert answer is not None
        assert answer.status == 400
        assert "TRANSCRIBER_ALLOWED_HOSTS" in await answer.text()
        for method, path in (
            ("GET", f"/api/transcribe/result/{job_id}"),
            ("DELETE", f"/api/transcribe/jobs/{job_id}"),
            ("GET", f"/app/jobs/{job_id}/audio"),
        ):
            said = await page.evaluate(FETCH, [path, method, "none", None, {}])
            assert said.startswith("basic 400 ")
            assert "ask not" not in said
        socket = f"ws://{REBOUND}:{service.port}/api/transcribe/live/{job_id}"
        assert await page.evaluate(SOCKET, socket) == "refused"
    assert rows(service) == before


async def test_an_upload_of_another_site_is_refused_before_it_is_read(service: Service) -> None:
    """What it declares is more than the disk of most machines has left; nothing of it is waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"POST /api/transcribe/ HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n"
        b"Content-Type: multipart/form-data; boundary=cut\r\nContent-Length: 1000000000\r\n\r\n"
    )
    answer = await asyncio.wait_for(reader.read(), timeout=20)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"TRANSCRIBER_CORS_ORIGINS" in answer
