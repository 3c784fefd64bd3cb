"""What administrators see: the states of all jobs, and the content of none that is not theirs or shared with them."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_q.models import Failure

from accounts.models import AuditEntry
from retranslation.models import Retranslation
from summaries.models import Summary
from tests.accounts.people import client_of, make_job_of, make_person
from tests.rows import reload
from transcription.editing import services as editing
from transcription.models import Diarization, Job, Recording, Segment, Share, Stage

pytestmark = pytest.mark.django_db

CANARY = "kingfisher"
JOBS = "/admin/transcription/job/"


@pytest.fixture(autouse=True)
def _accounts(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"


@pytest.fixture
def anna() -> User:
    return make_person("anna")


@pytest.fixture
def root() -> User:
    return make_person("root", is_administrator=True)


@pytest.fixture
def administrator(root: User) -> Client:
    return client_of(root)


@pytest.fixture
def job(anna: User) -> Job:
    """A failed job with one of everything, each with the canary."""
    job = make_job_of(anna, f"A {CANARY} sat here.", name=f"{CANARY}.flac")
    Job.objects.filter(pk=job.pk).update(
        status=Job.Status.FAILED, message=f"{CANARY} broke", finished_at=timezone.now()
    )
    Stage.objects.create(job=job, kind=Stage.Kind.PREPARE, state="failed", error=f"{CANARY} broke")
    job.chunks.update(
        state="failed", error=f"{CANARY} broke", attempts=2, started_at=timezone.now()
    )
    Diarization.objects.create(
        job=job,
        engine="e",
        model="m",
        device="cpu",
        turns=[],
        exclusive=[[0, 1, "SPEAKER_1", None]],
        centroids={},
        names={"SPEAKER_1": CANARY},
    )
    segment = Segment.objects.get(job=job)
    editing.change(
        segment_id=segment.pk,
        values={"text": f"Another {CANARY}."},
        was={"text": segment.text},
        done_by="anna",
    )
    Retranslation.objects.create(
        job=job, owner=anna, start=0, end=1, model_name="tiny.en", text=CANARY, old_text=CANARY
    )
    Summary.objects.create(
        transcription=job, owner=anna, state="done", summary=CANARY, message=CANARY
    )
    return reload(job)


def admin_pages(administrator: Client) -> list[str]:
    """The lists of all models in the admin, as its index links to them."""
    index = administrator.get("/admin/")
    return [
        model["admin_url"]
        for app in index.context["app_list"]
        for model in app["models"]
        if model["admin_url"]
    ]


def pages_of_rows(job: Job) -> list[str]:
    rows: list[Any] = [
        job,
        job.recording,
        Stage.objects.get(job=job),
        job.chunks.get(),
        Segment.objects.get(job=job),
        job.edits.get(),
        job.diarization,
        Retranslation.objects.get(job=job),
        Summary.objects.get(transcription=job),
    ]
    return [
        f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{page}/"
        for row in rows
        for page in ("change", "history", "delete")
    ]


def post(client: Client, action: str, *jobs: Job, **more: str) -> Any:
    ids = [str(job.pk) for job in jobs]
    return client.post(JOBS, {"action": action, "_selected_action": ids, **more}, follow=True)


# ---- What is seen


def test_the_list_shows_all_jobs_states_and_whose_they_are(
    administrator: Client, root: User, job: Job
) -> None:
    make_job_of(root, "mine", name="mine.flac")
    page = administrator.get(JOBS).content.decode()
    assert "a recording of anna" in page
    assert "mine.flac" in page
    assert page.count('class="field-status"') == 2
    assert "failed" in page
    assert CANARY not in page
    assert f"/app/jobs/{job.pk}/" not in page


def test_a_jobs_page_shows_when_it_did_what_and_no_content(administrator: Client, job: Job) -> None:
    answer = administrator.get(f"{JOBS}{job.pk}/change/")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "a recording of anna" in page
    assert "Preparation" in page
    assert "1 chunk: 1 failed." in page
    assert CANARY not in page


def test_no_page_of_the_admin_shows_other_peoples_content(
    administrator: Client, job: Job, anna: User
) -> None:
    urls = [*admin_pages(administrator), *pages_of_rows(job)]
    # Part of it, which pages may repeat: it was asked for.
    urls += [f"{url}?q={CANARY[:-1]}" for url in admin_pages(administrator)]
    urls += [f"/admin/auth/user/{anna.pk}/{page}/" for page in ("change", "delete", "history")]
    assert len(urls) > 40
    for url in urls:
        answer = administrator.get(url)
        assert answer.status_code in (200, 302, 403), url
        page = answer.content.decode()
        assert CANARY not in page, url


def test_the_same_pages_show_it_to_an_administrator_who_owns_it(
    administrator: Client, root: User, job: Job
) -> None:
    """Else the test above would prove nothing."""
    Recording.objects.update(owner=root)
    Job.objects.update(owner=root)
    seen = [CANARY in administrator.get(url).content.decode() for url in pages_of_rows(job)[::3]]
    assert sum(seen) >= len(seen) - 1, "a stage's page has its error, a chunk's too …"
    assert CANARY in administrator.get(JOBS).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        f"q={CANARY}",
        f"message__contains={CANARY}",
        f"recording__name__startswith={CANARY}",
        f"segments__text__contains={CANARY}",
    ],
)
def test_no_query_tells_what_content_says(administrator: Client, job: Job, query: str) -> None:
    """Whether a row is listed would tell whether the text is there."""
    right = administrator.get(f"{JOBS}?{query}", follow=True)
    wrong = administrator.get(f"{JOBS}?{query.replace(CANARY, 'nightjar')}", follow=True)
    assert _n_listed(right) == _n_listed(wrong)


def _n_listed(answer: Any) -> tuple[int, int | None]:
    found = answer.context.get("cl") if answer.context else None
    return answer.status_code, found and found.result_count


def test_jobs_are_found_by_id_and_own_ones_by_name(
    administrator: Client, root: User, job: Job
) -> None:
    mine = make_job_of(root, "mine", name=f"my {CANARY}.flac")
    found = administrator.get(f"{JOBS}?q={CANARY}").context["cl"].result_list
    assert [row.pk for row in found] == [mine.pk]
    found = administrator.get(f"{JOBS}?q={str(job.pk)[:13]}").context["cl"].result_list
    assert [row.pk for row in found] == [job.pk]


def test_the_order_of_names_and_messages_is_not_told(administrator: Client, job: Job) -> None:
    page = administrator.get(JOBS).content.decode()
    assert 'class="sortable column-status' in page
    assert 'class="sortable column-recording_name' not in page
    assert 'class="sortable column-short_message' not in page


def test_errors_of_queue_tasks_are_hidden(administrator: Client) -> None:
    times = {"started": timezone.now(), "stopped": timezone.now()}
    task = Failure.objects.create(
        id="1", name="a", func="transcription.tasks.prepare", result=CANARY, success=False, **times
    )
    url = "/admin/django_q/failure/"
    for path in ("", f"{task.pk}/change/", f"?result__contains={CANARY}"):
        answer = administrator.get(f"{url}{path}", follow=True)
        assert answer.status_code == (400 if "contains" in path else 200)
        assert CANARY not in answer.content.decode()
    assert "transcription.tasks.prepare" in administrator.get(url).content.decode()


def test_what_is_shared_with_an_administrator_is_shown(
    administrator: Client, root: User, job: Job
) -> None:
    Share.objects.create(recording=job.recording, user=root)
    assert CANARY in administrator.get(f"{JOBS}{job.pk}/change/").content.decode()
    last = AuditEntry.objects.first()
    assert last is not None
    assert (last.name, last.action, last.object_id) == ("root", "read", str(job.pk))


# ---- What is done


@pytest.mark.parametrize(
    "action", ["rerun", "retry_failed", "run_diarization", "cancel", "export_srt", "export_docx"]
)
def test_no_action_touches_other_peoples_jobs(administrator: Client, job: Job, action: str) -> None:
    before = list(Job.objects.values()), list(Segment.objects.values())
    answer = post(administrator, action, job)
    assert "1 job skipped: they belong to other people." in answer.content.decode()
    assert CANARY not in answer.content.decode()
    assert (list(Job.objects.values()), list(Segment.objects.values())) == before


def test_an_export_of_several_holds_ones_own_alone(
    administrator: Client, root: User, job: Job
) -> None:
    Job.objects.filter(pk=job.pk).update(status=Job.Status.COMPLETED)
    mine = make_job_of(root, "These words are mine.")
    answer = post(administrator, "export_txt", job, mine)
    assert "These words are mine." in answer.content.decode()
    assert CANARY not in answer.content.decode()
    exports = AuditEntry.objects.filter(action="export")
    assert [entry.object_id for entry in exports] == [str(mine.pk)]


def test_other_peoples_jobs_are_not_deleted(administrator: Client, root: User, job: Job) -> None:
    mine = make_job_of(root, "mine")
    page = post(administrator, "delete_selected", job, mine).content.decode()
    assert "a recording of anna" in page
    assert CANARY not in page
    post(administrator, "delete_selected", job, mine, post="yes")
    administrator.post(f"{JOBS}{job.pk}/delete/", {"post": "yes"})
    assert Job.objects.filter(pk=job.pk).exists()
    post(administrator, "delete_selected", mine, post="yes")
    assert not Job.objects.filter(pk=mine.pk).exists()


# ---- TRANSCRIBER_ADMINS_READ_ALL


def test_administrators_who_may_read_all_do_and_each_reading_is_noted(
    administrator: Client, job: Job, settings: Any
) -> None:
    settings.TRANSCRIBER_ADMINS_READ_ALL = True
    assert CANARY in administrator.get(f"/app/jobs/{job.pk}/").content.decode()
    assert CANARY in administrator.get(f"{JOBS}{job.pk}/change/").content.decode()
    assert CANARY in administrator.get("/admin/transcription/segment/").content.decode()
    url = f"/api/transcribe/result/{job.pk}?partial=true"
    assert CANARY in administrator.get(url).content.decode()
    read = AuditEntry.objects.filter(action="read").order_by("pk")
    assert list(read.values_list("name", "kind", "object_id", "detail")) == [
        ("root", "job", str(job.pk), "as administrator"),
        ("root", "segment", "", "list"),
    ]


def test_they_change_nothing_all_the_same(administrator: Client, job: Job, settings: Any) -> None:
    settings.TRANSCRIBER_ADMINS_READ_ALL = True
    before = list(Job.objects.values()), list(Segment.objects.values())
    segment = Segment.objects.get(job=job)
    change = {"text": "mine", "was": {"text": segment.text}}
    answers = [
        administrator.patch(
            f"/api/transcribe/segments/{segment.pk}", change, content_type="application/json"
        ),
        administrator.delete(f"/api/transcribe/jobs/{job.pk}"),
        administrator.post(f"/app/jobs/{job.pk}/retry"),
        administrator.post(f"{JOBS}{job.pk}/delete/", {"post": "yes"}),
    ]
    assert [answer.status_code for answer in answers[:3]] == [403] * 3
    post(administrator, "retry_failed", job)
    assert (list(Job.objects.values()), list(Segment.objects.values())) == before


def test_members_read_no_more_than_before(job: Job, settings: Any) -> None:
    settings.TRANSCRIBER_ADMINS_READ_ALL = True
    member = client_of(make_person("bert"))
    assert member.get(f"/app/jobs/{job.pk}/").status_code == 404
    assert member.get(JOBS).status_code == 302


# ---- Without accounts, and probes


def test_without_accounts_the_admin_is_as_it_was(
    administrator: Client, job: Job, settings: Any
) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "off"
    page = administrator.get(JOBS).content.decode()
    assert f"{CANARY}.flac" in page
    assert "a recording of" not in page
    assert administrator.get(f"{JOBS}?q={CANARY}").context["cl"].result_count == 1
    assert CANARY in administrator.get(f"{JOBS}{job.pk}/change/").content.decode()


def test_probes_learn_the_state_alone_and_administrators_the_parts(
    administrator: Client, anna: User, settings: Any
) -> None:
    for client in (Client(), client_of(anna)):
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert set(answer.json()) == {"status", "timestamp"}
    assert {"detail", "workers", "disk"} <= set(administrator.get("/health/ready").json())
    settings.TRANSCRIBER_ACCOUNTS = "off"
    assert {"detail", "workers", "disk"} <= set(Client().get("/health/ready").json())
