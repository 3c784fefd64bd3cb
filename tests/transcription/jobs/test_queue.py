"""Jobs take turns, and who waits is told how many are before."""

from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from tests.media import repeated
from tests.rows import reload
from tests.running_jobs import midway
from tests.service import Service
from tests.transcription.builders import MODEL
from tests.transcription.jobs.builders import claim_chunk, commit_chunk, make_prepared_job
from tests.waiting_engine import RATE, SETTINGS
from transcription.jobs import lifecycle, prepare, retry_and_delete, status
from transcription.live import feed
from transcription.models import Job

pytestmark = pytest.mark.both

N_SHORT = 10
SECONDS_PER_SECOND = 0.01
"""How long the engine waits: for an hour 36 s."""

rows = pytest.mark.django_db(transaction=True)


def message(job: Job) -> str:
    said: str = status.status_document(reload(job))["message"]
    return said


# ---- Turns


@rows
def test_short_jobs_behind_a_long_one_are_done_long_before_it() -> None:
    make_prepared_job(n_chunks=90)
    short = [make_prepared_job(n_chunks=1) for _ in range(N_SHORT)]
    for _ in range(N_SHORT + 1):
        commit_chunk(claim_chunk())
    assert {reload(job).status for job in short} == {Job.Status.COMPLETED}


@rows
def test_jobs_that_come_while_others_are_served_take_their_turn_at_once() -> None:
    first = make_prepared_job(n_chunks=5)
    second = make_prepared_job(n_chunks=5)
    taken = [claim_chunk().job_id for _ in range(2)]
    third = make_prepared_job(n_chunks=5)
    taken += [claim_chunk().job_id for _ in range(4)]
    assert taken == [first.pk, second.pk, third.pk, first.pk, second.pk, third.pk]


@rows
def test_a_job_that_is_begun_again_queues_as_it_did_at_first() -> None:
    again, other = make_prepared_job(n_chunks=2), make_prepared_job(n_chunks=2)
    assert claim_chunk().job_id == again.pk
    assert retry_and_delete.rerun(job_id=again.pk)
    assert reload(again).served_at is None
    assert claim_chunk().job_id == other.pk


@pytest.mark.slow
def test_ten_short_recordings_sent_behind_an_hour_are_done_before_it(
    audio_dir: Path, tmp_path: Path
) -> None:
    hour = repeated(audio_dir / "reading-10min.flac", tmp_path / "hour.wav", seconds=3600)
    rate = {RATE: str(SECONDS_PER_SECOND)}
    with Service(tmp_path / "data", **SETTINGS, **rate) as service:
        long_job = service.upload(hour)
        midway(service, long_job)
        short = [service.upload(audio_dir / "jfk.flac") for _ in range(N_SHORT)]
        for job_id in short:
            assert service.finished(job_id)["status"] == "completed"
        status = service.status(long_job)
        assert (status["status"], status["progress"] < 50) == ("processing", True)
        assert service.client.post(f"/api/transcribe/cancel/{long_job}").status_code == 200


# ---- The place in the queue


@rows
def test_who_waits_is_told_the_place_in_the_queue(client: Client) -> None:
    waiting = [make_prepared_job(n_chunks=1) for _ in range(3)]
    assert [message(job) for job in waiting] == [
        f"Waiting for a worker (number {place} of 3 in the queue)" for place in (1, 2, 3)
    ]
    listed = client.get("/api/transcribe/jobs").json()["jobs"]
    assert [job["message"] for job in listed] == [message(job) for job in reversed(waiting)]
    assert client.get(f"/api/transcribe/status/{waiting[1].pk}").json()["message"] == message(
        waiting[1]
    )


@rows
def test_the_place_moves_up_as_others_are_served_or_cancelled() -> None:
    first, second, third = (make_prepared_job(n_chunks=2) for _ in range(3))
    assert claim_chunk().job_id == first.pk
    assert "number" not in message(first)
    assert "number 2 of 2" in message(third)
    lifecycle.cancel_job(job_id=second.pk)
    assert "number" not in message(second)
    assert "number 1 of 1" in message(third)


@rows
def test_a_recording_that_is_being_read_says_so_and_counts() -> None:
    reading, waiting = make_prepared_job(n_chunks=0), make_prepared_job(n_chunks=0)
    stage = prepare.claim_preparation()
    assert stage is not None
    assert stage.job_id == reading.pk
    assert message(reading) == "Reading the recording"
    assert "number 2 of 2" in message(waiting)


@rows
async def test_a_listener_hears_of_its_place() -> None:
    await sync_to_async(make_prepared_job)(n_chunks=1)
    job = await sync_to_async(make_prepared_job)(n_chunks=1)
    listener = feed.subscribe(job.pk, after=None)
    assert "number 2 of 2" in await anext(listener)
    await sync_to_async(claim_chunk)()
    assert "number 1 of 1" in await anext(listener)
    await listener.aclose()


@rows
def test_an_upload_is_answered_with_its_place(client: Client, audio_dir: Path) -> None:
    make_prepared_job(n_chunks=1)
    with (audio_dir / "2412-153948-0000.flac").open("rb") as file:
        answer = client.post("/api/transcribe/", {"file": file, "model_name": MODEL})
    assert answer.json()["message"] == "Waiting for a worker (number 2 of 2 in the queue)"
