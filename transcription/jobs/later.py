"""Work that failed: it waits for the end of an outage if it met one, else it is retried or fails its job."""

import logging

from django.db import connection

from transcription.jobs.lifecycle import fail_work
from transcription.jobs.status import WAITING_FOR_SPACE, set_message
from transcription.leasing import leases
from transcription.leasing.leases import Lease
from transcription.leasing.outages import DATABASE_ERRORS, is_disk_full
from transcription.leasing.workers import stopping
from transcription.models import Job, Recording
from transcription.recordings import is_stored
from transcription.speech.audio import NotAudioError
from transcription.speech.engines.base import SpeechError
from transcription.wake import wake_preparers, wake_speech_workers

PAUSE_SECONDS = 10.0
"""How long a worker leaves work that it cannot do to other workers."""

_logger = logging.getLogger(__name__)


def wait_or_fail(
    job: Job, lease: Lease, error: Exception, *, work: str, message: str, can_retry: bool
) -> bool:
    """Release work that met an outage, else save that it failed. Returns whether it waits.

    `work` names it in the log; `message` is what the job's user reads if it fails for good.
    """
    if reason := reason_to_wait(job, error):
        release_for_later(job, lease, reason)
        return True
    is_unexpected = not isinstance(error, SpeechError | NotAudioError)
    _logger.error("%s of job %s failed: %s", work, job.pk, error, exc_info=is_unexpected)
    fail_work(lease=lease, job_id=job.pk, error=message, can_retry=can_retry)
    return False


def reason_to_wait(job: Job, error: Exception) -> str | None:
    """What the work has to wait for, if the error is an outage; None if the work itself failed."""
    if is_disk_full(error):
        return WAITING_FOR_SPACE  # recovery tries again once a minute
    return reason_files_missing(job.recording) if isinstance(error, FileNotFoundError) else None


def reason_files_missing(recording: Recording) -> str | None:
    """Why another machine may see the files that this one does not; None on a single machine, where they are lost."""
    if connection.vendor != "postgresql" or is_stored(recording):
        return None
    return (
        f"{leases.machine_name()} does not find the recording. "
        "All machines must share one TRANSCRIBER_FILES_DIR."
    )


def release_for_later(job: Job, lease: Lease, reason: str) -> None:
    """Release the work for another worker or a later try, show the reason to the user, and pause."""
    try:
        if not lease.release(reason=reason):
            return  # the job was deleted, which is why its files are gone
        _logger.error("Job %s has to wait: %s", job.pk, reason)
        set_message(job_id=job.pk, message=reason)
    except DATABASE_ERRORS as error:  # the database is on the same full disk; the lease will expire
        _logger.error(
            "Job %s has to wait: %s. That could not be saved either: %s", job.pk, reason, error
        )
        connection.close()
    if reason != WAITING_FOR_SPACE:
        wake_preparers()
        wake_speech_workers()
    stopping.wait(PAUSE_SECONDS)
