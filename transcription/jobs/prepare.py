"""The first stage of a job: decode the recording once, store its samples, and create its chunks as they are known."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import BinaryIO, cast

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Now

from transcription.jobs import status
from transcription.jobs.diarize import wake_diarizer_if_ready
from transcription.jobs.later import wait_or_fail
from transcription.jobs.lifecycle import active_job_filter, advance
from transcription.jobs.transcribe import LANGUAGE_SECONDS
from transcription.leasing import leases
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.outages import is_disk_full, wait_out
from transcription.locks import lock_active_job
from transcription.models import Chunk, Job, Leased, Recording, Stage
from transcription.recordings import SamplesWriter, delete_files
from transcription.speech import audio
from transcription.speech.chunks import PlannedChunk, Planner
from transcription.speech.engines.base import SAMPLE_RATE, Span
from transcription.speech.voice_activity import VoiceActivity
from transcription.wake import wake_speech_workers

ROUNDING_SECONDS = 0.001

_logger = logging.getLogger(__name__)


def prepare_next() -> bool:
    """Prepare the recording that waits longest. False if none waits, or it has to wait for an outage's end."""
    stage = claim_preparation()
    if stage is None:
        return False
    job, has_to_wait = stage.job, False
    with leases.keep_renewed(stage, condition=active_job_filter) as lease:
        try:
            _prepare(job, lease)
        except LeaseLostError:
            _logger.info("The preparation of job %s was cancelled or lost its lease.", job.pk)
        except Exception as error:
            has_to_wait = wait_or_fail(
                job,
                lease,
                error,
                work="The preparation",
                message=f"The recording could not be read: {error}",
                can_retry=not isinstance(error, audio.NotAudioError),
            )
    if not Recording.objects.filter(pk=job.recording_id).exists():
        delete_files(job.recording)  # samples that were written while it was being deleted
    return not has_to_wait


def claimable_preparations() -> "QuerySet[Stage]":
    return Stage.objects.filter(
        leases.claimable(), kind=Stage.Kind.PREPARE, job__status__in=Job.ACTIVE
    )


def claim_preparation() -> Stage | None:
    """Claim the preparation of the oldest job that waits for one. None if none does."""
    stage = leases.claim(
        claimable_preparations().select_related("job__recording").order_by("job__created_at")
    )
    if stage is not None:
        Job.objects.filter(pk=stage.job_id, status=Job.Status.QUEUED).update(
            status=Job.Status.RUNNING,
            started_at=Now(),
            updated_at=Now(),
            message="Reading the recording",
        )
    return stage


def _prepare(job: Job, lease: Lease) -> None:
    """Decode, store samples, detect voice activity, and create each chunk as soon as its samples are stored."""
    writer, activity, planner = SamplesWriter(job.recording), VoiceActivity(), Planner()
    outbox = _Outbox(job, lease)
    n_samples = 0
    max_seconds = settings.TRANSCRIBER_MAX_DURATION_HOURS * 3600.0
    with job.recording.file.open("rb") as file:
        for samples in audio.decode(cast("BinaryIO", file), max_seconds=max_seconds):
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
    finish_preparation(lease=lease, job=job, duration=duration)


class _Outbox:
    """Planned chunks that wait until their samples are stored and there is enough speech to detect the language."""

    def __init__(self, job: Job, lease: Lease) -> None:
        self._job = job
        self._lease = lease
        self._waiting: deque[PlannedChunk] = deque()
        # A preparation that was interrupted has sent some. Its plan stands as far as it goes: it may differ from
        # this one, if it was another version's.
        self._n_sent, self._sent_until = wait_out(lambda: _sent_before(job))
        self._speech_needed = 0.0 if job.language or self._n_sent else LANGUAGE_SECONDS

    def add(self, chunks: Iterable[PlannedChunk]) -> None:
        for chunk in chunks:
            rest = _part_after(chunk, self._sent_until)
            if rest.streams and rest.speech:
                self._waiting.append(rest)
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
        add_chunks(lease=self._lease, job=self._job, planned=chunks, first_index=self._n_sent)
        self._n_sent += len(chunks)


def _sent_before(job: Job) -> tuple[int, float]:
    """The number of chunks that earlier preparations created, and the end of the last one in seconds.

    The job's row is locked, because whoever held the lease before may have checked it, and be about to commit.
    """
    with transaction.atomic():
        lock_active_job(job.pk)
        sent = job.chunks.aggregate(n=Count("pk"), end=Max("end"))
    return sent["n"], sent["end"] or 0.0


def _part_after(chunk: PlannedChunk, seconds: float) -> PlannedChunk:
    """What a chunk holds after a time, in seconds from the start of the recording.

    Parts of less than a millisecond are none: the ends of streams are rounded to that, those of speech are not.
    """
    after = seconds + ROUNDING_SECONDS
    streams, speech = (
        tuple(Span(max(span.start, seconds), span.end) for span in spans if span.end > after)
        for spans in (chunk.streams, chunk.speech)
    )
    return PlannedChunk(streams=streams, speech=speech)


def add_chunks(
    *, lease: Lease, job: Job, planned: Sequence[PlannedChunk], first_index: int
) -> None:
    """Create chunks and wake workers. Idempotent: a repeated preparation finds its chunks there and adds none twice.

    Waits out an outage of the database, but not a full disk. Raises LeaseLostError, and writes nothing, if the
    lease was lost.
    """
    if planned:
        wait_out(lambda: _add_chunks(lease, job, planned, first_index), unless=is_disk_full)


def _add_chunks(lease: Lease, job: Job, planned: Sequence[PlannedChunk], first_index: int) -> None:
    with transaction.atomic():
        if lock_active_job(job.pk) is None or not lease.held_rows().exists():
            raise LeaseLostError
        Chunk.objects.bulk_create(
            [
                Chunk(
                    job=job,
                    index=index,
                    start=chunk.start,
                    end=chunk.end,
                    streams=[[span.start, span.end] for span in chunk.streams],
                    speech=[[span.start, span.end] for span in chunk.speech],
                )
                for index, chunk in enumerate(planned, first_index)
            ],
            ignore_conflicts=True,
        )
        Job.objects.filter(pk=job.pk, served_at=None).update(
            message=status.WAITING, updated_at=Now()
        )
        wake_speech_workers(n=len(planned))


def finish_preparation(*, lease: Lease, job: Job, duration: float) -> None:
    """Commit the end of a preparation; `duration` is the recording's, in seconds.

    Waits out an outage of the database, but not a full disk. Raises LeaseLostError, and writes nothing, if the
    lease was lost.
    """
    wait_out(lambda: _commit(lease, job, duration), unless=is_disk_full)
    wait_out(lambda: advance(job.pk), unless=is_disk_full)


def _commit(lease: Lease, job: Job, duration: float) -> None:
    with transaction.atomic():
        if lock_active_job(job.pk) is None or not lease.held_rows().update(
            state=Leased.State.DONE, finished_at=Now(), lease_until=None, error=""
        ):
            raise LeaseLostError
        Recording.objects.filter(pk=job.recording_id).update(duration=duration)
        wake_diarizer_if_ready(job.pk)
