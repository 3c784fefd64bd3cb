"""Benchmark of retranslation: on an idle service, and during the transcription of a long recording."""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.service import row
from bench.speech import READING
from tests.media import repeated
from tests.service import Service

N_RANGES = 15
RANGE_SECONDS = 10.0
MODEL = "base"


def measure() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        long_file = repeated(READING, Path(folder) / "65min.wav", seconds=65 * 60)
        with Service(Path(folder) / "data", TRANSCRIBER_INTERACTIVE_WORKERS="1") as service:
            job_id = service.upload(READING)
            assert service.finished(job_id)["status"] == "completed"
            retranslate(service, job_id, start=0.0)  # warm-up: loads the model
            idle = _seconds(service, job_id)
            long_job = service.upload(long_file)
            while service.debug(long_job)["cached_segments"] == 0:
                time.sleep(0.05)
            busy = _seconds(service, job_id)
            assert service.status(long_job)["status"] == "processing", (
                "The long job ended too early."
            )
            service.client.post(f"/api/transcribe/cancel/{long_job}")
    return [
        row(
            f"retranslation of {RANGE_SECONDS:.0f} s with {MODEL}, median", median(idle), "s", None
        ),
        row("the same during the transcription of 65 minutes", median(busy), "s", None),
        row("busy / idle", median(busy) / median(idle), "×", 2.5),
    ]


def _seconds(service: Service, job_id: str) -> list[float]:
    return [retranslate(service, job_id, start=10.0 + 30.0 * number) for number in range(N_RANGES)]


def retranslate(service: Service, job_id: str, *, start: float) -> float:
    began = time.perf_counter()
    answer = service.client.post(
        f"/api/retranslate/segment-from-full?job_id={job_id}",
        json={
            "segment_id": "bench",
            "start_time": start,
            "end_time": start + RANGE_SECONDS,
            "model_name": MODEL,
        },
    )
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began
