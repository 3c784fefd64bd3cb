"""Transcription of chunks: claim one, transcribe it, commit it with its segments. `speech_worker` decides when."""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from transcription.jobs import status, work
from transcription.jobs.diarize import wake_diarizer_if_ready
from transcription.jobs.installed_models import load_engine
from transcription.jobs.lifecycle import advance
from transcription.leasing import fairness, leases
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.outages import wait_out
from transcription.locks import lock_active_job
from transcription.models import Chunk, Job, Leased, Segment
from transcription.recordings import StoredSamples, read_samples
from transcription.speech import catalogue, invariants, segments
from transcription.speech.engines.base import (
    Audio,
    Span,
    SpeechEngine,
    SpeechError,
    TranscribedSegment,
)
from transcription.speech.fetching import report_percent
from transcription.wake import wake_listeners, wake_speech_workers

LANGUAGE_SECONDS = 30.0
"""Whisper detects the language from one window, so this much speech is gathered for it."""

# ---- Claim


def claimable_chunks() -> "QuerySet[Chunk]":
    """Chunks that wait to be transcribed."""
    return _chunks_to_transcribe().filter(leases.claimable())


def _chunks_to_transcribe() -> "QuerySet[Chunk]":
    """Chunks of active jobs; of a job whose language is unknown only the first, whose worker detects it."""
    return Chunk.objects.filter(Q(job__language__gt="") | Q(index=0), job__status__in=Job.ACTIVE)


def _in_turn(chunks: "QuerySet[Chunk]") -> "QuerySet[Chunk]":
    """Round robin: first the person who was served longest ago, then that person's job that was."""
    return chunks.select_related("job__recording").order_by(
        fairness.person_in_turn(fairness.CHUNK, owner="job__owner", without_owner="job__served_at"),
        F("job__served_at").asc(nulls_first=True),
        "job__created_at",
        "index",
    )


def next_job(*, except_models: Collection[str] = ()) -> Job | None:
    """The job whose chunk is next, among jobs with other models than those. None if none waits."""
    chunk = _in_turn(claimable_chunks().exclude(job__model_name__in=except_models)).first()
    return None if chunk is None else chunk.job


def claim_chunk(*, model_name: str) -> Chunk | None:
    """Claim the next chunk of a job with this model. None if there is none."""
    waiting = _chunks_to_transcribe().filter(job__model_name=model_name)
    chunk = leases.claim(_in_turn(waiting))
    if chunk is None:
        return None
    # After the claim's transaction, which must not wait for the job's row: see the lock order.
    Job.objects.filter(pk=chunk.job_id).update(served_at=Now())
    fairness.note_served(fairness.CHUNK, person_id=chunk.job.owner_id)
    if chunk.index == 0:  # until now the message was the preparation's
        message = status.measure_progress(chunk.job).message
        status.set_message(job_id=chunk.job_id, message=message)
    if chunk.job.diarize:
        wake_diarizer_if_ready(chunk.job_id)
    return chunk


# ---- Work


def transcribe_next(*, model_name: str) -> bool:
    """Transcribe and commit the next chunk for this model. False if none waits."""
    chunk = claim_chunk(model_name=model_name)
    if chunk is not None:
        transcribe_chunk(chunk)
    return chunk is not None


def transcribe_chunk(chunk: Chunk) -> None:
    """Transcribe and commit a claimed chunk, or save why it failed."""
    work.run(
        chunk,
        lambda lease: _transcribe(chunk, load_job_engine(chunk.job), lease),
        name=f"Chunk {chunk.index}",
        wake=wake_speech_workers,
        message=lambda error: f"Chunk {chunk.index + 1} failed: {error}",
        can_retry=lambda error: not isinstance(error, SpeechError) or error.can_retry,
        grace_seconds=math.inf,
    )


def load_job_engine(job: Job) -> SpeechEngine:
    """The job's model, loaded; while it is downloaded, the job's message shows the progress. Raises SpeechError."""
    name = catalogue.resolve(job.model_name).name

    def show_percent(percent: int) -> None:
        status.set_message(job_id=job.pk, message=f"Downloading the model {name} ({percent}%)")

    return load_engine(model_name=job.model_name, on_progress=report_percent(show_percent))


