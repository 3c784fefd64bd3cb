"""The timeline on a job's page in the admin."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.admin_pages import changelist, page_of
from tests.transcription.admin.builders import make_job
from transcription.admin.timeline import END_CHUNKS, MAX_EDITS, MAX_NOTABLE, Event
from transcription.editing import services
from transcription.jobs import retry_and_delete
from transcription.models import Chunk, Job, Leased, Recording, Segment, Stage

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def at_second(job: Job, seconds: float) -> datetime:
    return job.created_at + timedelta(seconds=seconds)


def make_chunk(job: Job, index: int, **values: Any) -> Chunk:
    """Create a chunk; by default it started 10 + 2 * `index` seconds after the upload and took 2 s."""
    fields: dict[str, Any] = {
        "state": Leased.State.DONE,
        "attempts": 1,
        "worker": "speech-1:4026531836/4711/1700000000.25/0123456789ab",
        "started_at": at_second(job, 10 + 2 * index),
        "finished_at": at_second(job, 12 + 2 * index),
    }
    return Chunk.objects.create(
        job=job,
        index=index,
        start=60.0 * index,
        end=60.0 * (index + 1),
        streams=[],
        speech=[],
        **{**fields, **values},
    )


def make_started_job(status: Job.Status = Job.Status.COMPLETED, *, ended: float = 60.0) -> Job:
    """Create a job without stages, chunks or diarization; `ended` is in seconds after its upload."""
    job = make_job(status=status)
    job.stages.all().delete()
    job.diarization.delete()
    job.started_at = at_second(job, 1)
    job.finished_at = None if status in Job.ACTIVE else at_second(job, ended)
    job.save()
    return job


def events(client: Client, job: Job) -> list[Event]:
    answer = client.get(page_of(job))
    assert answer.status_code == 200
    found: list[Event] = answer.context["timeline"].events
    return found


def test_events_are_in_order_of_time(admin_client: Client) -> None:
    job = make_started_job()
    Stage.objects.create(
        job=job,
        kind=Stage.Kind.PREPARE,
        state=Leased.State.DONE,
        attempts=1,
        started_at=at_second(job, 1),
        finished_at=at_second(job, 9.5),
    )
    first = make_chunk(job, 0)
    failed = make_chunk(
        job, 1, state=Leased.State.FAILED, attempts=3, failures=3, error="no memory <left>"
    )
    Segment.objects.create(job=job, chunk=first, start=0, end=1, text="Hello")
    edited = services.change(
        segment_id=job.segments.get().pk,
        values={"text": "Hallo"},
        was={"text": "Hello"},
        done_by="Ann",
    )
    assert edited.edit is not None
    job.edits.update(created_at=at_second(job, 3600))
    services.undo(job_id=job.pk, edit_id=edited.edit.pk, done_by="Bob")
    job.edits.update(undone_at=at_second(job, 7200))

    found = events(admin_client, job)
    assert [event.title for event in found] == [
        "Uploaded",
        "Started",
        "Preparation",
        "Chunk 0: 00:00:00 – 00:01:00",
        "Chunk 1: 00:01:00 – 00:02:00",
        "Completed",
        "Edit (text)",
        "Edit undone (text)",
    ]
    assert [event.since_upload for event in found][2:6] == [
        "00:00:01",
        "00:00:10",
        "00:00:12",
        "00:01:00",
    ]
    assert [event.took for event in found][2:5] == ["00:00:08.500", "00:00:02.000", "00:00:02.000"]
    assert (found[4].attempts, found[4].failures, found[4].details) == (3, 3, "no memory <left>")
    assert (found[4].by, found[6].by, found[7].by) == ("speech-1/4711", "Ann", "Bob")
    assert found[6].details == "“Hello” → “Hallo”"

    page = admin_client.get(page_of(job)).content.decode()
    for text in (
        "2 chunks: 1 done, 1 failed.",
        "no memory &lt;left&gt;",
        page_of(failed),
        changelist("chunk", f"?job__id__exact={job.pk}"),
        changelist("edit", f"?job__id__exact={job.pk}"),
        '<tr class="failed">',
    ):
        assert text in page


def test_running_lost_and_unstarted_work_is_told_apart(
    admin_client: Client,
) -> None:
    job = make_started_job(Job.Status.RUNNING)
    now = timezone.now()
    doing = {"state": Leased.State.DOING, "started_at": now - timedelta(seconds=30)}
    make_chunk(job, 0, **doing, finished_at=None, lease_until=now + timedelta(seconds=60))
    make_chunk(job, 1, **doing, finished_at=None, lease_until=now - timedelta(seconds=60))
    make_chunk(job, 2, state=Leased.State.TODO, failures=1, error="no memory")
    make_chunk(job, 3, state=Leased.State.TODO, attempts=0, started_at=None, finished_at=None)
    Stage.objects.create(job=job, kind=Stage.Kind.DIARIZE)

    found = {event.title.split(":")[0]: event for event in events(admin_client, job)}
    assert "Chunk 3" not in found
    assert found["Chunk 0"].state == "doing"
    assert (found["Chunk 0"].seconds or 0) >= 30
    assert found["Chunk 1"].state == "lost"
    assert (found["Chunk 2"].state, found["Chunk 2"].details) == ("todo", "no memory")
    assert found["Diarization"].at is None
    assert list(found)[-1] == "Diarization"
    page = admin_client.get(page_of(job)).content.decode()
    assert "4 chunks: 2 doing, 1 waiting, 1 to be retried." in page
    assert "not started" in page


def test_work_that_was_reset_is_not_shown_as_done(admin_client: Client) -> None:
    job = make_started_job(Job.Status.FAILED)
    make_chunk(job, 0)
    make_chunk(job, 1, state=Leased.State.FAILED, attempts=3, failures=3, error="no memory")
    assert retry_and_delete.retry_failed(job_id=job.pk)
    assert [event.title for event in events(admin_client, job)] == [
        "Uploaded",
        "Started",
        "Chunk 0: 00:00:00 – 00:01:00",
    ]
    assert retry_and_delete.rerun(job_id=job.pk)
    found = events(admin_client, job)
    assert found[0].title == "Uploaded"
    assert [event.at for event in found[1:]] == [None], "the pending diarization"
    Job.objects.filter(pk=job.pk).update(started_at=at_second(job, 99))
    assert events(admin_client, job)[1].details == "run 2: restarted from scratch"


def test_a_long_job_shows_its_first_last_and_failed_chunks(admin_client: Client) -> None:
    job = make_started_job(ended=1000.0)
    for index in range(300):
        make_chunk(job, index, attempts=3 if index in (120, 130) else 1)
    shown = [event.title for event in events(admin_client, job) if event.title.startswith("Chunk")]
    indexes = [int(what.split()[1].rstrip(":")) for what in shown]
    assert indexes == [*range(END_CHUNKS), 120, 130, *range(300 - END_CHUNKS, 300)]
    page = admin_client.get(page_of(job)).content.decode()
    assert "300 chunks: 300 done." in page
    assert "248 are not shown" in page

    job.chunks.update(attempts=2)
    answer = admin_client.get(page_of(job))
    chunks = [event for event in answer.context["timeline"].events if event.attempts]
    assert len(chunks) == MAX_NOTABLE + END_CHUNKS
    assert f"{300 - len(chunks)} are not shown" in answer.content.decode()
    assert f"the first {MAX_NOTABLE} of those" in answer.content.decode()


def test_only_the_last_of_many_edits_are_shown(admin_client: Client) -> None:
    job = make_started_job()
    chunk = make_chunk(job, 0)
    segment = Segment.objects.create(job=job, chunk=chunk, start=0, end=1, text="Part 0")
    for n in range(MAX_EDITS + 5):
        was = {"text": f"Part {n}"}
        services.change(
            segment_id=segment.pk, values={"text": f"Part {n + 1}"}, was=was, done_by="Ann"
        )
    said = [event.details for event in events(admin_client, job) if event.by == "Ann"]
    assert len(said) == MAX_EDITS
    assert said[-1] == "“Part 29” → “Part 30”"
    page = admin_client.get(page_of(job)).content.decode()
    assert "The last 25 of 30 edits are shown." in page


def test_a_new_job_has_a_timeline_too(admin_client: Client) -> None:
    recording = Recording.objects.create(name="a.flac", size=1)
    job = Job.objects.create(recording=recording, model_name="tiny.en")
    assert [event.title for event in events(admin_client, job)] == ["Uploaded"]
