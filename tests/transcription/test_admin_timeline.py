"""What happened to a job, as its page in the admin tells it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.transcription.operated import changelist, make_job, page_of
from transcription.admin.timeline import END_CHUNKS, MOST_EDITS, MOST_NOTABLE, Event
from transcription.editing import services
from transcription.jobs import retry_and_delete
from transcription.models import Chunk, Job, Leased, Recording, Segment, Stage

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def begun_at(job: Job, seconds: float) -> datetime:
    return job.created_at + timedelta(seconds=seconds)


def make_chunk(job: Job, index: int, **values: Any) -> Chunk:
    """A chunk that was begun ten seconds after the upload and took two, unless `values` say otherwise."""
    fields: dict[str, Any] = {
        "state": Leased.State.DONE,
        "attempts": 1,
        "worker": "speech-1:4026531836/4711/1700000000.25/0123456789ab",
        "started_at": begun_at(job, 10 + 2 * index),
        "finished_at": begun_at(job, 12 + 2 * index),
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


def make_job_begun(status: Job.Status = Job.Status.COMPLETED, *, ended: float = 60.0) -> Job:
    """A job of which nothing is known yet but when it was begun and ended, in seconds after its upload."""
    job = make_job(status=status)
    job.stages.all().delete()
    job.diarization.delete()
    job.started_at = begun_at(job, 1)
    job.finished_at = None if status in Job.ACTIVE else begun_at(job, ended)
    job.save()
    return job


def events(client: Client, job: Job) -> list[Event]:
    answer = client.get(page_of(job))
    assert answer.status_code == 200
    found: list[Event] = answer.context["timeline"].events
    return found


def test_it_tells_what_happened_in_order_of_time(admin_client: Client) -> None:
    job = make_job_begun()
    Stage.objects.create(
        job=job,
        kind=Stage.Kind.PREPARE,
        state=Leased.State.DONE,
        attempts=1,
        started_at=begun_at(job, 1),
        finished_at=begun_at(job, 9.5),
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
    job.edits.update(created_at=begun_at(job, 3600))
    services.undo(job_id=job.pk, edit_id=edited.edit.pk, done_by="Bob")
    job.edits.update(undone_at=begun_at(job, 7200))

    found = events(admin_client, job)
    assert [event.what for event in found] == [
        "Uploaded",
        "Begun",
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
    assert (found[4].attempts, found[4].failures, found[4].said) == (3, 3, "no memory <left>")
    assert (found[4].by, found[6].by, found[7].by) == ("speech-1/4711", "Ann", "Bob")
    assert found[6].said == "“Hello” → “Hallo”"

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


def test_it_tells_what_is_being_done_and_what_was_lost_and_what_has_not_begun(
    admin_client: Client,
) -> None:
    job = make_job_begun(Job.Status.RUNNING)
    now = timezone.now()
    doing = {"state": Leased.State.DOING, "started_at": now - timedelta(seconds=30)}
    make_chunk(job, 0, **doing, finished_at=None, lease_until=now + timedelta(seconds=60))
    make_chunk(job, 1, **doing, finished_at=None, lease_until=now - timedelta(seconds=60))
    make_chunk(job, 2, state=Leased.State.TODO, failures=1, error="no memory")
    make_chunk(job, 3, state=Leased.State.TODO, attempts=0, started_at=None, finished_at=None)
    Stage.objects.create(job=job, kind=Stage.Kind.DIARIZE)

    found = {event.what.split(":")[0]: event for event in events(admin_client, job)}
    assert "Chunk 3" not in found
    assert found["Chunk 0"].state == "doing"
    assert (found["Chunk 0"].seconds or 0) >= 30
    assert found["Chunk 1"].state == "lost"
    assert (found["Chunk 2"].state, found["Chunk 2"].said) == ("todo", "no memory")
    assert found["Finding out who speaks"].at is None
    assert list(found)[-1] == "Finding out who speaks"
    page = admin_client.get(page_of(job)).content.decode()
    assert "4 chunks: 2 doing, 1 waiting, 1 to be tried again." in page
    assert "not begun" in page


def test_what_is_to_be_done_anew_is_not_told_as_done(admin_client: Client) -> None:
    job = make_job_begun(Job.Status.FAILED)
    make_chunk(job, 0)
    make_chunk(job, 1, state=Leased.State.FAILED, attempts=3, failures=3, error="no memory")
    assert retry_and_delete.retry_failed(job_id=job.pk)
    assert [event.what for event in events(admin_client, job)] == [
        "Uploaded",
        "Begun",
        "Chunk 0: 00:00:00 – 00:01:00",
    ]
    assert retry_and_delete.rerun(job_id=job.pk)
    found = events(admin_client, job)
    assert found[0].what == "Uploaded"
    assert [event.at for event in found[1:]] == [None], "that it is to find out who speaks"
    Job.objects.filter(pk=job.pk).update(started_at=begun_at(job, 99))
    assert events(admin_client, job)[1].said == "run 2: all was begun again"


def test_of_a_long_job_it_shows_the_ends_and_what_went_wrong(admin_client: Client) -> None:
    job = make_job_begun(ended=1000.0)
    for index in range(300):
        make_chunk(job, index, attempts=3 if index in (120, 130) else 1)
    shown = [event.what for event in events(admin_client, job) if event.what.startswith("Chunk")]
    indexes = [int(what.split()[1].rstrip(":")) for what in shown]
    assert indexes == [*range(END_CHUNKS), 120, 130, *range(300 - END_CHUNKS, 300)]
    page = admin_client.get(page_of(job)).content.decode()
    assert "300 chunks: 300 done." in page
    assert "248 are left out" in page

    job.chunks.update(attempts=2)
    answer = admin_client.get(page_of(job))
    chunks = [event for event in answer.context["timeline"].events if event.attempts]
    assert len(chunks) == MOST_NOTABLE + END_CHUNKS
    assert f"{300 - len(chunks)} are left out" in answer.content.decode()
    assert f"the first {MOST_NOTABLE} of those" in answer.content.decode()


def test_of_many_edits_it_shows_the_last(admin_client: Client) -> None:
    job = make_job_begun()
    chunk = make_chunk(job, 0)
    segment = Segment.objects.create(job=job, chunk=chunk, start=0, end=1, text="Part 0")
    for n in range(MOST_EDITS + 5):
        was = {"text": f"Part {n}"}
        services.change(
            segment_id=segment.pk, values={"text": f"Part {n + 1}"}, was=was, done_by="Ann"
        )
    said = [event.said for event in events(admin_client, job) if event.by == "Ann"]
    assert len(said) == MOST_EDITS
    assert said[-1] == "“Part 29” → “Part 30”"
    page = admin_client.get(page_of(job)).content.decode()
    assert "Of 30 edits the last 25 are shown." in page


def test_it_is_shown_before_anything_has_happened(admin_client: Client) -> None:
    recording = Recording.objects.create(name="a.flac", size=1)
    job = Job.objects.create(recording=recording, model_name="tiny.en")
    assert [event.what for event in events(admin_client, job)] == ["Uploaded"]
