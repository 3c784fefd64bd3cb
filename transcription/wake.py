"""Who is woken when a job's rows change: its workers and its listeners."""

from uuid import UUID

from transcription.leasing.wakeups import wake_group, wake_workers

SPEECH_TASK = "transcription.tasks.work_on_speech"
PREPARE_TASK = "transcription.tasks.prepare"


def wake_speech_workers(*, n: int = 1) -> None:
    """Have speech workers look for chunks to transcribe and recordings to diarize, after the commit."""
    wake_workers(SPEECH_TASK, n=n)


def wake_preparers() -> None:
    """Have an interactive worker look for recordings to prepare, after the commit."""
    wake_workers(PREPARE_TASK)


def wake_listeners(job_id: UUID) -> None:
    """Have live feeds read the job's rows, after the commit."""
    wake_group(listener_group(job_id), message_type="job.changed")


def listener_group(job_id: UUID | str) -> str:
    """The channel-layer group of the feeds that watch a job."""
    return f"job.{job_id}"
