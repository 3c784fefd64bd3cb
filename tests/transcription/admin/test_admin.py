"""What an operator sees and does in the admin."""

import io
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from tests.admin_pages import act, changelist, page_of, submit
from tests.transcription.admin.builders import add_chunk, make_job
from tests.transcription.builders import make_ended_job
from transcription.editing import services
from transcription.models import Chunk, Edit, Job, Leased, Recording, Segment, Stage
from transcription.transcript.exports import FORMATS, Options, export

pytestmark = [pytest.mark.django_db, pytest.mark.both]

MODELS = ["recording", "job", "stage", "chunk", "segment", "diarization", "edit"]
MOST_QUERIES = 15  # of the page, its filters, the session and the user


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path) -> Iterator[None]:
    hasher = "django.contrib.auth.hashers.MD5PasswordHasher"  # the default one is slow on purpose
    with override_settings(MEDIA_ROOT=tmp_path, PASSWORD_HASHERS=[hasher]):
        yield


def edit_text(segment: Segment, text: str) -> Edit:
    seen = {"text": segment.text}
    done = services.change(segment_id=segment.pk, values={"text": text}, was=seen, done_by="Ann")
    assert done.edit is not None
    return done.edit


# ---- Looking


@pytest.mark.parametrize("model", MODELS)
def test_every_list_loads_and_can_be_searched(admin_client: Client, model: str) -> None:
    job = make_job()
    chunk = add_chunk(job, 0)
    edit = edit_text(chunk.segments.get(), "What was said")
    rows = {"recording": job.recording, "job": job, "chunk": chunk, "edit": edit}
    found = {**rows, "diarization": job.diarization}.get(model)
    for query in ("", "?q=meeting", f"?q={job.recording_id if model == 'recording' else job.pk}"):
        answer = admin_client.get(changelist(model) + query)
        assert answer.status_code == 200
        assert answer.context["cl"].result_count == 1, query
    if found is not None:
        assert admin_client.get(page_of(found)).status_code == 200
    assert admin_client.get(changelist(model) + "?q=nowhere").context["cl"].result_count == 0


def test_the_list_of_jobs_shows_main_columns_and_can_be_filtered(admin_client: Client) -> None:
    make_job()
    page = admin_client.get(changelist("job")).content.decode()
    for value in ("meeting.flac", "completed", "All is said", "tiny.en", "00:01:40", "0.250"):
        assert value in page
    for name in ("status", "model_name", "language", "engine", "created_at"):
        assert admin_client.get(changelist("job") + f"?{name}__isnull=0").status_code == 200
    answer = admin_client.get(changelist("job") + "?status__exact=failed")
    assert answer.context["cl"].result_count == 0


