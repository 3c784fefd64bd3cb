"""Jobs whose recording is stored and whose transcript is on rows, as if it had been transcribed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from tests.transcription.media import Samples, samples_of
from transcription.models import Chunk, Job, Leased, Recording, Segment, Stage
from transcription.recordings import SamplesWriter, folder

AUDIO = Path(__file__).parent.parent / "audio"
RATE = 16_000
Said = Sequence[tuple[float, float, str, str | None]]
JFK: Said = (
    (0.3, 2.5, "And so my fellow Americans", "SPEAKER_1"),
    (3.3, 7.6, "Ask what your country can do for you.", "SPEAKER_2"),
    (8.2, 10.6, "Ask not what you can do for your country.", "SPEAKER_1"),
)
"""Seconds, seconds, what a poor model heard, and who was thought to say it."""


def make_job(
    samples: Samples | None = None,
    said: Said = JFK,
    *,
    status: Job.Status = Job.Status.COMPLETED,
    language: str = "en",
) -> Job:
    """A completed job; without samples its recording is jfk.flac."""
    samples = samples_of(AUDIO / "jfk.flac") if samples is None else samples
    duration = len(samples) / RATE
    recording = Recording(name="a.flac", size=1, duration=duration)
    recording.file.name = default_storage.save(
        f"{folder(recording)}/original.flac", ContentFile(b"abc")
    )
    recording.save()
    writer = SamplesWriter(recording)
    writer.write(samples)
    writer.flush()
    job = Job.objects.create(
        recording=recording, status=status, model_name="tiny.en", language=language, diarize=False
    )
    Stage.objects.create(job=job, kind=Stage.Kind.PREPARE, state=Leased.State.DONE)
    spans = [[start, end] for start, end, _, _ in said]
    chunk = Chunk.objects.create(
        job=job,
        index=0,
        start=0.0,
        end=duration,
        streams=[[0.0, duration]],
        speech=spans,
        state=Leased.State.DONE,
    )
    for start, end, text, speaker in said:
        add_segment(chunk, start, end, text, speaker)
    return job


def add_segment(chunk: Chunk, start: float, end: float, text: str, speaker: str | None) -> Segment:
    written = text.split()
    step = (end - start) / len(written)
    words: list[dict[str, Any]] = [
        {
            "start": round(start + n * step, 3),
            "end": round(start + (n + 1) * step, 3),
            "text": f" {word}",
            "probability": 0.9,
        }
        for n, word in enumerate(written)
    ]
    return Segment.objects.create(
        job_id=chunk.job_id,
        chunk=chunk,
        start=start,
        end=end,
        text=text,
        speaker=speaker,
        words=words,
        avg_logprob=-0.25,
        no_speech_prob=0.01,
        compression_ratio=1.2,
        temperature=0.0,
    )
