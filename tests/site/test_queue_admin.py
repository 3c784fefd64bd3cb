"""The queue in the admin can run nothing but what the apps have registered."""

import pytest
from django.contrib import admin
from django.test import Client
from django.utils import timezone
from django_q.models import Failure, Schedule, Task

from tests.admin_pages import act
from transcription.leasing import registry, wakeups
from transcription.wake import PREPARE_TASK

pytestmark = pytest.mark.django_db


def failed_task(function: str) -> Failure:
    now = timezone.now()
    Task.objects.create(
        id=function, name="a", func=function, started=now, stopped=now, success=False, result="why"
    )
    return Failure.objects.get(pk=function)


def test_no_schedule_can_be_made(admin_client: Client) -> None:
    assert not admin.site.is_registered(Schedule)
    for path in ("schedule/", "schedule/add/", "success/", "ormq/", "failure/add/"):
        assert admin_client.get(f"/admin/django_q/{path}").status_code in (403, 404), path


def test_a_failed_task_is_shown_with_its_error(admin_client: Client) -> None:
    task = failed_task(PREPARE_TASK)
    for path in ("", f"{task.pk}/change/"):
        page = admin_client.get(f"/admin/django_q/failure/{path}")
        assert page.status_code == 200
        assert "why" in page.content.decode()
    assert (
        admin_client.post(
            f"/admin/django_q/failure/{task.pk}/change/", {"func": "os.getcwd"}
        ).status_code
        == 403
    )


def test_a_task_of_ours_is_run_again(
    admin_client: Client, django_capture_on_commit_callbacks: pytest.FixtureRequest
) -> None:
    task = failed_task(PREPARE_TASK)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]  # pytest-django's
        [message] = act(admin_client, "run_again", task)
    assert "Enqueued 1" in message
    assert wakeups.queue_length(registry.INTERACTIVE) == 1
    assert not Failure.objects.exists()


def test_any_other_function_is_not(admin_client: Client) -> None:
    task = failed_task("os.getcwd")
    [message] = act(admin_client, "run_again", task)
    assert "alone" in message
    assert Failure.objects.filter(pk=task.pk).exists()
    assert wakeups.queue_length(registry.INTERACTIVE) == 0
