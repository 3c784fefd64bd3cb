"""Makes an archive of an installation of the present version: jobs in every state, with all that people make of them.

`python -m tests.installations.making NAME` writes tests/installations/NAME.tar.xz: a data folder, with `expected.json`,
what the API answers about it, which it must answer after every upgrade too.
"""

import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import django

HERE = Path(__file__).parent
AUDIO = HERE.parent / "audio"
CHUNK_SECONDS, N_CHUNKS = 10, 3


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        os.environ |= {
            "TRANSCRIBER_DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": "tests.waiting_settings",
            "DATABASE_URL": "",
        }
        django.setup()
        from django.core.management import call_command
        from django.db import connection

        from transcription import access

        access.become_service()
        call_command("migrate", verbosity=0)
        expected = fill()
        (data_dir / "expected.json").write_text(json.dumps(expected, indent=1))
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute("VACUUM")
        connection.close()
        with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as archive:
            for path in ("transcriber.sqlite3", "files", "expected.json"):
                archive.add(data_dir / path, path)


def fill() -> dict[str, Any]:
    """Make jobs of all kinds; returns what the API answers, by path, and the ids of what is under way."""
    from tests.transcription.jobs.builders import claim_chunk, commit_chunk, die, fail_chunk
    from transcription.jobs import lifecycle
    from transcription.models import Job

    completed = make_completed()
    failed = make_prepared("failed")
    for _ in range(3):
        fail_chunk(claim_chunk(), "The weights are damaged.")
    cancelled = make_prepared("cancelled")
    commit_chunk(claim_chunk())
    lifecycle.cancel_job(job_id=cancelled.pk)
    running = make_prepared("running")
    commit_chunk(claim_chunk())
    claim_chunk()  # by a worker that is no more
    queued = make_queued()
    die()
    states = {str(job.pk): Job.objects.get(pk=job.pk).status for job in (failed, cancelled)}
    assert set(states.values()) == {"failed", "cancelled"}, states
    assert Job.objects.get(pk=running.pk).status == "running"
    summaries = make_summaries(completed)
    batch = make_retranslations(completed)
    paths = [
        *(
            f"/api/transcribe/result/{job.pk}?words=true&partial=true"
            for job in (completed, failed, cancelled)
        ),
        *(f"/api/transcribe/status/{job.pk}" for job in (completed, failed, cancelled)),
        f"/api/transcribe/edits/{completed.pk}",
        f"/api/summary/{summaries['completed']}",
        *(f"/api/retranslate/{pk}" for pk in decided()),
        f"/api/transcribe/export/{completed.pk}?format=srt",
    ]
    return {
        "answers": {path: answer(path) for path in paths},
        "done segments": answer(f"/api/transcribe/result/{running.pk}?partial=true"),
        "running": str(running.pk),
        "queued": str(queued.pk),
        "summary": summaries["todo"],
        "batch": str(batch),
    }


def answer(path: str) -> Any:
    from django.test import Client

    response = Client(headers={"host": "localhost"}).get(path)
    assert response.status_code == 200, (path, response.content)
    content = b"".join(response) if response.streaming else response.content
    is_json = response["Content-Type"].startswith("application/json")
    return json.loads(content) if is_json else content.decode()


# ---- Jobs


def store_recording(name: str) -> Any:
    """A recording of half a minute whose samples are stored; nothing in it can be heard, and it takes no space."""
    import numpy as np
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    from transcription.models import Recording
    from transcription.recordings import SamplesWriter, folder
    from transcription.speech.engines.base import SAMPLE_RATE

    recording = Recording(name=f"{name}.flac", size=3, container="flac", codec="flac")
    recording.file.name = default_storage.save(
        f"{folder(recording)}/original.flac", ContentFile(b"abc")
    )
    writer = SamplesWriter(recording)
    seconds = CHUNK_SECONDS * N_CHUNKS
    writer.write((np.arange(seconds * SAMPLE_RATE) % 4001).astype(np.int16))
    writer.flush()
    return recording


def make_prepared(name: str) -> Any:
    """A job whose recording is prepared and whose chunks wait."""
    from tests.transcription.builders import MODEL, lease_of
    from transcription.jobs import lifecycle, prepare
    from transcription.speech.chunks import PlannedChunk
    from transcription.speech.engines.base import Span

    job = lifecycle.create_job(
        recording=store_recording(name), model_name=MODEL, language="en", diarize=False
    )
    stage = prepare.claim_preparation()
    assert stage is not None
    spans = [Span(1.0 * CHUNK_SECONDS * n, 1.0 * CHUNK_SECONDS * (n + 1)) for n in range(N_CHUNKS)]
    planned = [PlannedChunk(streams=(span,), speech=(span,)) for span in spans]
    prepare.add_chunks(lease=lease_of(stage), job=job, planned=planned, first_index=0)
    prepare.finish_preparation(
        lease=lease_of(stage), job=job, duration=1.0 * CHUNK_SECONDS * N_CHUNKS
    )
    return job


