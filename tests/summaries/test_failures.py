"""Summaries that fail, are tried again, are given up, or are not wanted any more."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection

from chat.llm import loading
from summaries import map_reduce, services
from summaries.models import Summary
from summaries.threads import Crew
from tests import queued
from tests.chat import fault_server as faults
from tests.servers import free_port
from tests.service import wait_for
from tests.summaries.making import begin, failing_after, let_it_be_due, now, work
from tests.summaries.provider import MODEL, NAMES, NOTES, SUMMARY, Asked, Script, said
from transcription.leasing import leases
from transcription.models import Leased

pytestmark = pytest.mark.django_db(transaction=True)


# ---- Failures


def test_a_summary_goes_on_after_the_last_part_that_was_saved(
    provider: str, script: Script
) -> None:
    script.reply = failing_after(3)
    summary = begin()
    pause = work().again_after
    assert pause == services.PAUSE_SECONDS[0]
    failed = now(summary)
    assert (failed.state, failed.failures) == (Leased.State.TODO, 1)
    assert "tried again" in failed.message
    assert "500" in failed.error
    assert map_reduce.work_on_next() is None, "its pause is not over"
    let_it_be_due(summary)
    noted = [asked.content for asked in script.of_kind(NOTES) if asked.content][:3]
    script.asked.clear()
    script.reply = said
    work()
    made = now(summary)
    assert (made.state, made.error) == (Leased.State.DONE, "")
    assert not {asked.content for asked in script.of_kind(NOTES)} & set(noted)
    assert "Much was said." in script.of_kind(SUMMARY)[0].content
    assert script.of_kind(SUMMARY)[0].content.count("Much was said.") == 3 + len(
        {asked.content for asked in script.of_kind(NOTES)}
    )


def test_a_summary_that_has_its_text_asks_for_topics_alone(provider: str, script: Script) -> None:
    script.reply = lambda asked: 500 if asked.kind == NAMES else said(asked)
    summary = begin(n_segments=3)
    work()
    assert now(summary).state == Leased.State.TODO
    let_it_be_due(summary)
    script.asked.clear()
    script.reply = said
    work()
    assert [asked.kind for asked in script.asked] == [NAMES]
    assert now(summary).summary == "All of it in short."


def test_parts_that_are_cut_in_another_way_are_done_anew(
    provider: str, script: Script, settings: LazySettings, told: list[tuple[int, str]]
) -> None:
    script.reply = failing_after(3)
    summary = begin()
    work()
    assert len(now(summary).partials[0]["done"]) == 3
    let_it_be_due(summary)
    script.asked.clear()
    script.reply = said
    settings.TRANSCRIBER_LLM_CONTEXT_TOKENS = 2048
    work()
    assert now(summary).state == Leased.State.DONE, now(summary).error
    progress = [percent for percent, _ in told]
    assert progress == sorted(progress), "it never goes back"
    noted = "".join(asked.content for asked in script.of_kind(NOTES))
    assert all(f"Point {index} of" in noted for index in range(120))


def test_what_another_model_made_is_not_mixed_in(
    provider: str, script: Script, settings: LazySettings
) -> None:
    script.models = (MODEL, "another")
    script.reply = failing_after(3)
    summary = begin()
    work()
    let_it_be_due(summary)
    script.asked.clear()
    script.reply = said
    settings.TRANSCRIBER_LLM_MODEL = "another"
    work()
    assert now(summary).model_used == "another"
    assert {asked.model for asked in script.asked} == {"another"}
    noted = "".join(asked.content for asked in script.of_kind(NOTES))
    assert all(f"Point {index} of" in noted for index in range(120))


def test_what_keeps_failing_fails_with_the_last_reason(
    provider: str, script: Script, settings: LazySettings
) -> None:
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 2
    script.reply = lambda _: 500
    summary = begin(n_segments=3)
    assert work().again_after is not None
    let_it_be_due(summary)
    assert work().again_after is None
    failed = now(summary)
    assert (failed.state, failed.failures) == (Leased.State.FAILED, 2)
    assert failed.message == failed.error
    assert "500" in failed.message
    assert failed.finished_at is not None
    assert map_reduce.work_on_next() is None


def test_what_trying_again_cannot_help_fails_at_once(provider: str, script: Script) -> None:
    script.reply = lambda _: 401
    summary = begin(n_segments=3)
    assert work().again_after is None
    assert now(summary).state == Leased.State.FAILED
    assert now(summary).message
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (faults.hang, "TRANSCRIBER_LLM_TIMEOUT_SECONDS"),
        (faults.send_text("{"), "not JSON"),
        (faults.cut_body, "in the middle"),
        (faults.say("## Summary"), "empty answer"),
    ],
)
def test_a_provider_that_misbehaves_is_told_with_its_reason(
    settings: LazySettings, behaviour: faults.Behaviour, said: str
) -> None:
    settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS = 3
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 1
    with faults.FaultServer() as server:
        settings.OPENAI_BASE_URL = server.url
        server.behave(behaviour)
        summary = begin(n_segments=3, model_name=faults.MODEL)
        work()
    failed = now(summary)
    assert failed.state == Leased.State.FAILED
    assert said in failed.message
    assert (failed.summary, failed.length) == ("", 0)


def test_a_model_that_is_gone_by_now_is_named(provider: str) -> None:
    summary = begin(n_segments=3, model_name="gpt-99")
    assert work().again_after is None
    assert now(summary).state == Leased.State.FAILED
    assert "gpt-99" in now(summary).message


def test_a_provider_that_is_away_fails_without_another_taking_its_place(
    settings: LazySettings,
) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS = 1
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 1
    summary = begin(n_segments=3, model_name=MODEL)
    work()
    assert now(summary).state == Leased.State.FAILED
    assert now(summary).message
    assert now(summary).summary == ""


def test_what_nobody_foresaw_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(loading, "opened", broken)
    summary = begin(n_segments=3)
    with caplog.at_level(logging.ERROR):
        assert work().again_after is not None
    assert now(summary).state == Leased.State.TODO
    assert "by nought" in now(summary).message
    assert any(record.exc_info for record in caplog.records)


def test_what_failed_is_tried_again_by_itself_when_its_pause_is_over(
    provider: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "PAUSE_SECONDS", (0.3,))
    n_failures = 0

    def reply(asked: Asked) -> str | int:
        nonlocal n_failures
        if asked.kind == SUMMARY and n_failures < 2:
            n_failures += 1
            return 503
        return said(asked)

    script.reply = reply
    summary = begin(n_segments=3)
    crew = Crew(map_reduce.work_on_next)
    crew.wake()
    wait_for(lambda: script.of_kind(NAMES), what="that it succeeds", seconds=10)
    wait_for(lambda: not crew._n_threads, what="its end", seconds=5)
    assert n_failures == 2
    assert now(summary).state == Leased.State.DONE
    assert now(summary).error == ""


def test_a_failed_summary_can_be_tried_again(provider: str, script: Script) -> None:
    script.reply = lambda _: 401
    summary = begin(n_segments=3)
    assert not services.retry_failed(summary_id=summary.pk), "it did not fail yet"
    work()
    queued.lose_messages()
    assert services.retry_failed(summary_id=summary.pk)
    assert queued.n_messages() == 1
    script.reply = said
    work()
    assert now(summary).state == Leased.State.DONE


# ---- What is not wanted any more


@pytest.fixture
def at_work(provider: str, script: Script) -> Iterator[tuple[Summary, threading.Thread]]:
    """A summary whose provider is asked and does not answer."""
    script.may_answer.clear()
    summary = begin(n_segments=3)

    def run() -> None:
        try:
            map_reduce.work_on_next()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: script.asked, what="that the provider is asked", seconds=5)
    yield summary, thread
    script.may_answer.set()
    thread.join(10)


def test_a_summary_that_is_deleted_is_not_asked_for_any_longer(
    at_work: tuple[Summary, threading.Thread], script: Script
) -> None:
    summary, thread = at_work
    assert services.delete_summary(summary_id=summary.pk)
    thread.join(3)
    assert not thread.is_alive()
    wait_for(lambda: script.n_abandoned == 1, what="that the request is cancelled", seconds=2)
    assert not Summary.objects.exists()
    assert not services.delete_summary(summary_id=summary.pk)


def test_who_lost_its_lease_writes_nothing(
    at_work: tuple[Summary, threading.Thread], script: Script
) -> None:
    summary, thread = at_work
    Summary.objects.filter(pk=summary.pk).update(worker="another/1/1.00/claim", message="Mine")
    script.may_answer.set()
    thread.join(3)
    assert not thread.is_alive()
    kept = now(summary)
    assert (kept.worker, kept.message, kept.summary) == ("another/1/1.00/claim", "Mine", "")
    assert kept.state == Leased.State.DOING


# ---- Recovery


def claim_and_die(summary: Summary) -> None:
    assert services.claim() is not None
    dead = f"{leases._machine()}/{2**22 + 1}/1.00/claim"
    Summary.objects.filter(pk=summary.pk).update(worker=dead)


def test_a_lost_worker_and_a_lost_message_are_made_good() -> None:
    summary = begin(n_segments=3)
    claim_and_die(summary)
    queued.lose_messages()
    services.recover()
    assert now(summary).state == Leased.State.TODO
    assert queued.n_messages() == 1
    work()
    assert now(summary).state == Leased.State.DONE
    queued.lose_messages()
    services.recover()
    assert queued.n_messages() == 0


def test_a_summary_that_kills_its_workers_is_given_up() -> None:
    summary = begin(n_segments=3)
    for _ in range(leases.MAX_ATTEMPTS):
        claim_and_die(summary)
        services.recover()
    assert services.claim() is None
    failed = now(summary)
    assert failed.state == Leased.State.FAILED
    assert "workers died" in failed.message
    assert services.retry_failed(summary_id=summary.pk)
    assert services.claim() is not None


def test_a_part_that_is_saved_takes_the_blame_away(provider: str, script: Script) -> None:
    summary = begin()
    Summary.objects.filter(pk=summary.pk).update(attempts=leases.MAX_ATTEMPTS - 1, failures=1)
    script.reply = failing_after(1)
    work()
    assert (now(summary).attempts, now(summary).failures) == (1, 1)
