"""Benchmark of accounts: what a request costs with them, beside the same request without."""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.contenders import ROOT
from bench.service import row
from tests.service import Service

SHORT = ROOT / "tests" / "audio" / "jfk.flac"
N_JOBS = 30
ROUNDS = 400
MAKE_TOKEN = """
from django.contrib.auth.models import User
from accounts.tokens import create_token
person = User.objects.create_user("ann")
print(create_token(request=None, person=person, name="bench", scope="write", days=None)[1])
"""
REQUESTS = {
    "status": "/api/transcribe/status/{job}",
    "result with words": "/api/transcribe/result/{job}?words=true",
    f"list of {N_JOBS} jobs": "/api/transcribe/jobs",
    "waveform": "/app/jobs/{job}/peaks",
}


def measure() -> list[dict[str, Any]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(Path(folder) / "off") as without,
        Service(Path(folder) / "on", TRANSCRIBER_ACCOUNTS="required") as with_accounts,
    ):
        token = with_accounts.run("django", "shell", "--no-imports", "-c", MAKE_TOKEN).strip()
        with_accounts.client.headers["Authorization"] = f"Bearer {token}"
        jobs = [_with_jobs(service) for service in (without, with_accounts)]
        rows = []
        for what, path in REQUESTS.items():
            off, on = _alternately((without, jobs[0]), (with_accounts, jobs[1]), path)
            allowed = max(1.0, 0.15 * off)
            rows += [
                row(f"{what}, accounts off, median", off, "ms", None),
                row(f"{what}, with accounts and a token", on, "ms", off + allowed),
            ]
    return rows


def _with_jobs(service: Service) -> str:
    """Have several jobs; the id of a completed one."""
    ids = [service.upload(SHORT) for _ in range(N_JOBS)]
    for job_id in ids:
        assert service.finished(job_id)["status"] == "completed"
    return ids[0]


def _alternately(
    off: tuple[Service, str], on: tuple[Service, str], path: str
) -> tuple[float, float]:
    """The median times, in milliseconds, of a request to each of two services in turn."""
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for (service, job_id), found in zip((off, on), times, strict=True):
            began = time.perf_counter()
            answer = service.client.get(path.format(job=job_id))
            found.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text
    return median(times[0]), median(times[1])
