"""Jobs on rows alone: nothing runs, so each step of the work is the test's own."""

from datetime import timedelta
from pathlib import Path

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from tests import queued
from tests.transcription.builders import MODEL, lease_of
from transcription.jobs import lifecycle, prepare, transcribe
from transcription.models import Chunk, Job, Leased, Recording, Stage
from transcription.speech.chunks import PlannedChunk
from transcription.speech.engines.base import Span, TranscribedSegment


def make_prepared_job(*, n_chunks: int = 3, language: str = "en", file: Path | None = None) -> Job:
    """A job under way, as it is once its recording is prepared."""
    recording = Recording(name="a.flac", size=1)
    data = file.read_bytes() if file else b"abc"
    name = f"recordings/{recording.id}/original.flac"
    recording.file.name = default_storage.save(name, ContentFile(data))
    job = lifecycle.create_job(
        recording=recording, model_name=MODEL, language=language, diarize=False
    )
    if n_chunks:
        stage = prepare.claim_preparation()
        assert stage is not None
        spans = [Span(10.0 * index, 10.0 * index + 10) for index in range(n_chunks)]
        planned = [PlannedChunk(streams=(span,), speech=(span,)) for span in spans]
        prepare.add_chunks(lease=lease_of(stage), job=job, planned=planned, first_index=0)
        prepare.finish_preparation(lease=lease_of(stage), job=job, duration=10.0 * n_chunks)
    queued.lose_messages()
    job.refresh_from_db()
    return job


def add_chunks(job: Job, n: int) -> None:
    Chunk.objects.bulk_create(
        Chunk(
            job=job,
            index=index,
            start=10.0 * index,
            end=10.0 * index + 10,
            streams=[[10.0 * index, 10.0 * index + 10]],
            speech=[[10.0 * index, 10.0 * index + 10]],
        )
        for index in range(n)
    )


def claim_chunk() -> Chunk:
    chunk = transcribe.claim_chunk(model_name=MODEL)
    assert chunk is not None
    return chunk


def commit_chunk(chunk: Chunk) -> None:
    said = TranscribedSegment(
        chunk.start, chunk.end, f"Part {chunk.index}.", (), -0.1, 0.0, 1.0, 0.0
    )
    transcribe.finish_chunk(
        lease=lease_of(chunk), chunk=chunk, segments=[said], engine="faster-whisper", device="cpu"
    )


def fail_chunk(chunk: Chunk, error: str) -> None:
    lifecycle.fail_work(lease=lease_of(chunk), job_id=chunk.job_id, error=error, can_retry=True)


def states(job: Job) -> list[str]:
    return list(job.chunks.order_by("index").values_list("state", flat=True))


def die() -> None:
    """Whatever is in hand, its worker is gone: it renews no lease."""
    past = timezone.now() - timedelta(seconds=1)
    for model in (Stage, Chunk):
        model._default_manager.filter(state=Leased.State.DOING).update(lease_until=past)
