"""The page of recordings: search, filter, retry, cancel and delete jobs."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from tests.transcription.admin.builders import add_chunk, make_job
from transcription import pages
from transcription.models import Job, Segment
from transcription.pages import JOBS_PER_PAGE
from transcription.speech import fetching
from transcription.speech.catalogue import MODELS

pytestmark = pytest.mark.django_db
APP = "/app/"
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def _files(tmp_path: Any, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.TRANSCRIBER_MODELS_DIR = tmp_path / "models"


def get_page(client: Client, path: str = APP, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return answer.content.decode()


def add_segment(job: Job, text: str) -> None:
    add_chunk(job, 0)
    Segment.objects.filter(job=job).update(text=text, start=61.5, end=65.0)


def url_of(name: str, job: Job) -> str:
    return reverse(name, args=[job.pk])


def status_of(job: Job) -> str:
    return Job.objects.get(pk=job.pk).status


# ---- The page


def test_the_page_says_what_can_be_chosen(client: Client, settings: Any) -> None:
    settings.TRANSCRIBER_MAX_UPLOAD_BYTES = 12345
    page = get_page(client)
    assert '<option value="tiny.en"' in page
    assert f'data-description="{MODELS["base"].description}"' in page
    assert 'value="large-v3"' not in page, "its weights are not here"
    assert 'data-max-bytes="12345"' in page
    assert '<option value="exactly">' in page
    assert 'max="50"' in page


def test_a_number_of_speakers_is_offered_only_where_it_is_taken(
    client: Client, settings: Any
) -> None:
    settings.TRANSCRIBER_DIARIZATION_ENGINE = "senko"
    page = get_page(client)
    assert '<option value="exactly">' not in page
    assert 'id="number"' not in page


def test_a_page_runs_only_the_service_s_own_scripts_and_is_revalidated(client: Client) -> None:
    answer = client.get(APP)
    assert "default-src 'self'" in answer["Content-Security-Policy"].split("; ")
    assert answer["Cache-Control"] == "no-cache, private"
    assert "csrftoken" in answer.cookies
    page = answer.content.decode()
    assert "<script>" not in page
    assert " onclick" not in page


def test_an_unknown_job_s_page_says_so_in_words(client: Client) -> None:
    for job_id in (str(uuid4()), "nonsense"):
        answer = client.get(reverse("review", args=[job_id]))
        assert answer.status_code == 404
        assert answer["Content-Type"].startswith("text/html")
        assert "There is no such recording" in answer.content.decode()


def test_models_to_download_are_offered_while_the_hub_answers(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def can_download(model: Any, *, engine: str) -> bool:
        asked.append(model.name)
        return True

    monkeypatch.setattr(fetching, "can_download", can_download)
    options = get_page(client, reverse("app-models"))
    assert 'value="large-v3"' in options
    assert 'data-download="3087 MB"' in options
    assert 'value="tiny.en"' not in options, "it is here already"
    assert len(asked) == 1, "each may take seconds"


def test_no_model_is_offered_that_cannot_be_downloaded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get_page(client, reverse("app-models")).strip() == ""


# ---- The list


def test_an_empty_list_says_what_will_be_there(client: Client) -> None:
    assert "What you upload or record appears here." in get_page(client)


def test_jobs_are_listed_newest_first_with_what_is_known_of_them(client: Client) -> None:
    make_job("older.flac")
    make_job("newer.flac", Job.Status.FAILED)
    page = get_page(client)
    assert page.index("newer.flac") < page.index("older.flac")
    for fact in ("tiny.en", 'data-language="en"', "0:01:40", "All is said", "2 in all"):
        assert fact in page


def test_an_active_job_has_its_progress_and_the_id_of_its_last_segment(client: Client) -> None:
    job = make_job(status=Job.Status.RUNNING)
    add_chunk(job, 0, n_segments=3)
    last = Segment.objects.order_by("pk").last()
    assert last is not None
    Job.objects.filter(pk=job.pk).update(progress=40)
    page = get_page(client)
    assert '<progress max="100" value="40"' in page
    assert f'data-active data-after="{last.pk}"' in page
    assert url_of("cancel-job", job) in page
    assert url_of("retry-job", job) not in page


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("active", {"queued", "running"}),
        ("completed", {"completed"}),
        ("failed", {"failed"}),
        ("cancelled", {"cancelled"}),
        ("", set(Job.Status.values)),
        ("nonsense", set(Job.Status.values)),
    ],
)
def test_the_list_is_filtered_by_status(client: Client, asked: str, own: set[str]) -> None:
    for status in Job.Status:
        make_job(f"the {status} one.flac", status)
    page = get_page(client, status=asked)
    assert {status for status in Job.Status.values if f"the {status} one.flac" in page} == own


def test_jobs_are_found_by_what_was_said_and_lead_there(client: Client) -> None:
    job = make_job()
    add_segment(job, "Ask not what <b>your</b> country can do for you")
    make_job("silence.flac")
    page = get_page(client, q="country")
    assert f'href="{url_of("review", job)}?t=61.5"' in page
    assert "<mark>country</mark>" in page
    assert "&lt;b&gt;your&lt;/b&gt;" in page
    assert "silence.flac" not in page
    assert 'value="country"' in page
    assert "Nothing was found" in get_page(client, q="cantaloupe")


def test_the_list_is_paged_and_keeps_the_search(client: Client) -> None:
    for n in range(JOBS_PER_PAGE + 1):
        make_job(f"talk {n}.flac")
    first = get_page(client, q="talk")
    assert "talk 0.flac" not in first
    assert f"1–{JOBS_PER_PAGE} shown" in first
    assert 'href="/app/?q=talk&amp;page=2"' in first
    second = get_page(client, q="talk", page="2")
    assert second.count("data-job=") == 1
    assert "talk 0.flac" in second
    assert "talk 0.flac" in get_page(client, q="talk", page="99"), "the last there is"
    assert "talk 0.flac" not in get_page(client, page="nonsense")


def test_the_list_takes_few_queries_however_long_it_is(
    client: Client, django_assert_max_num_queries: Any
) -> None:
    for n in range(JOBS_PER_PAGE):
        add_segment(make_job(f"{n}.flac", Job.Status.RUNNING), "ask not what")
    with django_assert_max_num_queries(6):
        page = get_page(client, q="ask")
    assert page.count("<mark>") == JOBS_PER_PAGE


def test_htmx_gets_only_the_list_but_the_whole_page_on_history_restore(client: Client) -> None:
    make_job()
    part = client.get(APP, headers=HTMX)
    assert part.content.decode().lstrip().startswith('<div id="jobs-list"')
    assert "HX-Request" in part["Vary"]
    back = client.get(APP, headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert "<html" in back.content.decode()


def test_a_single_row_can_be_fetched(client: Client) -> None:
    job = make_job()
    add_segment(job, "ask not")
    row = get_page(client, url_of("job-row", job), q="ask")
    assert row.lstrip().startswith(f'<li class="job" id="job-{job.pk}"')
    assert "<mark>ask</mark>" in row


def test_names_and_messages_are_shown_as_text(client: Client) -> None:
    job = make_job('<img src=x onerror=alert(1)>".flac', Job.Status.FAILED)
    Job.objects.filter(pk=job.pk).update(message="<script>alert(2)</script>")
    page = get_page(client)
    assert "<img" not in page
    assert "<script>alert" not in page


# ---- What can be done


@pytest.mark.parametrize("status", [Job.Status.FAILED, Job.Status.CANCELLED])
def test_a_failed_or_cancelled_job_is_retried(client: Client, status: Job.Status) -> None:
    job = make_job(status=status)
    assert url_of("retry-job", job) in get_page(client)
    answer = client.post(url_of("retry-job", job))
    assert answer.status_code == 200
    assert "data-active" in answer.content.decode() or status_of(job) == Job.Status.COMPLETED
    assert status_of(job) not in (Job.Status.FAILED, Job.Status.CANCELLED)


def test_a_completed_job_cannot_be_retried(client: Client) -> None:
    job = make_job()
    answer = client.post(url_of("retry-job", job))
    assert answer.status_code == 409
    assert answer.json()["detail"] == "The job is completed: there is nothing to retry."
    assert status_of(job) == Job.Status.COMPLETED


def test_an_active_job_is_cancelled(client: Client) -> None:
    job = make_job(status=Job.Status.RUNNING)
    job.stages.update(state="todo")
    answer = client.post(url_of("cancel-job", job))
    assert status_of(job) == Job.Status.CANCELLED
    assert url_of("retry-job", job) in answer.content.decode()


def test_an_ended_job_cannot_be_cancelled(client: Client) -> None:
    job = make_job(status=Job.Status.FAILED)
    answer = client.post(url_of("cancel-job", job))
    assert answer.status_code == 409
    assert answer.json()["detail"] == "The job is failed: it cannot be cancelled."
    assert status_of(job) == Job.Status.FAILED


@pytest.mark.django_db(transaction=True)
def test_deleting_a_job_deletes_its_recording_and_returns_the_filtered_list(
    client: Client,
) -> None:
    kept, job = make_job("kept talk.flac"), make_job("lost talk.flac")
    make_job("other.flac")
    answer = client.post(url_of("delete-job", job) + "?q=talk")
    assert not Job.objects.filter(pk=job.pk).exists()
    assert not default_storage.exists(str(job.recording.file))
    assert default_storage.exists(str(kept.recording.file))
    rest = answer.content.decode()
    assert "kept talk.flac" in rest
    assert "lost talk.flac" not in rest
    assert "other.flac" not in rest


@pytest.mark.parametrize("action", ["retry-job", "cancel-job", "delete-job"])
def test_an_unknown_job_is_a_404_with_a_message(client: Client, action: str) -> None:
    answer = client.post(reverse(action, args=[uuid4()]))
    assert answer.status_code == 404
    assert json.loads(answer.content)["detail"] == "Transcription job not found or expired"


@pytest.mark.parametrize("action", ["retry-job", "cancel-job", "delete-job"])
def test_other_sites_can_do_nothing(action: str) -> None:
    job = make_job(status=Job.Status.FAILED)
    answer = Client(enforce_csrf_checks=True).post(url_of(action, job))
    assert answer.status_code == 403
    assert answer.json()["detail"]
    assert status_of(job) == Job.Status.FAILED


def test_the_page_s_own_token_is_accepted() -> None:
    client = Client(enforce_csrf_checks=True)
    job = make_job(status=Job.Status.FAILED)
    token = get_page(client).split('{"X-CSRFToken": "')[1].split('"')[0]
    answer = client.post(url_of("retry-job", job), headers={"X-CSRFToken": token})
    assert answer.status_code == 200


@pytest.mark.parametrize("action", ["retry-job", "cancel-job", "delete-job"])
def test_get_changes_nothing(client: Client, action: str) -> None:
    job = make_job(status=Job.Status.FAILED)
    assert client.get(url_of(action, job)).status_code == 405
    assert status_of(job) == Job.Status.FAILED


def test_every_status_can_be_filtered_for() -> None:
    filtered = [status for _, own in pages.STATUS_FILTERS.values() for status in own]
    assert sorted(filtered) == sorted(Job.Status)
