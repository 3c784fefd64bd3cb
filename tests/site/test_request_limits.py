"""Requests that are refused before they are read: by a real daphne, as clients on the network see it."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from tests.running_jobs import processes_with
from tests.service import OTHER_SITE, Service, wait_for
from transcriber_site import http_channel
from transcriber_site.body_limits import SMALL_BYTES

pytestmark = pytest.mark.slow

GIB = 1024**3
MIB = 1024**2
MAX_UPLOAD = 4 * MIB
UNKNOWN_JOB = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("web")
    settings = {
        "TRANSCRIBER_MAX_UPLOAD_BYTES": str(MAX_UPLOAD),
        "TRANSCRIBER_CORS_ORIGINS": OTHER_SITE,
    }
    with Service(folder, roles="web", **settings) as running:
        yield running


def connected(service: Service) -> closing[socket.socket]:
    return closing(socket.create_connection(("127.0.0.1", service.port), timeout=20))


def head(request_line: str, *headers: str) -> bytes:
    lines = [f"{request_line} HTTP/1.1", "Host: 127.0.0.1", f"Origin: {OTHER_SITE}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def read_answer(client: socket.socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """A response's status, its headers and its document."""
    file = client.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, json.loads(file.read(int(headers["content-length"])))


def spooled(service: Service) -> list[str]:
    """The files in the uploads' folder that the web process has open."""
    [process] = processes_with(service, "transcriber_site.web")
    links = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(service.data_dir / "uploads"))]


def sent(client: socket.socket, n_bytes: int) -> int:
    """How many of so many bytes can be sent before the service ends the connection."""
    for n_sent in range(0, n_bytes, MIB):
        try:
            client.sendall(bytes(MIB))
        except (ConnectionResetError, BrokenPipeError):
            return n_sent
    return n_bytes


def connections(service: Service) -> int:
    [process] = processes_with(service, "transcriber_site.web")
    states = (psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT, psutil.CONN_FIN_WAIT2)
    return sum(one.status in states for one in process.net_connections("tcp"))


def assert_refused(
    answer: tuple[int, dict[str, str], dict[str, Any]], status: int, text: str
) -> None:
    assert answer[0] == status
    assert list(answer[2]) == ["detail"]
    assert text in answer[2]["detail"]
    assert answer[1]["connection"] == "close"
    assert answer[1]["x-request-id"]
    # While the request's lines are read it is not known yet who sent them.
    readable_by = None if status in (414, 431) else OTHER_SITE
    assert answer[1].get("access-control-allow-origin") == readable_by


@pytest.mark.parametrize(
    ("request_line", "status", "text"),
    [
        ("GET /health", 413, f"{SMALL_BYTES:,} bytes"),
        ("POST /health/", 413, f"{SMALL_BYTES:,} bytes"),
        (f"DELETE /api/transcribe/jobs/{UNKNOWN_JOB}", 413, "POST /api/transcribe/"),
        (f"POST /api/transcribe/cancel/{UNKNOWN_JOB}", 413, f"{SMALL_BYTES:,} bytes"),
        ("POST /api/chat/?x=1", 413, "8,388,608 bytes"),
        ("POST /api/summary", 413, "8,388,608 bytes"),
        ("PATCH /api/transcribe/segments/1", 413, "8,388,608 bytes"),
        ("POST /admin/login/", 413, "8,388,608 bytes"),
        ("POST /api/transcribe/", 413, "TRANSCRIBER_MAX_UPLOAD_BYTES"),
        ("POST /api/retranslate/segment", 413, "TRANSCRIBER_MAX_UPLOAD_BYTES"),
        ("GET /api/transcribe/", 413, f"{SMALL_BYTES:,} bytes"),
        ("POST /nowhere", 404, "There is nothing at /nowhere."),
        (f"GET /api/transcribe/live/{UNKNOWN_JOB}", 404, "There is nothing"),
    ],
)
@pytest.mark.parametrize("headers", [[], ["Upgrade: websocket", "Connection: Upgrade"]])
def test_a_body_that_is_declared_too_large_is_refused_at_once(
    web: Service, request_line: str, status: int, text: str, headers: list[str]
) -> None:
    with connected(web) as client:
        began = time.monotonic()
        client.sendall(head(request_line, f"Content-Length: {2 * GIB}", *headers))
        assert_refused(read_answer(client), status, text)
        assert client.recv(1) == b"", "the service has closed its side"
        assert time.monotonic() - began < 5
        client.sendall(bytes(8 * MIB))
        assert spooled(web) == []


