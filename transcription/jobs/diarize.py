"""The work of finding out who speaks in a recording. What is done when is decided in `speakers` and `jobs`."""

import logging
import threading
import time

from django.conf import settings
from django.db import connection

from transcription.jobs import lifecycle, speakers
from transcription.leasing import leases, outages, wakeups
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.models import Job
from transcription.recordings import StoredSamples
from transcription.speech.diarization.base import SpeakerCount
from transcription.speech.diarization.loading import load
from transcription.speech.engines.base import SpeechError

TELL_SECONDS = 1.0

_logger = logging.getLogger(__name__)


class _StoppedError(Exception):
    """This process is to end, and a diarization takes too long to be finished first."""


def diarize_next(stopping: threading.Event) -> bool:
    """Diarize the recording of the job that waits longest for it. False when none does."""
    stage = speakers.claim_diarization()
    if stage is None:
        return False
    job = stage.job
    with leases.held(stage, still_wanted=lifecycle.wanted) as lease:
        try:
            _diarize(job, lease, stopping)
        except LeaseLostError:
            _logger.info("The diarization of job %s is not wanted any more.", job.pk)
        except _StoppedError:
            lease.give_back()
            wakeups.wake_speech_workers()
        except outages.DATABASE_ERRORS:
            raise  # not the recording's fault: it is done again
        except Exception as error:
            if reason := outages.why_later(job, error):
                outages.leave_for_later(job, lease, reason, stopping=stopping)
                return True
            _logger.error(
                "The diarization of job %s failed: %s", job.pk, error, exc_info=unexpected(error)
            )
            lifecycle.fail_work(
                lease=lease, job_id=job.pk, error=_words(error), can_retry=_can_retry(error)
            )
    return True


def _diarize(job: Job, lease: Lease, stopping: threading.Event) -> None:
    diarizer = load(
        engine=settings.TRANSCRIBER_DIARIZATION_ENGINE,
        model=settings.TRANSCRIBER_DIARIZATION_MODEL,
        token=settings.HF_TOKEN,
        device=settings.TRANSCRIBER_DEVICE,
        threads=settings.TRANSCRIBER_SPEECH_THREADS,
    )
    told_at, told = time.monotonic(), 0

    def on_progress(fraction: float) -> None:
        nonlocal told_at, told
        lease.check()
        if stopping.is_set():
            raise _StoppedError
        percent = min(int(100 * fraction), 100)
        if percent != told and time.monotonic() - told_at >= TELL_SECONDS:
            told_at, told = time.monotonic(), percent
            _tell(lease, job, percent)

    on_progress(0.0)
    found = diarizer.diarize(
        StoredSamples(job.recording),
        count=SpeakerCount(job.num_speakers, job.min_speakers, job.max_speakers),
        on_progress=on_progress,
    )
    outages.wait_out(
        lambda: speakers.finish_diarization(
            lease=lease,
            job=job,
            found=found,
            engine=settings.TRANSCRIBER_DIARIZATION_ENGINE,
            model=diarizer.model,
            device=diarizer.device,
        ),
        stopping=stopping,
    )


def _tell(lease: Lease, job: Job, percent: int) -> None:
    try:
        speakers.note_progress(lease=lease, job_id=job.pk, percent=percent)
    except outages.DATABASE_ERRORS:
        connection.close()  # it is told later; the work goes on


def unexpected(error: Exception) -> bool:
    """What the service says of itself needs no trace; what a library says may."""
    return not isinstance(error, SpeechError)


def _can_retry(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return False  # the recording is as long the next time
    return not isinstance(error, SpeechError) or error.can_retry


def _words(error: Exception) -> str:
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else repr(error))
