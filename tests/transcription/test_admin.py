"""What an operator sees and does in the admin."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from transcription.admin import MOST_INLINE_ROWS
from transcription.models import Chunk, Diarization, Job, Leased, Recording, Segment, Stage

pytestmark = pytest.mark.django_db

MODELS = ["recording", "job", "stage", "chunk", "segment", "diarization"]
MOST_QUERIES = 15  # a page's own, its filters', the session's and the user's


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path) -> Iterator[None]:
    hasher = "django.contrib.auth.hashers.MD5PasswordHasher"  # the others take their time
    with override_settings(MEDIA_ROOT=tmp_path, PASSWORD_HASHERS=[hasher]):
        yield


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
        finished_at=now,
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


def changelist(model: str) -> str:
    return reverse(f"admin:transcription_{model}_changelist")


def page_of(row: Any) -> str:
    return reverse(f"admin:transcription_{row._meta.model_name}_change", args=[row.pk])


def act(client: Client, action: str, *rows: Job | Recording, **data: str) -> list[str]:
    """Run an action on rows of the list; returns the messages it left."""
    answer: Any = client.post(
        changelist(str(rows[0]._meta.model_name)),
        {"action": action, "_selected_action": [str(row.pk) for row in rows], **data},
        follow=True,
    )
    assert answer.redirect_chain, answer.content
    return [str(message) for message in answer.context["messages"]]


# ---- Looking


@pytest.mark.parametrize("model", MODELS)
def test_every_list_loads_and_can_be_searched(admin_client: Client, model: str) -> None:
    job = make_job()
    chunk = add_chunk(job, 0)
    rows = {"recording": job.recording, "job": job, "chunk": chunk}
    found = {**rows, "diarization": job.diarization}.get(model)
    for query in ("", "?q=meeting", f"?q={job.recording_id if model == 'recording' else job.pk}"):
        answer = admin_client.get(changelist(model) + query)
        assert answer.status_code == 200
        assert answer.context["cl"].result_count == 1, query
    if found is not None:
        assert admin_client.get(page_of(found)).status_code == 200
    assert admin_client.get(changelist(model) + "?q=nowhere").context["cl"].result_count == 0


def test_the_list_of_jobs_tells_what_an_operator_asks(admin_client: Client) -> None:
    make_job()
    page = admin_client.get(changelist("job")).content.decode()
    for value in ("meeting.flac", "completed", "All is said", "tiny.en", "00:01:40", "0.250"):
        assert value in page
    for name in ("status", "model_name", "language", "engine", "created_at"):
        assert admin_client.get(changelist("job") + f"?{name}__isnull=0").status_code == 200
    answer = admin_client.get(changelist("job") + "?status__exact=failed")
    assert answer.context["cl"].result_count == 0


def test_a_diarization_tells_who_was_heard_for_how_long_and_shows_no_voices(
    admin_client: Client,
) -> None:
    page = admin_client.get(page_of(make_job().diarization)).content.decode()
    assert "SPEAKER_1 00:01:01.500, SPEAKER_2 00:00:00.500" in page
    assert "0.123456" not in page


def test_segments_are_found_by_their_text_and_by_their_job(admin_client: Client) -> None:
    job, other = make_job(), make_job()
    add_chunk(job, 0, n_segments=30)
    add_chunk(other, 0, n_segments=5)
    by_text = admin_client.get(changelist("segment") + "?q=%22part+29%22").context["cl"]
    assert [segment.text for segment in by_text.result_list] == ["Part 29"]
    by_job = admin_client.get(changelist("segment") + f"?job__id__exact={job.pk}").context["cl"]
    assert [segment.text for segment in by_job.result_list] == [f"Part {i}" for i in range(30)]


@pytest.mark.parametrize("model", MODELS)
def test_lists_of_many_rows_take_few_queries(
    admin_client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    model: str,
) -> None:
    for n in range(60):
        job = make_job(f"{n}.flac")
        add_chunk(job, 0, n_segments=50)
    with django_assert_max_num_queries(MOST_QUERIES):
        answer = admin_client.get(changelist(model))
    assert answer.context["cl"].result_count >= 60
    assert len(answer.context["cl"].result_list) == 50


def test_a_long_jobs_page_is_limited(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = make_job()
    Chunk.objects.bulk_create(
        Chunk(job=job, index=i, start=i, end=i + 1, streams=[], speech=[]) for i in range(300)
    )
    with django_assert_max_num_queries(MOST_QUERIES):
        answer = admin_client.get(page_of(job))
    chunks = answer.context["inline_admin_formsets"][1].formset.forms
    assert [form.instance.index for form in chunks] == list(range(MOST_INLINE_ROWS))


# ---- Editing


@pytest.mark.parametrize("model", MODELS)
def test_no_row_is_added_by_hand(admin_client: Client, model: str) -> None:
    assert admin_client.get(changelist(model) + "add/").status_code == 403


def test_a_job_is_not_edited(admin_client: Client) -> None:
    job = make_job()
    assert admin_client.post(page_of(job), {"status": "failed"}).status_code == 403
    job.refresh_from_db()
    assert job.status == Job.Status.COMPLETED


def test_a_segments_text_and_speaker_are_edited_and_nothing_else(admin_client: Client) -> None:
    add_chunk(make_job(), 0)
    segment = Segment.objects.get()
    assert admin_client.get(page_of(segment)).status_code == 200
    answer = admin_client.post(
        page_of(segment), {"text": "What was said", "speaker": "Ann", "start": "7"}
    )
    assert answer.status_code == 302
    segment.refresh_from_db()
    assert (segment.text, segment.speaker, segment.start) == ("What was said", "Ann", 0.0)
    admin_client.post(page_of(segment), {"text": "What was said", "speaker": ""})
    segment.refresh_from_db()
    assert segment.speaker is None


def test_whoever_may_only_look_cannot_act(client: Client, django_user_model: Any) -> None:
    from django.contrib.auth.models import Permission

    job = make_job(status=Job.Status.RUNNING)
    user = django_user_model.objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    answer: HttpResponse = client.get(changelist("job"))  # type: ignore[assignment]
    assert answer.status_code == 200
    assert b'value="cancel"' not in answer.content
    client.post(changelist("job"), {"action": "cancel", "_selected_action": [str(job.pk)]})
    client.post(
        changelist("job"),
        {"action": "delete_selected", "_selected_action": [str(job.pk)], "post": "yes"},
    )
    job.refresh_from_db()
    assert job.status == Job.Status.RUNNING


# ---- Actions


def test_jobs_are_run_again_from_the_start(admin_client: Client) -> None:
    jobs = [make_job(), make_job(status=Job.Status.FAILED)]
    add_chunk(jobs[0], 0)
    assert act(admin_client, "run_again", *jobs) == ["2 jobs begun again."]
    assert set(Job.objects.values_list("status", "progress")) == {("queued", 0)}
    assert not Chunk.objects.exists()
    assert not Segment.objects.exists()
    assert set(Stage.objects.values_list("state", flat=True)) == {Leased.State.TODO}


def test_what_failed_is_retried_and_the_rest_is_skipped(admin_client: Client) -> None:
    failed, completed = make_job(status=Job.Status.FAILED), make_job()
    add_chunk(failed, 0)
    add_chunk(failed, 1, state=Leased.State.FAILED, n_segments=0)
    assert act(admin_client, "retry_what_failed", failed, completed) == [
        "1 job tried again.",
        "1 job skipped: neither failed nor cancelled.",
    ]
    failed.refresh_from_db()
    assert failed.status == Job.Status.RUNNING
    states = failed.chunks.order_by("index").values_list("state", "attempts")
    assert list(states) == [("done", 2), ("todo", 0)]


def test_jobs_under_way_are_cancelled_and_the_rest_is_skipped(admin_client: Client) -> None:
    running, queued = make_job(status=Job.Status.RUNNING), make_job(status=Job.Status.QUEUED)
    assert act(admin_client, "cancel", running, queued, make_job()) == [
        "2 jobs cancelled.",
        "1 job skipped: ended already.",
    ]
    assert Job.objects.filter(status=Job.Status.CANCELLED).count() == 2
    assert act(admin_client, "cancel", running) == ["1 job skipped: ended already."]


def test_who_speaks_is_found_out_again_where_there_is_a_transcript(admin_client: Client) -> None:
    completed, running = make_job(), make_job(status=Job.Status.RUNNING)
    assert act(admin_client, "find_speakers", completed, running) == [
        "1 job begun.",
        "1 job skipped: not completed.",
    ]
    assert completed.stages.get(kind=Stage.Kind.DIARIZE).state == Leased.State.TODO
    assert not running.stages.filter(kind=Stage.Kind.DIARIZE).exists()
    page = admin_client.get(page_of(completed)).content.decode()
    assert "diarize" in page


# ---- Deleting


def files_of(job: Job) -> list[str]:
    try:
        return sorted(default_storage.listdir(f"recordings/{job.recording_id}")[1])
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("what", ["job", "recording"])
def test_deleting_removes_rows_and_files(
    admin_client: Client,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    what: str,
) -> None:
    job, kept = make_job(), make_job()
    add_chunk(job, 0, n_segments=500)
    row = job if what == "job" else job.recording
    url = reverse(f"admin:transcription_{what}_delete", args=[row.pk])
    question = admin_client.get(url)
    assert question.status_code == 200
    assert len(question.content) < 20_000
    with django_capture_on_commit_callbacks() as callbacks:
        assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert len(files_of(job)) == 2, "files go after the commit"
    for callback in callbacks:
        callback()
    assert files_of(job) == []
    assert not Segment.objects.exists()
    assert list(Recording.objects.all()) == [kept.recording]
    assert list(Job.objects.all()) == [kept]
    assert len(files_of(kept)) == 2


@pytest.mark.parametrize("what", ["job", "recording"])
def test_deleting_in_bulk_removes_rows_and_files(
    admin_client: Client,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    what: str,
) -> None:
    gone, kept = [make_job(), make_job()], make_job()
    rows = [job if what == "job" else job.recording for job in gone]
    with django_capture_on_commit_callbacks(execute=True):
        act(admin_client, "delete_selected", *rows, post="yes")
    assert [files_of(job) for job in gone] == [[], []]
    assert list(Recording.objects.all()) == [kept.recording]
    assert len(files_of(kept)) == 2


def test_a_recording_stays_while_another_job_needs_it(
    admin_client: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    job = make_job()
    other = Job.objects.create(recording=job.recording, model_name="base")
    with django_capture_on_commit_callbacks(execute=True):
        act(admin_client, "delete_selected", job, post="yes")
    assert list(Job.objects.all()) == [other]
    assert len(files_of(job)) == 2
