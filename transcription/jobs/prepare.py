"""The work of preparing a recording: decode it once, store its samples, cut it into chunks as they become known."""

import logging
from collections import deque
from collections.abc import Iterable
from typing import BinaryIO, cast

from transcription.jobs import lifecycle
from transcription.jobs.transcribe import LANGUAGE_SECONDS, stopping
from transcription.leasing import leases, outages
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.models import Job, Recording
from transcription.recordings import SamplesWriter, delete_files
from transcription.speech import audio
from transcription.speech.chunks import PlannedChunk, Planner
from transcription.speech.engines.base import SAMPLE_RATE
from transcription.speech.voice_activity import VoiceActivity

_logger = logging.getLogger(__name__)


def prepare_next() -> bool:
    """Prepare the recording that waits longest. False when none does, or none can be prepared just now."""
    stage = lifecycle.claim_preparation()
    if stage is None:
        return False
    job, goes_on = stage.job, True
    with leases.held(stage, still_wanted=lifecycle.wanted) as lease:
        try:
            _prepare(job, lease)
        except LeaseLostError:
            _logger.info("The preparation of job %s is not wanted any more.", job.pk)
        except Exception as error:
            reason = outages.why_later(job, error)
            goes_on = reason is None
            if reason is not None:
                outages.leave_for_later(job, lease, reason, stopping=stopping)
            else:
                _logger.exception("The preparation of job %s failed.", job.pk)
                lifecycle.fail_work(
                    lease=lease,
                    job_id=job.pk,
                    error=f"The recording could not be read: {error}",
                    can_retry=not isinstance(error, audio.NotAudioError),
                )
    if not Recording.objects.filter(pk=job.recording_id).exists():
        delete_files(job.recording)  # what was written while it was being deleted
    return goes_on


def _prepare(job: Job, lease: Lease) -> None:
    """Decode once, store the samples, find speech, and make chunks known as soon as their samples are there."""
    writer, activity, planner = SamplesWriter(job.recording), VoiceActivity(), Planner()
    outbox = _Outbox(job, lease)
    n_samples = 0
    with job.recording.file.open("rb") as file:
        for samples in audio.decode(cast("BinaryIO", file)):
            lease.check()
            n_samples += len(samples)
            writer.write(samples)
            for span in activity.feed(audio.to_float(samples)):
                outbox.add(planner.add(span))
            outbox.send(stored_until=writer.n_stored / SAMPLE_RATE)
    writer.flush()
    duration = n_samples / SAMPLE_RATE
    for span in activity.finish():
        outbox.add(planner.add(span))
    outbox.add(planner.finish(duration))
    outbox.send_all()
    outages.wait_out(
        lambda: lifecycle.finish_preparation(lease=lease, job=job, duration=duration),
        stopping=stopping,
        but_for=outages.is_disk_full,
    )


class _Outbox:
    """Planned chunks that wait for their samples to be stored and for enough speech to hear the language."""

    def __init__(self, job: Job, lease: Lease) -> None:
        self._job = job
        self._lease = lease
        self._waiting: deque[PlannedChunk] = deque()
        self._n_sent = 0
        self._speech_needed = 0.0 if job.language else LANGUAGE_SECONDS

    def add(self, chunks: Iterable[PlannedChunk]) -> None:
        for chunk in chunks:
            self._waiting.append(chunk)
            self._speech_needed -= sum(span.duration for span in chunk.speech)

    def send(self, *, stored_until: float) -> None:
        if self._speech_needed > 0:
            return
        ready = []
        while self._waiting and self._waiting[0].end <= stored_until:
            ready.append(self._waiting.popleft())
        self._send(ready)

    def send_all(self) -> None:
        self._send(list(self._waiting))
        self._waiting.clear()

    def _send(self, chunks: list[PlannedChunk]) -> None:
        outages.wait_out(
            lambda: lifecycle.add_chunks(
                lease=self._lease, job=self._job, planned=chunks, first_index=self._n_sent
            ),
            stopping=stopping,
            but_for=outages.is_disk_full,
        )
        self._n_sent += len(chunks)
