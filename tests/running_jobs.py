"""What goes on in a service that may be down: to be waited for, and compared with an undisturbed run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.service import Service, wait_for

Found = TypeVar("Found")
Spoken = list[tuple[float, float, str]]
Row = dict[str, Any]

CANCELLED_WITHIN_SECONDS = 2.0
GIVEN_UP = "was cancelled or lost its lease"


def spoken(result: dict[str, Any]) -> Spoken:
    return [(s["start"], s["end"], s["text"]) for s in result["segments"]]


_undisturbed: dict[Path, Spoken] = {}


def undisturbed(service: Service, path: Path) -> Spoken:
    """The transcript of the recording in a job that nothing happens to, by the engine that waits.

    It is the same in every service, so it is made once in each process.
    """
    if path not in _undisturbed:
        _undisturbed[path] = spoken(service.transcribe(path))
    return _undisturbed[path]


def patiently(look: Callable[[], Found | None], *, what: str, seconds: float = 120.0) -> Found:
    """What `look` finds as soon as it finds something true; that the service cannot answer just now is no error."""

    def try_to_look() -> Found | None:
        try:
            return look()
        except (
            httpx.TransportError,
            KeyError,
        ):  # there is nobody; there is an error in place of an answer
            return None

    return wait_for(try_to_look, what=what, seconds=seconds)


def chunks_when(
    service: Service, job_id: str, holds: Callable[[list[Row]], bool], *, what: str
) -> list[Row]:
    def look() -> list[Row] | None:
        chunks: list[Row] = service.debug(job_id)["chunks"]
        return chunks if holds(chunks) else None

    return patiently(look, what=what)


def midway(service: Service, job_id: str) -> list[Row]:
    """The chunks, when one at least is done and one is being done."""
    return chunks_when(
        service,
        job_id,
        lambda chunks: bool(in_state(chunks, "done") and in_state(chunks, "doing")),
        what="the middle of the job",
    )


def in_state(rows: list[Row], state: str) -> list[Row]:
    return [row for row in rows if row["state"] == state]


def pid_of_worker(row: Row) -> int:
    """Workers name themselves host/process/when it began/claim."""
    return int(row["worker"].split("/")[-3])


def attempts_of(service: Service, job_id: str) -> dict[int, int]:
    return {chunk["index"]: chunk["attempts"] for chunk in service.debug(job_id)["chunks"]}


def completed(service: Service, job_id: str, *, seconds: float = 120.0) -> dict[str, Any]:
    def ended() -> Row | None:
        status = service.status(job_id)
        return status if status["status"] != "processing" else None

    status = patiently(ended, what=f"the end of job {job_id}", seconds=seconds)
    assert status["status"] == "completed", (status, service.log())
    return service.result(job_id)


def assert_not_done_again(service: Service, job_id: str, before: list[Row]) -> None:
    """Chunks that were done are as they were."""
    after = {chunk["index"]: chunk for chunk in service.debug(job_id)["chunks"]}
    for chunk in in_state(before, "done"):
        assert after[chunk["index"]] == chunk
        assert chunk["attempts"] == 1


def processes_with(service: Service, argument: str) -> list[psutil.Process]:
    return [process for process in service.processes() if argument in process.cmdline()]


def seconds_to_cancel(service: Service, job_id: str, *, workers: Service) -> float:
    """From the answer to when the `workers` say in their log that they have given up what they had in hand."""
    midway(service, job_id)
    n_before = workers.log().count(GIVEN_UP)
    answer = service.client.post(f"/api/transcribe/cancel/{job_id}")
    cancelled_at = time.monotonic()
    assert answer.status_code == 200, answer.text
    n_held = len(in_state(service.debug(job_id)["chunks"], "doing"))
    assert n_held >= 1
    wait_for(
        lambda: workers.log().count(GIVEN_UP) >= n_before + n_held,
        what="that its workers learn of it",
    )
    return time.monotonic() - cancelled_at
