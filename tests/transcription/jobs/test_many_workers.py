"""One long recording and several workers: each chunk is done once, and it reads as one worker would have it."""

from collections import Counter
from pathlib import Path

import pytest

from tests import scaling
from tests.running_jobs import pid_of_worker, spoken, undisturbed
from tests.service import Service, wait_for
from tests.waiting_engine import RATE, SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.both]

JOB_SECONDS = 12
"""How long one worker with the engine that only waits takes for ten minutes."""
LEAST_SPEED_UP = 6.5
N_WORKERS = 8


def test_two_workers_share_a_recording_and_nobody_could_tell(tmp_path: Path, reading: Path) -> None:
    settings = {**SETTINGS, RATE: str(JOB_SECONDS / 600), "TRANSCRIBER_SPEECH_WORKERS": "2"}
    with Service(tmp_path / "data", **settings) as service:
        wait_for(lambda: n_speech_workers(service) == 2, what="two workers")
        job_id = service.upload(reading)
        heard = [message for message in service.listen(job_id) if "id" in message]
        result = service.result(job_id)
        chunks = service.debug(job_id)["chunks"]
        alone = {**SETTINGS, RATE: "0"}
        with Service(tmp_path / "alone", **alone) as one_worker:
            assert spoken(result) == undisturbed(one_worker, reading)
    assert heard == result["segments"], "live it is the same, in the same order"
    assert {chunk["attempts"] for chunk in chunks} == {1}
    shares = Counter(pid_of_worker(chunk) for chunk in chunks)
    assert len(shares) == 2
    assert min(shares.values()) >= len(chunks) / 4, f"one did nearly all: {shares}"


def n_speech_workers(service: Service) -> int:
    workers: int = service.client.get("/health/ready").json()["workers"]["speech"]
    return workers


@pytest.mark.alone
@pytest.mark.servers
def test_eight_workers_do_six_and_a_half_times_as_much_as_one() -> None:
    """With an engine that only waits: what is measured is the service. More workers: `python -m bench scale`."""
    one = scaling.measure(n_workers=1, n_chunks=6)
    speed_ups = []
    for _ in range(2):  # what else runs on the machine can only slow them
        several = scaling.measure(n_workers=N_WORKERS, n_chunks=10 * N_WORKERS)
        speed_ups.append(several.chunks_per_second / one.chunks_per_second)
        if speed_ups[-1] > LEAST_SPEED_UP:
            break
    assert max(speed_ups) > LEAST_SPEED_UP
