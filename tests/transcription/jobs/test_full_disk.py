"""A recording that finds the disk full waits for space, and loses nothing."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.running_jobs import (
    completed,
    patiently,
    processes_with,
    spoken,
    undisturbed,
)
from tests.service import Service
from tests.transcription.conftest import QUICK_RECOVERY
from tests.waiting_engine import SETTINGS

pytestmark = pytest.mark.slow

ROOM_BYTES = 2_600_000
"""For the first minute of samples and not for the second."""
RECOVERED_WITHIN_SECONDS = 30.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of 80 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "transcriber-test", str(folder)]
    if subprocess.run(mount).returncode:
        pytest.fail("A disk that can be filled is mounted by root alone: run the tests as root.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def service_with_reserve(disk: Path, *, megabytes: int) -> Service:
    reserve = {"TRANSCRIBER_DISK_RESERVE_MB": str(megabytes)}
    return Service(disk / "data", **SETTINGS, **QUICK_RECOVERY, **reserve)


def test_a_recording_that_finds_the_disk_full_waits_for_space(small_disk: Path, clip: Path) -> None:
    with service_with_reserve(small_disk, megabytes=0) as service:
        with service.suspended(processes_with(service, "interactive")):
            job_id = service.upload(clip)
            time.sleep(1.0)  # what came in is kept twice until it is answered
            ballast = small_disk / "ballast"
            free = psutil.disk_usage(str(small_disk)).free
            ballast.write_bytes(bytes(free - ROOM_BYTES))
        patiently(
            lambda: "disk is full" in service.status(job_id)["message"], what="that it is told"
        )
        ballast.unlink()
        result = completed(service, job_id, seconds=RECOVERED_WITHIN_SECONDS)
        assert spoken(result) == undisturbed(service, clip)


def test_what_would_take_the_reserve_is_refused_or_waits(small_disk: Path, clip: Path) -> None:
    ballast = small_disk / "ballast"
    with service_with_reserve(small_disk, megabytes=40) as service:
        with service.suspended(processes_with(service, "interactive")):
            job_id = service.upload(clip)
            time.sleep(1.0)
            free = psutil.disk_usage(str(small_disk)).free
            ballast.write_bytes(bytes(free - 40 * 1000**2))
        patiently(
            lambda: "disk is full" in service.status(job_id)["message"], what="that it is told"
        )
        ready = service.client.get("/health/ready")
        assert ready.status_code == 503
        assert "are to stay so (TRANSCRIBER_DISK_RESERVE_MB)" in ready.json()["detail"]
        with clip.open("rb") as file:
            answer = service.client.post("/api/transcribe/", files={"file": file})
        assert answer.status_code == 507
        assert "disk is full" in answer.json()["detail"]
        assert service.client.patch(f"/api/transcribe/{job_id}", json={}).status_code != 507
        ballast.unlink()
        result = completed(service, job_id, seconds=RECOVERED_WITHIN_SECONDS)
        assert spoken(result) == undisturbed(service, clip)


def test_two_uploads_do_not_count_on_the_same_space(small_disk: Path) -> None:
    with service_with_reserve(small_disk, megabytes=40) as service:
        free = psutil.disk_usage(str(small_disk)).free - 40 * 1000**2
        length = round(free * 0.7)
        begun = begin_upload(service, length)
        with begun, begin_upload(service, length) as refused:
            refused.sendall(bytes(length))
            assert b" 507 " in refused.recv(100)
            begun.sendall(bytes(length))
            assert b" 400 " in begun.recv(100), "there was space; it is no audio"


def begin_upload(service: Service, length: int) -> socket.socket:
    """A connection on which an upload of so many bytes has begun; its body is no form."""
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
    connection.sendall(
        b"POST /api/transcribe/ HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=cut\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )
    time.sleep(0.3)
    return connection
