"""The service on other addresses, really listened on: with leave, and by hand around `serve`."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers import free_port
from tests.service import ROOT, Service, wait_for

pytestmark = pytest.mark.slow


def other_addresses() -> list[str]:
    """This machine's addresses on networks: none where it has none."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]


@contextmanager
def daphne(data_dir: Path, **settings: str) -> Iterator[int]:
    """The port of daphne's own program, on all addresses."""
    service = Service(data_dir, **settings)
    service.run("django", "migrate", "--verbosity", "0")
    port = free_port()
    command = [sys.executable, "-m", "daphne", "--bind", "0.0.0.0", "--port", str(port)]
    with (data_dir / "daphne.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "transcriber_site.asgi:application"],
            cwd=ROOT,
            env=service.environment(),
            stdout=log,
            stderr=log,
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, (data_dir / "daphne.log").read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health").is_success
            except httpx.TransportError:
                return False

        wait_for(answers, what="the start of daphne")
        yield port
    finally:
        process.kill()
        process.wait()


def test_daphne_started_by_hand_is_for_this_machine_alone(tmp_path: Path) -> None:
    with daphne(tmp_path) as port:
        asked = [(f"http://127.0.0.1:{port}/health", {"X-Forwarded-For": "192.0.2.7"})]
        asked += [(f"http://{address}:{port}/health", {}) for address in other_addresses()]
        for url, headers in asked:
            answer = httpx.get(url, headers=headers)
            assert answer.status_code == 403, url
            for remedy in ("TRANSCRIBER_ACCOUNTS=required", "TRANSCRIBER_OPEN=true"):
                assert remedy in answer.json()["detail"]


def test_an_open_service_is_called_by_its_addresses(tmp_path: Path) -> None:
    options = ("--host", "0.0.0.0")
    with Service(tmp_path, roles="web", options=options, TRANSCRIBER_OPEN="true") as service:
        for address in ["127.0.0.1", *other_addresses()]:
            own = {"Origin": f"http://{address}:{service.port}"}
            url = f"{own['Origin']}/api/transcribe/"
            assert httpx.post(url, headers=own).status_code == 400, "no file, but let in"
            assert httpx.post(url, headers={"Origin": "http://a.example"}).status_code == 403
        answer = httpx.get(f"{service.url}/health", headers={"Host": "192.0.2.7"})
        assert answer.status_code == 400, "not an address of this machine"
