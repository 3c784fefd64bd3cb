"""Jobs on rows alone, as an operator meets them."""

from datetime import timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from transcription.models import Chunk, Diarization, Job, Leased, Recording, Segment, Stage


def make_job(name: str = "meeting.flac", status: Job.Status = Job.Status.COMPLETED) -> Job:
    recording = Recording(name=name, size=3, duration=100.0)
    folder = f"recordings/{recording.id}"
    recording.file.name = default_storage.save(f"{folder}/original.flac", ContentFile(b"abc"))
    default_storage.save(f"{folder}/samples-00000.s16", ContentFile(b"abcd"))
    recording.save()
    now = timezone.now()
    job = Job.objects.create(
        recording=recording,
        status=status,
        model_name="tiny.en",
        requested_language="en",
        language="en",
        engine="faster-whisper",
        message="All is said",
        progress=100,
        started_at=now - timedelta(seconds=25),
        finished_at=None if status in Job.ACTIVE else now,
    )
    Stage.objects.create(job=job, kind=Stage.Kind.PREPARE, state=Leased.State.DONE)
    Diarization.objects.create(
        job=job,
        engine="pyannote",
        model="by hand",
        device="cpu",
        turns=[[0, 61.5, "SPEAKER_1"]],
        exclusive=[[0, 61.5, "SPEAKER_1", None], [61.5, 62, "SPEAKER_2", 0.5]],
        centroids={"SPEAKER_1": [0.123456]},
    )
    return job


def add_chunk(
    job: Job, index: int, *, n_segments: int = 1, state: Leased.State = Leased.State.DONE
) -> Chunk:
    chunk = Chunk.objects.create(
        job=job,
        index=index,
        start=10.0 * index,
        end=10.0 * index + 10,
        streams=[],
        speech=[],
        state=state,
        attempts=2,
    )
    Segment.objects.bulk_create(
        Segment(job=job, chunk=chunk, start=i, end=i + 1, text=f"Part {i}", words=[])
        for i in range(n_segments)
    )
    return chunk