def test_a_diarization_shows_each_speakers_time_and_no_embeddings(
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
        edit_text(add_chunk(job, 0, n_segments=50).segments.all()[n % 50], f"Edit {n}")
    with django_assert_max_num_queries(MOST_QUERIES):
        answer = admin_client.get(changelist(model))
    assert answer.context["cl"].result_count >= 60
    assert len(answer.context["cl"].result_list) == 50


def recordings_of(answer: Any) -> list[str]:
    return [job.recording.name for job in answer.context["cl"].result_list]


def test_jobs_that_need_attention_are_found_by_filters(admin_client: Client) -> None:
    now = timezone.now()
    minutes = {n: now - timedelta(minutes=n) for n in (5, 20, 30, 70)}

    def make(name: str, status: Job.Status, **values: Any) -> Job:
        job = make_job(name, status=status)
        Job.objects.filter(pk=job.pk).update(**values)
        return job

    make("failed now", Job.Status.FAILED, finished_at=minutes[5])
    make("failed long ago", Job.Status.FAILED, finished_at=now - timedelta(days=2))
    held = make("long at work", Job.Status.RUNNING, started_at=minutes[70], updated_at=minutes[30])
    chunk = add_chunk(held, 0, state=Leased.State.DOING)
    Chunk.objects.filter(pk=chunk.pk).update(lease_until=now + timedelta(seconds=30))
    lost = make("lost", Job.Status.RUNNING, started_at=minutes[30], updated_at=minutes[20])
    chunk = add_chunk(lost, 0, state=Leased.State.DOING)
    Chunk.objects.filter(pk=chunk.pk).update(lease_until=minutes[20])
    make("waits", Job.Status.QUEUED, started_at=None, updated_at=minutes[70])
    make("waits a little", Job.Status.QUEUED, started_at=None, updated_at=minutes[5])
    paused = {"started_at": minutes[70], "paused": timedelta(minutes=60), "updated_at": minutes[5]}
    make("taken up again", Job.Status.RUNNING, **paused)
    make("done", Job.Status.COMPLETED, started_at=minutes[70], updated_at=minutes[70])

    found = {
        value: sorted(recordings_of(admin_client.get(changelist("job", f"?attention={value}&o=1"))))
        for value in ("failed", "long", "idle")
    }
    assert found == {
        "failed": ["failed now"],
        "long": ["long at work", "waits"],
        "idle": ["lost", "waits"],
    }


def test_jobs_are_sorted_by_every_column_that_has_an_order(admin_client: Client) -> None:
    now = timezone.now()
    slow, fast, failed = make_job("slow"), make_job("fast"), make_job("failed", Job.Status.FAILED)
    work = {"started_at": now - timedelta(hours=3), "finished_at": now}
    Job.objects.filter(pk=slow.pk).update(**work)
    Job.objects.filter(pk=fast.pk).update(**work, paused=timedelta(hours=2.5))
    unread = make_job("unread")
    Recording.objects.filter(pk=unread.recording_id).update(duration=0)
    columns = admin_client.get(changelist("job")).context["cl"].list_display
    by_factor = columns.index("real_time_factor")
    descending = recordings_of(admin_client.get(changelist("job", f"?o=-{by_factor}")))
    ascending = recordings_of(admin_client.get(changelist("job", f"?o={by_factor}")))
    assert [name for name in descending if name in ("slow", "fast")] == ["slow", "fast"]
    assert [name for name in ascending if name in ("slow", "fast")] == ["fast", "slow"]
    assert failed.recording.name in ascending
    for number, column in enumerate(columns[1:], 1):
        answer = admin_client.get(changelist("job", f"?o={number}"))
        is_sorted = f"?o=-{number}" in answer.content.decode()
        assert is_sorted == (column != "review"), column


def test_filters_offer_empty_values_too(admin_client: Client) -> None:
    job = make_job("new")
    make_job("old")
    Job.objects.filter(pk=job.pk).update(language="")
    answer = admin_client.get(changelist("job"))
    assert '<a href="?language=">(none)</a>' in "".join(answer.content.decode().split("\n"))
    assert recordings_of(admin_client.get(changelist("job", "?language="))) == ["new"]


def test_a_recordings_file_is_named_and_not_linked_to(admin_client: Client) -> None:
    recording = make_job().recording
    page = admin_client.get(page_of(recording)).content.decode()
    assert str(recording.file.name) in page
    assert f'href="{recording.file.url}"' not in page, "files are not served"


def test_pages_link_to_the_review_page_and_back(admin_client: Client) -> None:
    job = make_job()
    segment = add_chunk(job, 0).segments.get()
    edit = edit_text(segment, "What was said")
    review = reverse("review", args=[job.pk])
    pages = [changelist("job"), *(page_of(row) for row in (job, job.recording, segment, edit))]
    for page in pages:
        answer = admin_client.get(page)
        assert f'"{review}' in answer.content.decode(), page
        assert f'<a href="{reverse("app")}">View site</a>' in answer.content.decode()
    assert page_of(job) in admin_client.get(page_of(job.recording)).content.decode()
    assert page_of(job.recording) in admin_client.get(page_of(job)).content.decode()
    for model in ("chunk", "segment", "diarization", "edit"):
        url = changelist(model, f"?job__id__exact={job.pk}")
        assert url in admin_client.get(page_of(job)).content.decode()
        assert admin_client.get(url).context["cl"].result_count == 1


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
    submit(admin_client, segment, text=" What was \r\n said", speaker=" Ann ", start="7")
    segment.refresh_from_db()
    assert (segment.text, segment.speaker, segment.start) == ("What was said", "Ann", 0.0)
    submit(admin_client, segment, speaker="")
    segment.refresh_from_db()
    assert (segment.text, segment.speaker) == ("What was said", None)


def test_an_edit_in_the_admin_appears_in_the_history(admin_client: Client) -> None:
    job = make_job()
    segment = add_chunk(job, 0).segments.get()
    submit(admin_client, segment, text="What was said")
    edit = job.edits.get()
    assert (edit.kind, edit.done_by) == (Edit.Kind.TEXT, "admin")
    change = edit.changes.get()
    assert change.before is not None
    assert (change.segment_pk, change.before["text"]) == (segment.pk, "Part 0")
    job.refresh_from_db()
    assert job.revision == 1, "who listens is told"
    submit(admin_client, segment)
    assert job.edits.count() == 1, "nothing was changed"
    page = admin_client.get(page_of(segment)).content.decode()
    link = changelist("edit", f"?changes__segment_pk={segment.pk}")
    assert link in page
    assert list(admin_client.get(link).context["cl"].result_list) == [edit]
    other = changelist("edit", f"?changes__segment_pk={segment.pk + 1}")
    assert not admin_client.get(other).context["cl"].result_list


def test_a_form_loaded_before_another_edit_overwrites_nothing(admin_client: Client) -> None:
    job = make_job()
    segment = add_chunk(job, 0).segments.get()
    page = admin_client.get(page_of(segment)).content.decode()
    edit_text(segment, "What Ann heard")
    said = submit(admin_client, segment, page=page, text="What I heard")
    assert said == [services.CHANGED_MEANWHILE]
    segment.refresh_from_db()
    assert segment.text == "What Ann heard"
    assert job.edits.count() == 1
    # Only a field that somebody else changed is refused: other fields of the form are saved.
    assert submit(admin_client, segment, page=page, speaker="Bob") != said
    segment.refresh_from_db()
    assert (segment.text, segment.speaker) == ("What Ann heard", "Bob")


def test_saving_the_form_of_a_deleted_segment_does_not_restore_it(admin_client: Client) -> None:
    segment = add_chunk(make_job(), 0).segments.get()
    page = admin_client.get(page_of(segment)).content.decode()
    services.remove(segment_id=segment.pk, was={"text": segment.text}, done_by="Ann")
    said = submit(admin_client, segment, page=page, text="What I heard")
    assert len(said) == 1
    assert "doesn’t exist" in said[0]
    assert not Segment.objects.exists()


@pytest.mark.parametrize("text", ["", "  ", "a" * 5001, "a\x07b"])
def test_the_form_refuses_texts_that_the_api_refuses(admin_client: Client, text: str) -> None:
    segment = add_chunk(make_job(), 0).segments.get()
    answer = admin_client.post(page_of(segment), {"text": text, "initial-text": "Part 0"})
    assert answer.status_code == 200
    assert "text" in answer.context["adminform"].form.errors
    segment.refresh_from_db()
    assert segment.text == "Part 0"


def test_while_a_job_runs_texts_can_be_edited_and_speakers_not(
    admin_client: Client,
) -> None:
    segment = add_chunk(make_job(status=Job.Status.RUNNING), 0).segments.get()
    submit(admin_client, segment, text="What was said", speaker="Ann")
    segment.refresh_from_db()
    assert (segment.text, segment.speaker) == ("What was said", None)


def test_edits_are_undone_or_the_reason_why_not_is_shown(admin_client: Client) -> None:
    first, second = add_chunk(make_job(), 0, n_segments=2).segments.all()
    undone = edit_text(first, "One")
    overtaken = edit_text(second, "Two")
    second.refresh_from_db()
    later = edit_text(second, "Three")
    assert act(admin_client, "undo", undone, overtaken) == [
        "1 edit undone.",
        "1 edit skipped: This part of the transcript was changed since: undo that first.",
    ]
    assert act(admin_client, "undo", undone, overtaken, later) == [
        "2 edits undone.",
        "1 edit skipped: This edit was undone already.",
    ]
    assert list(Segment.objects.values_list("text", flat=True)) == ["Part 0", "Part 1"]
    assert set(Edit.objects.values_list("undone_by", flat=True)) == {"admin"}
    page = admin_client.get(page_of(later)).content.decode()
    assert "“Two”" in page
    assert "“Three”" in page


def test_view_permission_allows_no_action(client: Client, django_user_model: Any) -> None:
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
    assert act(admin_client, "rerun", *jobs) == ["2 jobs restarted."]
    assert set(Job.objects.values_list("status", "progress")) == {("queued", 0)}
    assert not Chunk.objects.exists()
    assert not Segment.objects.exists()
    assert set(Stage.objects.values_list("state", flat=True)) == {Leased.State.TODO}


def test_what_failed_is_retried_and_the_rest_is_skipped(admin_client: Client) -> None:
    failed, completed = make_job(status=Job.Status.FAILED), make_job()
    add_chunk(failed, 0)
    add_chunk(failed, 1, state=Leased.State.FAILED, n_segments=0)
    assert act(admin_client, "retry_failed", failed, completed) == [
        "1 job retried.",
        "1 job skipped: neither failed nor cancelled.",
    ]
    failed.refresh_from_db()
    assert failed.status == Job.Status.RUNNING
    states = failed.chunks.order_by("index").values_list("state", "attempts")
    assert list(states) == [("done", 2), ("todo", 0)]


def test_jobs_under_way_are_cancelled_and_the_rest_is_skipped(admin_client: Client) -> None:
    running, queued = make_job(status=Job.Status.RUNNING), make_job(status=Job.Status.QUEUED)
    for job in (running, queued):
        add_chunk(job, 0, state=Leased.State.TODO)
    assert act(admin_client, "cancel", running, queued, make_job()) == [
        "2 jobs cancelled.",
        "1 job skipped: already ended.",
    ]
    assert Job.objects.filter(status=Job.Status.CANCELLED).count() == 2
    assert act(admin_client, "cancel", running) == ["1 job skipped: already ended."]


def test_completed_jobs_are_diarized_again(admin_client: Client) -> None:
    completed, running = make_job(), make_job(status=Job.Status.RUNNING)
    assert act(admin_client, "run_diarization", completed, running) == [
        "Diarization requested for 1 job.",
        "1 job skipped: not completed.",
    ]
    assert completed.stages.get(kind=Stage.Kind.DIARIZE).state == Leased.State.TODO
    assert not running.stages.filter(kind=Stage.Kind.DIARIZE).exists()
    page = admin_client.get(page_of(completed)).content.decode()
    assert "diarize" in page


# ---- Exporting


def download(client: Client, format: str, *jobs: Job) -> Any:  # noqa: A002
    chosen = {"action": f"export_{format}", "_selected_action": [str(job.pk) for job in jobs]}
    return client.post(changelist("job"), chosen)


def unpacked(answer: Any) -> dict[str, str]:
    """Return the names and texts of an archive's files."""

    async def read() -> bytes:
        return b"".join([block async for block in answer.streaming_content])

    data = async_to_sync(read)()
    assert answer["Content-Type"] == "application/zip"
    assert int(answer["Content-Length"]) == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("format", FORMATS)
def test_a_jobs_transcript_is_exported_as_its_file(admin_client: Client, format: str) -> None:  # noqa: A002
    job = make_ended_job("Bonjour.", "Au revoir.", name="Réunion.flac")
    page = admin_client.get(changelist("job")).content.decode()
    assert f'<option value="export_{format}">Export as {format.upper()}</option>' in page
    answer = download(admin_client, format, job)
    made = export(job=job, format=format, options=Options())
    assert answer.status_code == 200
    assert answer["Content-Type"] == made.content_type
    assert answer["Content-Disposition"] == f"attachment; filename*=utf-8''R%C3%A9union.{format}"
    if format != "docx":  # a .docx file contains the time it was made
        assert answer.content == made.content
        assert "Bonjour." in answer.content.decode()


def test_several_transcripts_are_one_archive_with_names_of_their_own(admin_client: Client) -> None:
    names = [
        "a.flac",
        "A.mp3",
        "..",
        "x/../../y.wav",
        "é" * 200 + ".mp4",
        "skipped.txt",
        "会议 (1).m4a",
    ]
    jobs = [make_ended_job(f"Said in {n}.", name=name) for n, name in enumerate(names)]
    files = unpacked(download(admin_client, "txt", *jobs))
    said = {text.split("Said in ")[1][0]: name for name, text in files.items()}
    assert len(said) == len(files) == len(jobs)
    assert len({name.casefold() for name in files}) == len(files)
    assert {said["0"].casefold(), said["1"].casefold()} == {"a.txt", "a (2).txt"}
    assert said["6"] == "会议 (1).txt"
    for name in files:
        assert not set(name) & set('/\\:*?"<>|')
        assert name.endswith(".txt")
        assert not name.startswith(".")
        assert len(name.encode()) < 255


def test_jobs_without_a_transcript_are_skipped_with_a_message(admin_client: Client) -> None:
    first, second = (
        make_ended_job("One.", name="first.flac"),
        make_ended_job("Two.", name="second.flac"),
    )
    running = make_ended_job("Half a", name="running.flac", status=Job.Status.RUNNING)
    silent = make_ended_job(name="silent.flac")
    files = unpacked(download(admin_client, "srt", first, second, running, silent))
    assert set(files) == {"first.srt", "second.srt", "skipped.txt"}
    assert "running.flac" in files["skipped.txt"]
    assert "silent.flac" in files["skipped.txt"]
    said = "2 jobs skipped: not completed, or without speech."
    page = admin_client.get(changelist("job"))
    assert [str(message) for message in page.context["messages"]] == [said]

    answer = download(admin_client, "srt", first, silent)
    assert "first.srt" in answer["Content-Disposition"]
    admin_client.get(changelist("job"))
    assert act(admin_client, "export_srt", running, silent) == [said]


def test_the_number_of_transcripts_in_an_export_is_limited(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transcription.admin.jobs.MAX_EXPORTED_JOBS", 1)
    jobs = [make_ended_job("One.", name="a.flac"), make_ended_job("Two.", name="b.flac")]
    assert act(admin_client, "export_txt", *jobs) == [
        "2 jobs are too many for one archive: at most 1 are allowed."
    ]


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
