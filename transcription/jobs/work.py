"""Runs a claimed stage or chunk: an outage is waited for, an error is retried or fails the job."""

import logging
from collections.abc import Callable

from transcription.jobs.lifecycle import active_job_filter, fail_work
from transcription.jobs.status import set_message
from transcription.leasing import work as leased_work
from transcription.leasing.leases import Lease
from transcription.leasing.work import Outcome, reason_files_missing
from transcription.models import Chunk, Stage
from transcription.recordings import is_stored
from transcription.speech.audio import NotAudioError
from transcription.speech.engines.base import SpeechError

_logger = logging.getLogger(__name__)


def run(
    row: Stage | Chunk,
    act: Callable[[Lease], None],
    *,
    name: str,
    wake: Callable[[], None],
    message: Callable[[Exception], str] = str,
    can_retry: Callable[[Exception], bool],
    grace_seconds: float = 0.0,
) -> Outcome:
    """Run `act` on a claimed row while its job is active; see `leasing.work.run`.

    `message` makes of an error what the job's user reads if the work fails for good.
    """
    job = row.job

    def fail(lease: Lease, error: Exception) -> None:
        is_unexpected = not isinstance(error, SpeechError | NotAudioError)
        _logger.error("%s of job %s failed: %s", name, job.pk, error, exc_info=is_unexpected)
        fail_work(lease=lease, job_id=job.pk, error=message(error), can_retry=can_retry(error))

    return leased_work.run(
        row,
        act,
        name=f"{name} of job {job.pk}",
        wake=wake,
        on_failure=fail,
        on_wait=lambda reason: set_message(job_id=job.pk, message=reason),
        reason_files_missing=lambda: reason_files_missing(is_here=is_stored(job.recording)),
        condition=active_job_filter,
        grace_seconds=grace_seconds,
    )
