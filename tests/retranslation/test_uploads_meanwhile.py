"""Long retranslations leave an interactive worker free, so uploads are prepared meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.service import Service, wait_for
from tests.waiting_engine import Gate

pytestmark = [pytest.mark.slow, pytest.mark.both]

N_UPLOADS = 6
"""One after the other: a cluster that fetched a task while its worker is busy kept some of them."""
PREPARED_WITHIN_SECONDS = 20.0


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Lets one chunk pass, that of the job; retranslations wait until it is opened."""
    return Gate(tmp_path / "gate", limit=1)


@pytest.fixture
def two_workers(tmp_path: Path, gate: Gate) -> Iterator[Service]:
    """A service in which no recovery sends messages again."""
    settings = {"TRANSCRIBER_INTERACTIVE_WORKERS": "2", "TRANSCRIBER_RECOVERY_SECONDS": "3600"}
    with Service(tmp_path / "data", **gate.environment, **settings) as running:
        wait_for(lambda: n_interactive(running) == 2, what="both workers")
        yield running


def n_interactive(service: Service) -> int:
    seen = service.client.get("/health/ready").json().get("seen", [])
    return sum(worker["role"] == "interactive" for worker in seen)


def states(service: Service) -> list[str]:
    rows = service.query("SELECT state FROM retranslation_retranslation ORDER BY created_at")
    return [str(state) for (state,) in rows]


def is_prepared(service: Service, job_id: str) -> bool:
    [stage] = service.debug(job_id)["stages"]
    return bool(stage["state"] == "done")


@pytest.mark.parametrize("n", [1, 3])
def test_uploads_are_prepared_while_long_retranslations_are_made(
    two_workers: Service, gate: Gate, audio_dir: Path, n: int
) -> None:
    service = two_workers
    expected = ["doing", "todo", "todo"][:n]
    job_id = service.upload(audio_dir / "jfk.flac")
    assert service.finished(job_id)["status"] == "completed"

    def retranslate(n: int) -> httpx.Response:
        body = {"segment_id": str(n), "start_time": 1, "end_time": 9, "model_name": "tiny.en"}
        path = f"/api/retranslate/segment-from-full?job_id={job_id}"
        return service.client.post(path, json=body, timeout=180)

    with ThreadPoolExecutor(n) as clients:
        answers = clients.map(retranslate, range(n))
        wait_for(lambda: states(service) == expected, what="the first of them")
        for _ in range(N_UPLOADS):
            uploaded = service.upload(audio_dir / "jfk.flac")
            wait_for(
                partial(is_prepared, service, uploaded),
                what="that an upload is prepared",
                seconds=PREPARED_WITHIN_SECONDS,
            )
        assert states(service) == expected
        gate.open()
        assert [answer.status_code for answer in answers] == [200] * n
