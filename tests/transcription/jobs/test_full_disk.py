"""A recording that finds the disk full waits for space, and loses nothing."""

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


def test_a_recording_that_finds_the_disk_full_waits_for_space(small_disk: Path, clip: Path) -> None:
    with Service(small_disk / "data", **SETTINGS, **QUICK_RECOVERY) as service:
        with service.suspended(processes_with(service, "interactive")):
            job_id = service.upload(clip)
            time.sleep(1.0)  # what came in is kept twice until it is answered
            ballast = small_disk / "ballast"
            free = psutil.disk_usage(str(small_disk)).free
            ballast.write_bytes(bytes(free - ROOM_BYTES))
        patiently(
            lambda: "disk is full" in service.status(job_id)["message"], what="that it is told"
        )
        ready = service.client.get("/health/ready")
        assert ready.status_code == 503
        assert "is full" in ready.json()["detail"]
        ballast.unlink()
        result = completed(service, job_id, seconds=RECOVERED_WITHIN_SECONDS)
        assert spoken(result) == undisturbed(service, clip)
