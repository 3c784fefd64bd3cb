"""How a job's status is told: the documented documents and messages."""

import time
from collections.abc import Sequence
from typing import Any

from transcription.jobs import progress
from transcription.models import Job

API_STATUS = {
    Job.Status.QUEUED: "processing",
    Job.Status.RUNNING: "processing",
    Job.Status.COMPLETED: "completed",
    Job.Status.FAILED: "failed",
    Job.Status.CANCELLED: "failed",
}
"""The documented names: the message tells queued from running, and cancelled from failed."""


def job_status(job: Job) -> dict[str, Any]:
    """The documented status document of a job."""
    [document] = job_statuses([job])
    return document


def job_statuses(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    said = progress.messages(jobs)
    return [
        {
            "job_id": str(job.pk),
            "status": API_STATUS[Job.Status(job.status)],
            "message": said[job.pk],
            "progress": job.progress,
            "updated_at": job.updated_at.timestamp(),
        }
        for job in jobs
    ]


def not_found_status(job_id: object) -> dict[str, Any]:
    return {
        "job_id": str(job_id),
        "status": "not_found",
        "message": "Transcription job not found or expired",
        "progress": 0,
        "updated_at": time.time(),
    }


def status_message(
    status: dict[str, Any], *, chunk_info: dict[str, int] | None = None
) -> dict[str, Any]:
    """A status document as a live message."""
    return {
        "type": "status",
        "status": status["status"],
        "message": status["message"],
        "progress": status["progress"],
        "chunk_info": chunk_info or {"current_chunk": 0, "total_chunks": 0, "chunk_progress": 0},
    }