def _transcribe(chunk: Chunk, engine: SpeechEngine, lease: Lease) -> None:
    job = chunk.job
    stored = StoredSamples(job.recording, chunk.channel)
    samples = stored.read(Span(chunk.start, chunk.end))
    if not job.language:
        set_language(job=job, language=engine.detect_language(_first_speech(job)))

    def on_progress(fraction: float) -> None:
        lease.progress = round(100 * fraction)
        lease.check()

    transcribed = segments.transcribe(
        engine,
        samples,
        _spans(chunk.streams, chunk.start),
        _spans(chunk.speech, chunk.start),
        language=job.language,
        on_progress=on_progress,
    )
    finish_chunk(
        lease=lease,
        chunk=chunk,
        segments=[_shifted(segment, chunk.start) for segment in transcribed],
        engine=settings.TRANSCRIBER_ENGINE,
        device=engine.device,
    )


def _spans(stored: list[list[float]], origin: float) -> list[Span]:
    return [Span(start - origin, end - origin) for start, end in stored]


def _first_speech(job: Job) -> Audio:
    """The first 30 s of speech, whatever silence or noise comes before; pauses inside a stream are kept.

    Without its pauses speech is detected as another language more often.
    """
    parts: list[Audio] = []
    missing = LANGUAGE_SECONDS
    for chunk in job.chunks.order_by("index").iterator(chunk_size=10):
        for start, end in chunk.streams:
            span = Span(start, min(end, start + missing))
            parts.append(read_samples(job.recording, span, chunk.channel))
            missing -= end - start
            if missing <= 0:
                return np.concatenate(parts)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _shifted(segment: TranscribedSegment, seconds: float) -> TranscribedSegment:
    """The segment with times counted from the start of the recording."""
    return replace(
        segment,
        start=round(segment.start + seconds, 3),
        end=round(segment.end + seconds, 3),
        words=tuple(
            replace(w, start=round(w.start + seconds, 3), end=round(w.end + seconds, 3))
            for w in segment.words
        ),
    )


# ---- Commit


def set_language(*, job: Job, language: str) -> None:
    """Save the detected language, unless one is known, and wake workers for the other chunks. Waits out an outage."""

    def save() -> None:
        Job.objects.filter(pk=job.pk, language="").update(language=language, updated_at=Now())
        job.refresh_from_db(fields=["language"])
        wake_speech_workers(n=claimable_chunks().filter(job=job).count())

    wait_out(save)


def finish_chunk(
    *, lease: Lease, chunk: Chunk, segments: Sequence[TranscribedSegment], engine: str, device: str
) -> None:
    """Commit a chunk and its segments in one transaction, and complete the job if it was the last.

    The segments are made to keep the invariants (speech/invariants.py), whatever engine they are from.
    Waits out an outage of the database. Raises LeaseLostError, and writes nothing, if the lease was lost.
    """
    settled = invariants.enforce(segments, Span(chunk.start, chunk.end))
    is_last = wait_out(lambda: _commit(lease, chunk, settled, engine, device))
    if is_last:
        wait_out(lambda: advance(chunk.job_id))


def _commit(
    lease: Lease, chunk: Chunk, segments: Sequence[TranscribedSegment], engine: str, device: str
) -> bool:
    """Returns whether no known chunk is left."""
    with transaction.atomic():
        job = lock_active_job(chunk.job_id)  # also serializes the progress that is computed below
        if job is None or not lease.held_rows().update(
            state=Leased.State.DONE, progress=100, finished_at=Now(), lease_until=None, error=""
        ):
            raise LeaseLostError
        speaker = chunk.find_speaker()
        Segment.objects.bulk_create(_row(chunk, segment, speaker) for segment in segments)
        progress = status.measure_progress(job)
        Job.objects.filter(pk=job.pk).update(
            progress=progress.percent,
            message=progress.message,
            engine=engine,
            device=device,
            updated_at=Now(),
        )
        wake_listeners(job.pk)
    return not progress.n_unfinished


def _row(chunk: Chunk, segment: TranscribedSegment, speaker: str | None) -> Segment:
    return Segment(
        job_id=chunk.job_id,
        chunk=chunk,
        speaker=speaker,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        words=[asdict(word) for word in segment.words],
        avg_logprob=segment.avg_logprob,
        no_speech_prob=segment.no_speech_prob,
        compression_ratio=segment.compression_ratio,
        temperature=segment.temperature,
    )
