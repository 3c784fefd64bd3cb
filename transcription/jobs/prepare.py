"""The first stage of a job: decode the recording once, store its samples, and create its chunks as they are known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Now

from transcription import hooks
from transcription.jobs import status, work
from transcription.jobs.diarize import wake_diarizer_if_ready
from transcription.jobs.lifecycle import advance
from transcription.jobs.signals import MixedSignal, SpeakerSignals
from transcription.jobs.transcribe import LANGUAGE_SECONDS
from transcription.leasing import fairness, leases
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.outages import is_disk_full, wait_out
from transcription.leasing.work import Outcome
from transcription.locks import lock_active_job
from transcription.models import Chunk, Diarization, Job, Leased, Recording, Stage
from transcription.recordings import delete_files
from transcription.speech import audio
from transcription.speech.chunks import PlannedChunk
from transcription.speech.engines.base import SAMPLE_RATE, Span
from transcription.speech.media.messages import MAX_TRACKS
from transcription.wake import wake_preparers, wake_speech_workers

ROUNDING_SECONDS = 0.001
GRACE_SECONDS = 10.0
"""How long a preparation goes on in a process that is to stop: one of some hours ends within it."""


def prepare_next() -> bool:
    """Prepare the recording that waits longest. False if none waits, or it went back to the queue."""
    stage = claim_preparation()
    if stage is None:
        return False
    job = stage.job
    outcome = work.run(
        stage,
        lambda lease: _prepare(job, lease),
        name="The preparation",
        wake=wake_preparers,
        message=lambda error: f"The recording could not be read: {error}",
        can_retry=lambda error: not isinstance(error, audio.NotAudioError),
        grace_seconds=GRACE_SECONDS,
    )
    if not Recording.objects.filter(pk=job.recording_id).exists():
        delete_files(job.recording)  # samples that were written while it was being deleted
    return outcome is Outcome.ENDED


def claimable_preparations() -> "QuerySet[Stage]":
    return Stage.objects.filter(
        leases.claimable(), kind=Stage.Kind.PREPARE, job__status__in=Job.ACTIVE
    )


def claim_preparation() -> Stage | None:
    """Claim the next preparation: of the person in turn, that of the oldest job. None if none waits."""
    in_turn = fairness.person_in_turn(fairness.PREPARATION, owner="job__owner")
    waiting = claimable_preparations().select_related("job__recording")
    stage = leases.claim(waiting.order_by(in_turn, "job__created_at"))
    if stage is not None:
        fairness.note_served(fairness.PREPARATION, person_id=stage.job.owner_id)
        Job.objects.filter(pk=stage.job_id, status=Job.Status.QUEUED).update(
            status=Job.Status.RUNNING,
            started_at=Now(),
            updated_at=Now(),
            message="Reading the recording",
        )
    return stage


def _prepare(job: Job, lease: Lease) -> None:
    """Decode, store samples, detect voice activity, and create each chunk as soon as its samples are stored."""
    outbox, n_samples, signals = _Outbox(job, lease), 0, None
    is_by_channel = job.channels == Job.Channels.SPEAKERS
    max_seconds = settings.TRANSCRIBER_MAX_DURATION_HOURS * 3600.0
    with job.recording.file.open("rb") as opened:
        file = cast("BinaryIO", opened)
        track_channels = audio.probe(file).track_channels[:MAX_TRACKS]
        for block in audio.decode_channels(
            file, max_seconds=max_seconds, is_surround_mixed=not is_by_channel
        ):
            lease.check()
            if signals is None:
                if sum(track_channels) != block.shape[1]:  # other than declared, or surround sound
                    track_channels = (block.shape[1],)
                signals = (SpeakerSignals if is_by_channel else MixedSignal)(job, track_channels)
            n_samples += len(block)
            outbox.add(signals.feed(block))
            outbox.send(stored_until=signals.n_stored / SAMPLE_RATE)
    duration = n_samples / SAMPLE_RATE
    if signals is not None:
        outbox.add(signals.finish(duration))
    outbox.send_all()
    finish_preparation(
        lease=lease,
        job=job,
        duration=duration,
        has_separate_voices=signals is not None and signals.are_separate,
    )


@dataclass(frozen=True, slots=True)
class _Sent:
    """What earlier preparations created: the number of chunks, and where the last one of each channel ends."""

    n_chunks: int
    end_of: dict[int | None, float]


class _Outbox:
    """Planned chunks that wait until their samples are stored and there is enough speech to detect the language."""

    def __init__(self, job: Job, lease: Lease) -> None:
        self._job = job
        self._lease = lease
        self._waiting: list[PlannedChunk] = []
        # A preparation that was interrupted has sent some. Its plan stands as far as it goes: it may differ from
        # this one, if it was another version's.
        self._sent = wait_out(lambda: _sent_before(job))
        self._n_sent = self._sent.n_chunks
        self._speech_needed = 0.0 if job.language or self._n_sent else LANGUAGE_SECONDS

    def add(self, chunks: Iterable[PlannedChunk]) -> None:
        for chunk in chunks:
            rest = _part_after(chunk, self._sent.end_of.get(chunk.channel, 0.0))
            if rest.streams and rest.speech:
                self._waiting.append(rest)
            self._speech_needed -= sum(span.duration for span in chunk.speech)

    def send(self, *, stored_until: float) -> None:
        if self._speech_needed > 0:
            return
        ready = [chunk for chunk in self._waiting if chunk.end <= stored_until]
        self._waiting = [chunk for chunk in self._waiting if chunk.end > stored_until]
        self._send(ready)

    def send_all(self) -> None:
        self._send(self._waiting)
        self._waiting = []

    def _send(self, chunks: list[PlannedChunk]) -> None:
        chunks = sorted(chunks, key=lambda chunk: chunk.start)  # those of several channels
        add_chunks(lease=self._lease, job=self._job, planned=chunks, first_index=self._n_sent)
        self._n_sent += len(chunks)


def _sent_before(job: Job) -> _Sent:
    """What earlier preparations of the job sent.

    The job's row is locked, because whoever held the lease before may have checked it, and be about to commit.
    """
    with transaction.atomic():
        lock_active_job(job.pk)
        sent = list(
            job.chunks.order_by().values("channel").annotate(n_sent=Count("pk"), until=Max("end"))
        )
    return _Sent(
        sum(channel["n_sent"] for channel in sent),
        {channel["channel"]: channel["until"] for channel in sent},
    )


def _part_after(chunk: PlannedChunk, seconds: float) -> PlannedChunk:
    """What a chunk holds after a time, in seconds from the start of the recording.

    Parts of less than a millisecond are none: the ends of streams are rounded to that, those of speech are not.
    """
    after = seconds + ROUNDING_SECONDS
    streams, speech = (
        tuple(Span(max(span.start, seconds), span.end) for span in spans if span.end > after)
        for spans in (chunk.streams, chunk.speech)
    )
    return replace(chunk, streams=streams, speech=speech)


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
                    channel=chunk.channel,
                )
                for index, chunk in enumerate(planned, first_index)
            ],
            ignore_conflicts=True,
        )
        if job.channels == Job.Channels.SPEAKERS:  # their names are kept from now on
            defaults = {
                "engine": Diarization.CHANNELS,
                "turns": [],
                "exclusive": [],
                "centroids": {},
            }
            Diarization.objects.get_or_create(job=job, defaults=defaults)
        Job.objects.filter(pk=job.pk, served_at=None).update(
            message=status.WAITING, updated_at=Now()
        )
        wake_speech_workers(n=len(planned))


def finish_preparation(
    *, lease: Lease, job: Job, duration: float, has_separate_voices: bool = False
) -> None:
    """Commit the end of a preparation; `duration` is the recording's, in seconds.

    Waits out an outage of the database, but not a full disk. Raises LeaseLostError, and writes nothing, if the
    lease was lost.
    """
    recording = {"duration": duration, "has_separate_voices": has_separate_voices}
    wait_out(lambda: _commit(lease, job, recording), unless=is_disk_full)
    wait_out(lambda: advance(job.pk), unless=is_disk_full)


def _commit(lease: Lease, job: Job, recording: dict[str, Any]) -> None:
    with transaction.atomic():
        if lock_active_job(job.pk) is None or not lease.held_rows().update(
            state=Leased.State.DONE, finished_at=Now(), lease_until=None, error=""
        ):
            raise LeaseLostError
        Recording.objects.filter(pk=job.recording_id).update(**recording)
        hooks.recording_read.send(sender=Job, job_id=job.pk, seconds=recording["duration"])
        if job.channels == Job.Channels.SPEAKERS:
            _save_speakers(job)
        wake_diarizer_if_ready(job.pk)


def _save_speakers(job: Job) -> None:
    """Save who speaks when, which the channels tell: renaming, statistics and retries read it as of a diarization."""
    turns = sorted(
        [start, end, chunk.channel_speaker]
        for chunk in job.chunks.only("channel", "speech")
        for start, end in chunk.speech
    )
    Diarization.objects.update_or_create(
        job=job,
        defaults={
            "engine": Diarization.CHANNELS,
            "turns": turns,
            "exclusive": [[*turn, None] for turn in turns],
            "centroids": {},
        },
    )