@pytest.mark.parametrize(
    ("request_line", "sent", "status"),
    [
        ("POST /health", SMALL_BYTES, 413),
        ("POST /nowhere", SMALL_BYTES, 404),
        ("POST /api/chat/", 8 * MIB, 413),
        ("POST /api/transcribe/", MAX_UPLOAD + MIB, 413),
    ],
)
def test_a_body_without_a_length_is_counted_while_it_comes(
    web: Service, request_line: str, sent: int, status: int
) -> None:
    with connected(web) as client:
        client.sendall(head(request_line, "Transfer-Encoding: chunked"))
        client.sendall(b"%x\r\n%b\r\n" % (sent, bytes(sent)))
        time.sleep(0.3)
        assert bool(spooled(web)) == (sent > SMALL_BYTES)
        client.sendall(b"1\r\n \r\n5\r\nnever\r\n")
        answer = read_answer(client)
        assert_refused(answer, status, "")
        assert spooled(web) == []
        assert client.recv(1) == b""


def test_who_sends_on_for_ever_is_cut_off(web: Service) -> None:
    """Some clients read the response after they have sent the body, so that much of it is taken, and no more."""
    before = connections(web)
    with connected(web) as client:
        client.sendall(head("POST /health", f"Content-Length: {2 * GIB}"))
        assert sent(client, 2 * GIB) < 2 * http_channel.LINGER_BYTES
        assert spooled(web) == []
    wait_for(lambda: connections(web) <= before, what="the end of the connection", seconds=5)


def test_who_expects_a_100_is_answered_without_one(web: Service) -> None:
    with connected(web) as client:
        expecting = ("Expect: 100-continue", f"Content-Length: {2 * GIB}")
        client.sendall(head("POST /api/transcribe/", *expecting))
        assert_refused(read_answer(client), 413, "TRANSCRIBER_MAX_UPLOAD_BYTES")


def test_an_upload_that_expects_a_100_is_taken(web: Service) -> None:
    body = (
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
        + bytes(2 * MIB)
        + b"\r\n--cut--\r\n"
    )
    headers = ["Content-Type: multipart/form-data; boundary=cut", f"Content-Length: {len(body)}"]
    with connected(web) as client:
        client.sendall(head("POST /api/transcribe/", *headers, "Expect: 100-continue"))
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        status, _, document = read_answer(client)
        assert status == 400
        assert "file: " in document["detail"]
        client.sendall(head("GET /health"))
        assert read_answer(client)[0] == 200, "the connection can be used again"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_within_the_limit_is_read(web: Service, is_chunked: bool) -> None:
    """Up to the last byte, and the connection stays usable."""
    content = json.dumps({"full_text": "word " * 200_000, "messages": []}).encode()
    kind = "Content-Type: application/json"
    with connected(web) as client:
        if is_chunked:
            client.sendall(head("POST /api/chat/", kind, "Transfer-Encoding: chunked"))
            client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
        else:
            client.sendall(head("POST /api/chat/", kind, f"Content-Length: {len(content)}"))
            client.sendall(content)
        status, _, document = read_answer(client)
        assert (status, "messages" in document["detail"]) == (400, True)
        client.sendall(head("GET /health", f"Content-Length: {SMALL_BYTES}") + bytes(SMALL_BYTES))
        assert read_answer(client)[0] == 200


# ---- Request lines


def test_a_long_address_is_read(web: Service) -> None:
    """The text of a segment that is to be deleted stands in it, percent-encoded: nine bytes for each Chinese letter."""
    for n_letters in (1_800, 7_000):
        url = f"/api/transcribe/segments/1?was={quote('长' * n_letters)}"
        answer = web.client.delete(url)
        assert answer.status_code == 404
        assert "Segment not found" in answer.json()["detail"]


@pytest.mark.parametrize("n_bytes", [70_000, 3 * MIB])
def test_an_address_that_is_too_long_is_answered(web: Service, n_bytes: int) -> None:
    with connected(web) as client:
        client.sendall(head(f"DELETE /api/transcribe/segments/1?was={'x' * n_bytes}"))
        answer = read_answer(client)
        assert_refused(answer, 414, "longer than the 65,536 bytes")
        assert client.recv(1) == b""


def test_a_header_that_is_too_long_is_answered(web: Service) -> None:
    with connected(web) as client:
        client.sendall(head("GET /health", f"Cookie: {'x' * 70_000}"))
        assert_refused(read_answer(client), 431, "longer than the 65,536 bytes")
