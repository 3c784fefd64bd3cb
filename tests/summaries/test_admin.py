"""The admin of summaries: list, search, retry, delete."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from summaries.models import Summary
from tests.admin_pages import act
from tests.summaries.builders import make_summary
from tests.transcription.builders import make_job
from transcription.models import Leased

pytestmark = pytest.mark.django_db

LIST = "/admin/summaries/summary/"
MAX_QUERIES = 15


@pytest.fixture(autouse=True)
def _quick_passwords() -> Iterator[None]:
    hasher = "django.contrib.auth.hashers.MD5PasswordHasher"
    with override_settings(PASSWORD_HASHERS=[hasher]):
        yield


def test_the_list_is_searched_by_id_and_links_to_the_transcription(admin_client: Client) -> None:
    job = make_job(diarize=False)
    summary = make_summary(transcription=job)
    make_summary()
    for query in (summary.pk, job.pk):
        answer: Any = admin_client.get(f"{LIST}?q={query}")
        assert [row.pk for row in answer.context["cl"].result_list] == [summary.pk]
        assert reverse("admin:transcription_job_change", args=[job.pk]) in answer.content.decode()


def test_the_list_does_not_read_the_transcripts(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(60):
        make_summary()
    with django_assert_max_num_queries(MAX_QUERIES) as queries:
        assert admin_client.get(LIST).status_code == 200
    assert not [q for q in queries if '"summaries_summary"."transcript"' in q["sql"]]
    assert not [q for q in queries if '"summaries_summary"."partials"' in q["sql"]]


def test_a_summary_can_be_viewed_but_not_edited(admin_client: Client) -> None:
    summary = make_summary(summary="In short.")
    page = f"{LIST}{summary.pk}/change/"
    answer = admin_client.get(page)
    assert answer.status_code == 200
    assert "In short." in answer.content.decode()
    assert "Confidential." not in answer.content.decode()
    assert admin_client.post(page, {"message": "edited"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403


def test_failed_summaries_are_retried(admin_client: Client) -> None:
    failed = make_summary(state=Leased.State.FAILED, failures=3, attempts=10)
    done = make_summary(state=Leased.State.DONE)
    shown = act(admin_client, "retry_failed", failed, done)
    assert shown == ["1 summary queued again.", "1 summary skipped: not failed."]
    failed.refresh_from_db()
    done.refresh_from_db()
    assert (failed.state, failed.failures, failed.attempts) == (Leased.State.TODO, 0, 0)
    assert done.state == Leased.State.DONE


def test_summaries_are_deleted_and_their_transcription_stays(admin_client: Client) -> None:
    job = make_job(diarize=False)
    summary = make_summary(transcription=job)
    kept = make_summary()
    act(admin_client, "delete_selected", summary, post="yes")
    assert list(Summary.objects.values_list("pk", flat=True)) == [kept.pk]
    job.refresh_from_db()


def test_a_user_without_change_permission_cannot_retry(
    client: Client, django_user_model: Any
) -> None:
    from django.contrib.auth.models import Permission

    user = django_user_model.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_summary"))
    client.force_login(user)
    failed = make_summary(state=Leased.State.FAILED)
    answer: Any = client.post(
        LIST, {"action": "retry_failed", "_selected_action": [str(failed.pk)]}, follow=True
    )
    assert answer.status_code in (200, 403)
    failed.refresh_from_db()
    assert failed.state == Leased.State.FAILED
