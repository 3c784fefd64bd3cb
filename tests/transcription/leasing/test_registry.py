"""What apps have workers do: tasks and their clusters, the start of a worker, recovery."""

import logging
import threading

import pytest
from django.apps import apps
from django.core.management import call_command
from django.utils.module_loading import import_string
from django_q.models import Schedule

from transcription import wake
from transcription.leasing import registry, workers

pytestmark = pytest.mark.both

APPS = ("transcription", "summaries", "retranslation", "accounts")


def test_each_app_with_work_for_workers_is_registered_with_functions_that_exist() -> None:
    assert set(registry._apps) == set(APPS)
    for work in registry._apps.values():
        named = [*work.tasks, work.recover, *filter(None, [work.on_worker_start])]
        assert all(callable(import_string(path)) for path in named)
        assert set(work.tasks.values()) <= set(registry.CLUSTERS)


def test_a_task_is_run_by_the_cluster_that_its_app_names() -> None:
    assert registry.cluster_of(wake.SPEECH_TASK) == registry.SPEECH
    assert registry.cluster_of(wake.PREPARE_TASK) == registry.INTERACTIVE
    with pytest.raises(KeyError, match="no_such"):
        registry.cluster_of("transcription.tasks.no_such")


def test_registering_twice_changes_nothing() -> None:
    before = dict(registry._apps)
    for name in APPS:
        apps.get_app_config(name).ready()
    assert registry._apps == before


def test_a_worker_that_starts_runs_what_was_registered_and_recovers_lost_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = []
    monkeypatch.setattr("transcription.tasks.on_worker_start", lambda: called.append("start"))
    for work in registry._apps.values():
        monkeypatch.setattr(work.recover, lambda: called.append("recover"))
    registry.start_worker()
    assert called == ["start", *["recover"] * len(APPS)]


def test_an_app_whose_recovery_fails_keeps_no_other_from_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recovered = []

    def fail() -> None:
        raise OSError("the queue is down")

    monkeypatch.setattr("transcription.jobs.recovery.recover", fail)
    monkeypatch.setattr("summaries.services.recover", lambda: recovered.append("summaries"))
    monkeypatch.setattr("retranslation.services.recover", lambda: recovered.append("retranslation"))
    monkeypatch.setattr("accounts.recovery.recover", lambda: recovered.append("accounts"))
    with caplog.at_level(logging.ERROR):
        registry.recover_all()
    assert sorted(recovered) == ["accounts", "retranslation", "summaries"]
    assert "Lost work of transcription could not be recovered" in caplog.text


@pytest.mark.django_db
def test_schedules_of_earlier_versions_are_deleted_and_others_stay() -> None:
    for name in ("transcription: recover", "summaries: recover", "somebody's own"):
        Schedule.objects.create(name=name, func="transcription.tasks.recover", repeats=-1)
    call_command("migrate", verbosity=0)
    assert list(Schedule.objects.values_list("name", flat=True)) == ["somebody's own"]


def test_a_repeated_call_that_fails_is_tried_again_until_the_process_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping, n_calls, third = threading.Event(), 0, threading.Event()
    monkeypatch.setattr(workers, "stopping", stopping)
    monkeypatch.setattr(workers, "connection", type("None", (), {"close": lambda: None}))

    def act() -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            third.set()
        raise OSError("just now")

    workers.repeat_until_stopping(act, seconds=0.01, name="a test's")
    assert third.wait(10)
    stopping.set()
    [thread] = [one for one in threading.enumerate() if one.name == "a test's"]
    thread.join(10)
    assert not thread.is_alive()
