"""Jobs on rows alone whose transcripts wait for their speakers: words of one second, turns by hand."""

from collections.abc import Sequence
from typing import Any

from tests.rows import reload
from transcription.jobs import diarize, lifecycle
from transcription.leasing.leases import Lease
from transcription.models import Chunk, Job, Leased, Recording, Segment, Stage
from transcription.speech.diarization.base import Diarization as Found
from transcription.speech.diarization.base import Turn

MODEL = "tiny.en"
Turns = Sequence[tuple[float, float, str]]


def make_job(*texts: str, diarize: bool = True, file: str = "a.flac") -> Job:
    """A job under way whose chunks are done, a segment for each text, one after the other."""
    recording = Recording(name="a.flac", size=1, file=file, duration=600.0)
    job = lifecycle.create_job(
        recording=recording, model_name=MODEL, language="en", diarize=diarize, count=None
    )
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DONE)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.RUNNING, started_at=job.created_at)
    chunk = add_chunk(job, 0, state=Leased.State.DONE)
    start = 0.0
    for text in texts:
        start = add_segment(chunk, text, start).end
    job.refresh_from_db()
    return job


def make_ended_job(
    *texts: str, name: str = "a.flac", status: Job.Status = Job.Status.COMPLETED
) -> Job:
    """A job in this state with a segment for each text, one after the other."""
    recording = Recording.objects.create(name=name, size=1, file="a.flac", duration=600.0)
    job = Job.objects.create(recording=recording, model_name=MODEL, status=status)
    chunk = add_chunk(job, 0, state=Leased.State.DONE)
    start = 0.0
    for text in texts:
        start = add_segment(chunk, text, start).end
    return job


def add_chunk(job: Job, index: int, *, state: Leased.State = Leased.State.TODO) -> Chunk:
    return Chunk.objects.create(
        job=job, index=index, start=0.0, end=600.0, streams=[], speech=[], state=state
    )


def words_of(text: str, start: float, *, seconds: float = 1.0) -> list[dict[str, Any]]:
    """The words of a text one after the other, each of this length."""
    return [
        {
            "start": start + n * seconds,
            "end": start + (n + 1) * seconds,
            "text": f" {word}",
            "probability": 0.9,
        }
        for n, word in enumerate(text.split())
    ]


def add_segment(
    chunk: Chunk, text: str, start: float, *, end: float | None = None, speaker: str | None = None
) -> Segment:
    """A segment whose words fill it, each of them a second long unless `end` is given."""
    n_words = len(text.split())
    end = start + n_words if end is None else end
    words = words_of(text, start, seconds=(end - start) / n_words) if n_words else []
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
        compression_ratio=1.5,
        temperature=0.0,
    )


def claim_diarization() -> Stage:
    stage = diarize.claim_diarization()
    assert stage is not None
    return stage


def lease_of(row: Leased) -> Lease:
    return Lease(row, condition=lifecycle.active_job_filter)


def commit_diarization(stage: Stage, turns: Turns) -> None:
    exclusive = tuple(Turn(*turn) for turn in turns)
    diarize.finish_diarization(
        lease=lease_of(stage),
        job=stage.job,
        found=Found(exclusive, exclusive, {name: (0.5, 0.25) for _, _, name in turns}),
        engine="pyannote",
        model="by hand",
        device="cpu",
    )


def diarize_job(job: Job, turns: Turns) -> None:
    """Let these people speak in the job's recording, again if it is completed."""
    if reload(job).status == Job.Status.COMPLETED:
        assert diarize.request_diarization(job_id=job.pk)
    commit_diarization(claim_diarization(), turns)
    assert reload(job).status == Job.Status.COMPLETED


def spoken(job: Job) -> list[tuple[str, str | None]]:
    return [(segment.text, segment.speaker) for segment in job.segments.all()]


def rows(job: Job) -> list[dict[str, Any]]:
    """The segments with their ids and all other columns, in order."""
    columns = [field.attname for field in Segment._meta.concrete_fields]
    columns.remove("job_id")
    return list(job.segments.order_by("start", "pk").values(*columns))


def texts(job: Job) -> list[str]:
    return list(job.segments.order_by("start", "pk").values_list("text", flat=True))


def ids(job: Job) -> list[int]:
    return list(job.segments.values_list("pk", flat=True))


def facts(segment: Segment) -> dict[str, Any]:
    """All of a segment but who says it."""
    names = (field.attname for field in segment._meta.concrete_fields)
    left_out = ("speaker", "speaker_confidence", "phrase")
    return {name: getattr(segment, name) for name in names if name not in left_out}