def make_queued() -> Any:
    """A job with a real recording that nobody has begun."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    from tests.media import RATE, samples_of, write
    from tests.transcription.builders import MODEL
    from transcription.jobs import lifecycle
    from transcription.models import Recording
    from transcription.recordings import folder

    with tempfile.TemporaryDirectory() as temporary:
        speech = samples_of(AUDIO / "jfk.flac")[: 6 * RATE]
        data = write(Path(temporary) / "queued.mp3", speech, codec="mp3").read_bytes()
    recording = Recording(name="queued.mp3", size=len(data), container="mp3", codec="mp3")
    recording.file.name = default_storage.save(
        f"{folder(recording)}/original.mp3", ContentFile(data)
    )
    return lifecycle.create_job(recording=recording, model_name=MODEL, language="en", diarize=False)


def make_completed() -> Any:
    """A completed job with speakers, edits of each kind, and one that was undone."""
    from tests.transcription.builders import MODEL, add_chunk, add_segment, diarize_job
    from tests.transcription.editing.builders import (
        change_segment,
        merge_segments,
        remove_segment,
        rename_speaker,
        segment_with_text,
        split_segment,
        undo_edit,
    )
    from transcription.jobs import lifecycle
    from transcription.models import Job, Leased, Recording, Stage

    job = lifecycle.create_job(
        recording=store_recording("completed"), model_name=MODEL, language="en", diarize=True
    )
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DONE)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.RUNNING, started_at=job.created_at)
    Recording.objects.filter(pk=job.recording_id).update(duration=1.0 * CHUNK_SECONDS * N_CHUNKS)
    chunk = add_chunk(job, 0, state=Leased.State.DONE)
    start = 0.0
    for text in (
        "how are you today",
        "fine thanks and you",
        "good to hear",
        "see you soon",
        "bye now",
    ):
        start = add_segment(chunk, text, start).end
    job.refresh_from_db()
    diarize_job(job, [(0.0, 4.0, "A"), (4.0, 8.0, "B"), (8.0, start, "A")])
    speaker = str(segment_with_text(job, "how are you today").speaker)
    rename_speaker(job, speaker, "Ann")
    change_segment(segment_with_text(job, "good to hear"), text="That is good to hear.")
    undo_edit(job, change_segment(segment_with_text(job, "see you soon"), text="See you."))
    split_segment(segment_with_text(job, "fine thanks and you"), 4)
    merge_segments(segment_with_text(job, "fine"))
    remove_segment(segment_with_text(job, "bye now"))
    return job


def make_summaries(job: Any) -> dict[str, str]:
    """A completed, a failed and a waiting summary of the job; their ids."""
    from tests.summaries.builders import make_summary
    from transcription.models import Leased

    transcript = {"language": "en", "passages": [["How are you today?", 0.0, 4.0, "Ann"]]}
    done = make_summary(
        transcription=job,
        state=Leased.State.DONE,
        progress=100,
        summary="They greet.",
        length=2,
        topics=["greeting"],
        transcript={},
        message="Completed",
        finished_at=job.created_at,
    )
    failed = make_summary(
        transcription=job,
        state=Leased.State.FAILED,
        error="No such model.",
        message="No such model.",
    )
    todo = make_summary(transcription=job, transcript=transcript, message="Waiting")
    return {"completed": str(done.pk), "failed": str(failed.pk), "todo": str(todo.pk)}


def make_retranslations(job: Any) -> Any:
    """One accepted, one rejected, one proposed, and a batch with one that waits; the batch's id."""
    from retranslation.models import Batch, Retranslation
    from tests.retranslation.builders import accept, make_proposal, reject
    from tests.transcription.builders import MODEL

    accept(make_proposal(job, 0.0, 4.0, "how are you all", segment_id="first"))
    reject(make_proposal(job, 12.0, 15.0, "see them soon", segment_id="second"))
    make_proposal(job, 12.0, 15.0, "see us soon", segment_id="third")
    batch = Batch.objects.create(job=job, model_name=MODEL)
    Retranslation.objects.create(
        job=job,
        batch=batch,
        segment_id="fourth",
        start=8.0,
        end=12.0,
        model_name=MODEL,
        requested_language="en",
    )
    return batch.pk


def decided() -> list[str]:
    """The retranslations that are made."""
    from retranslation.models import Retranslation
    from transcription.models import Leased

    made = Retranslation.objects.filter(state=Leased.State.DONE)
    return [str(pk) for pk in made.values_list("pk", flat=True)]


if __name__ == "__main__":
    main(sys.argv[1])
