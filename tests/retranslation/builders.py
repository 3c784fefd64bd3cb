"""Jobs with stored recordings, retranslations as clients request them, and proposals as workers leave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from retranslation import proposals, services, work
from retranslation.models import Retranslation
from retranslation.services import RequestedRange
from tests.media import Samples, samples_of
from tests.transcription.builders import add_segment, words_of
from transcription.leasing.work import Outcome
from transcription.models import Chunk, Job, Leased, Recording, Stage
from transcription.recordings import SamplesWriter, folder
from transcription.speech.engines.base import SAMPLE_RATE, Span

AUDIO = Path(__file__).parent.parent / "audio"
MODEL = "tiny.en"
ONE, TWO = "SPEAKER_1", "SPEAKER_2"
ASK = Span(2.8, 7.9)
"""Where `Ask not what your country can do for you` is said in jfk.flac."""
JFK: tuple[tuple[float, float, str, str], ...] = (
    (0.3, 2.5, "And so my fellow Americans", ONE),
    (3.3, 7.6, "Ask what your country can do for you.", TWO),
    (8.2, 10.6, "Ask not what you can do for your country.", ONE),
)
"""Start, end, text and speaker of jfk.flac's segments, with mistakes of a poor model."""


# ---- Jobs


def make_recorded_job(
    samples: Samples | None = None,
    segments: Sequence[tuple[float, float, str, str]] = JFK,
    *,
    status: Job.Status = Job.Status.COMPLETED,
    language: str = "en",
) -> Job:
    """A completed job whose samples are stored, of jfk.flac by default."""
    samples = samples_of(AUDIO / "jfk.flac") if samples is None else samples
    duration = len(samples) / SAMPLE_RATE
    recording = Recording(name="a.flac", size=1, duration=duration)
    recording.file.name = default_storage.save(
        f"{folder(recording)}/original.flac", ContentFile(b"abc")
    )
    recording.save()
    writer = SamplesWriter(recording)
    writer.write(samples)
    writer.flush()
    job = Job.objects.create(
        recording=recording, status=status, model_name=MODEL, language=language, diarize=False
    )
    Stage.objects.create(job=job, kind=Stage.Kind.PREPARE, state=Leased.State.DONE)
    chunk = Chunk.objects.create(
        job=job,
        index=0,
        start=0.0,
        end=duration,
        streams=[[0.0, duration]],
        speech=[[start, end] for start, end, _, _ in segments],
        state=Leased.State.DONE,
    )
    for start, end, text, speaker in segments:
        add_segment(chunk, text, start, end=end, speaker=speaker)
    return job


# ---- Requests


def request_range(
    job: Job,
    span: Span = ASK,
    *,
    segment_id: str = "seg-1",
    model_name: str = MODEL,
    language: str = "",
) -> Retranslation:
    requested = RequestedRange(segment_id, span, model_name, language, asked_by="somebody")
    return services.request_range(job=job, requested=requested)


def transcribe_next() -> Outcome | None:
    return work.transcribe_next(services.claimable_requests(), wake=services.wake_workers)


# ---- Proposals


def make_proposal(
    job: Job | None,
    start: float,
    end: float,
    text: str,
    *,
    at: float | None = None,
    segment_id: object = "seg-1",
    **fields: Any,
) -> Retranslation:
    """A finished retranslation of a range, each word a second long, the first at `at` or the range's start."""
    retranslation = Retranslation.objects.create(
        job=job,
        segment_id=str(segment_id),
        start=start,
        end=end,
        model_name="base",
        model_used="base",
        asked_by="ann",
        state=Leased.State.DONE,
        text=text,
        words=words_of(text, start if at is None else at),
        confidence=0.9 if text else None,
        **fields,
    )
    proposals.save_proposal(retranslation=retranslation)
    return retranslation


def accept(retranslation: Retranslation) -> dict[str, Any]:
    return proposals.accept(retranslation_id=retranslation.pk, decided_by="bob")


def reject(retranslation: Retranslation) -> dict[str, Any]:
    return proposals.reject(retranslation_id=retranslation.pk, decided_by="bob")


def undo(retranslation: Retranslation) -> dict[str, Any]:
    return proposals.undo(retranslation_id=retranslation.pk, decided_by="bob")
