"""`serve --certificate F --key F`: the web process speaks TLS itself, to real clients that check its certificate."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests import UNKNOWN_ID, certificates
from tests.certificates import Certificate
from tests.servers import free_port
from tests.service import Service, wait_for
from transcriber_site import tls

LIVE = f"/api/transcribe/live/{UNKNOWN_ID}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Service]:
    files = ("--certificate", str(certificate.chain), "--key", str(certificate.key))
    settings = {"TRANSCRIBER_HTTPS": "true", "PYTHONUNBUFFERED": "1"}
    with Service(
        tmp_path_factory.mktemp("service"),
        roles="web",
        options=files,
        authority=str(certificate.authority),
        **settings,
    ) as running:
        yield running


def trust(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.authority))


@pytest.mark.slow
def test_a_client_that_knows_the_authority_alone_trusts_the_service(secure: Service) -> None:
    answer = secure.client.get("/app/")
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "; secure" in answer.headers["Set-Cookie"].lower()
    said = f"Transcriber is at https://127.0.0.1:{secure.port}"
    wait_for(lambda: said in secure.log(), what="the announcement")


@pytest.mark.slow
def test_uploads_and_our_own_pages_go_on_over_tls(secure: Service, audio_dir: Path) -> None:
    headers = {"Origin": secure.url, "Sec-Fetch-Site": "same-origin"}
    with (audio_dir / "reading-10min.flac").open("rb") as file:
        answer = secure.client.post("/api/transcribe/", files={"file": file}, headers=headers)
    assert answer.status_code == 200, answer.text
    headers = {"Origin": secure.url.replace("https", "http")}
    assert secure.client.post("/api/transcribe/", headers=headers).status_code == 403


@pytest.mark.slow
def test_a_socket_knows_that_it_is_encrypted(secure: Service, certificate: Certificate) -> None:
    url = secure.url.replace("https", "wss") + LIVE
    with (
        connect(url, ssl=trust(certificate), origin=Origin(secure.url)) as opened,
        pytest.raises(ConnectionClosedError, match="4404"),
    ):
        list(opened)
    plain = Origin(secure.url.replace("https", "http"))
    with pytest.raises(InvalidStatus, match="403"):
        connect(url, ssl=trust(certificate), origin=plain)


@pytest.mark.slow
def test_http_1_1_is_what_is_agreed_on(secure: Service, certificate: Certificate) -> None:
    context = trust(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", secure.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        assert encrypted.selected_alpn_protocol() == "http/1.1"


@pytest.mark.slow
def test_who_is_refused_over_tls_is_answered(secure: Service) -> None:
    """Also where more is declared than is sent."""
    headers = {
        "Origin": "https://evil.example",
        "Content-Type": "multipart/form-data; boundary=cut",
    }
    content = bytes(3 * 1024**2)
    answer = secure.client.post("/api/transcribe/", content=content, headers=headers)
    assert answer.status_code == 403
    with pytest.raises(httpx.HTTPError):
        httpx.get(secure.url.replace("https", "http") + "/health")


# ---- Files that are no certificate and its key


def refusal(certificate: Path, key: Path, folder: Path) -> str:
    with pytest.raises(tls.CertificateError) as error:
        tls.endpoint("127.0.0.1", 8000, certificate=certificate, key=key, folder=folder)
    return str(error.value)


def test_a_wrong_file_is_named(tmp_path: Path, certificate: Certificate) -> None:
    missing = tmp_path / "missing.pem"
    assert f"{missing} or" in refusal(missing, certificate.key, tmp_path)
    assert f"or {missing} cannot be read" in refusal(certificate.chain, missing, tmp_path)
    swapped = refusal(certificate.key, certificate.chain, tmp_path)
    assert "are not a certificate and its key" in swapped
    others = certificates.make(tmp_path)
    assert "are not a certificate and its key" in refusal(certificate.chain, others.key, tmp_path)


def refused_start(*options: str, data_dir: Path) -> str:
    command = [sys.executable, "manage.py", "serve", "--port", str(free_port()), *options]
    environment = Service(data_dir).environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("options", [["--certificate", "x.pem"], ["--key", "x.pem"]])
def test_one_without_the_other_is_refused(tmp_path: Path, options: list[str]) -> None:
    said = refused_start(*options, data_dir=tmp_path)
    assert "TLS needs both --certificate and --key" in said
    assert "Traceback" not in said
