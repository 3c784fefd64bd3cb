"""Summaries that fail, are retried, deleted, or lose their worker."""

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
from summaries.threads import SummaryThreads
from tests import queued
from tests.chat import fault_server as faults
from tests.rows import reload
from tests.servers import free_port
from tests.service import wait_for
from tests.summaries.builders import end_backoff, fail_after, request_summary, summarize_next
from tests.summaries.fake_provider import MODEL, CompletionRequest, Kind, Script, default_reply
from transcription.leasing import leases
from transcription.models import Leased

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]


# ---- Failures


def test_a_summary_resumes_after_the_last_saved_part(provider: str, script: Script) -> None:
    script.reply = fail_after(3)
    summary = request_summary()
    delay = summarize_next().retry_after
    assert delay == services.BACKOFF_SECONDS[0]
    failed = reload(summary)
    assert (failed.state, failed.failures) == (Leased.State.TODO, 1)
    assert "retried in 2 s" in failed.message
    assert "500" in failed.error
    assert map_reduce.summarize_next() is None, "its backoff has not passed"
    end_backoff(summary)
    noted = script.contents(Kind.NOTES)[:3]
    script.requests.clear()
    script.reply = default_reply
    summarize_next()
    made = reload(summary)
    assert (made.state, made.error) == (Leased.State.DONE, "")
    noted_later = set(script.contents(Kind.NOTES))
    assert not noted_later & set(noted)
    [whole] = script.contents(Kind.SUMMARY)
    assert whole.count("Much was said.") == 3 + len(noted_later)


def test_a_retry_asks_for_topics_alone_if_the_text_was_saved(provider: str, script: Script) -> None:
    script.reply = lambda request: 500 if request.kind == Kind.TOPICS else default_reply(request)
    summary = request_summary(n_segments=3)
    summarize_next()
    assert reload(summary).state == Leased.State.TODO
    end_backoff(summary)
    script.requests.clear()
    script.reply = default_reply
    summarize_next()
    assert [request.kind for request in script.requests] == [Kind.TOPICS]
    assert reload(summary).summary == "All of it in short."


def test_parts_that_are_split_otherwise_are_condensed_again(
    provider: str, script: Script, settings: LazySettings, updates: list[tuple[int, str]]
) -> None:
    script.reply = fail_after(3)
    summary = request_summary()
    summarize_next()
    assert len(reload(summary).partials[0]["done"]) == 3
    end_backoff(summary)
    script.requests.clear()
    script.reply = default_reply
    settings.TRANSCRIBER_LLM_CONTEXT_TOKENS = 2048
    summarize_next()
    assert reload(summary).state == Leased.State.DONE, reload(summary).error
    progress = [percent for percent, _ in updates]
    assert progress == sorted(progress), "it never decreases"
    noted = "".join(script.contents(Kind.NOTES))
    assert all(f"Point {index} of" in noted for index in range(120))


def test_notes_of_another_model_are_discarded(
    provider: str, script: Script, settings: LazySettings
) -> None:
    script.models = (MODEL, "another")
    script.reply = fail_after(3)
    summary = request_summary()
    summarize_next()
    end_backoff(summary)
    script.requests.clear()
    script.reply = default_reply
    settings.TRANSCRIBER_LLM_MODEL = "another"
    summarize_next()
    assert reload(summary).model_used == "another"
    assert {request.model for request in script.requests} == {"another"}
    noted = "".join(script.contents(Kind.NOTES))
    assert all(f"Point {index} of" in noted for index in range(120))


def test_a_summary_fails_for_good_with_its_last_error(
    provider: str, script: Script, settings: LazySettings
) -> None:
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 2
    script.reply = lambda _: 500
    summary = request_summary(n_segments=3)
    assert summarize_next().retry_after is not None
    end_backoff(summary)
    assert summarize_next().retry_after is None
    failed = reload(summary)
    assert (failed.state, failed.failures) == (Leased.State.FAILED, 2)
    assert failed.message == failed.error
    assert "500" in failed.message
    assert failed.finished_at is not None
    assert map_reduce.summarize_next() is None


def test_an_error_that_cannot_be_retried_fails_at_once(provider: str, script: Script) -> None:
    script.reply = lambda _: 401
    summary = request_summary(n_segments=3)
    assert summarize_next().retry_after is None
    assert reload(summary).state == Leased.State.FAILED
    assert reload(summary).message
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (faults.hang, "TRANSCRIBER_LLM_TIMEOUT_SECONDS"),
        (faults.send_text("{"), "not JSON"),
        (faults.cut_body, "in the middle"),
        (faults.reply("## Summary"), "empty answer"),
    ],
)
def test_a_faulty_provider_fails_the_summary_with_the_reason(
    settings: LazySettings, behaviour: faults.Behaviour, expected: str
) -> None:
    settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS = 3
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 1
    with faults.FaultServer() as server:
        settings.OPENAI_BASE_URL = server.url
        server.behave(behaviour)
        summary = request_summary(n_segments=3, model_name=faults.MODEL)
        summarize_next()
    failed = reload(summary)
    assert failed.state == Leased.State.FAILED
    assert expected in failed.message
    assert (failed.summary, failed.length) == ("", 0)


def test_a_model_that_no_longer_exists_is_named(provider: str) -> None:
    summary = request_summary(n_segments=3, model_name="gpt-99")
    assert summarize_next().retry_after is None
    assert reload(summary).state == Leased.State.FAILED
    assert "gpt-99" in reload(summary).message


def test_a_provider_that_is_down_fails_the_summary_without_a_fallback(
    settings: LazySettings,
) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS = 1
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 1
    summary = request_summary(n_segments=3, model_name=MODEL)
    summarize_next()
    assert reload(summary).state == Leased.State.FAILED
    assert reload(summary).message
    assert reload(summary).summary == ""


def test_an_unexpected_error_is_logged_and_retried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(loading, "open_model", broken)
    summary = request_summary(n_segments=3)
    with caplog.at_level(logging.ERROR):
        assert summarize_next().retry_after is not None
    assert reload(summary).state == Leased.State.TODO
    assert "by nought" in reload(summary).message
    assert any(record.exc_info for record in caplog.records)


def test_a_failure_is_retried_after_its_backoff(
    provider: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BACKOFF_SECONDS", (0.3,))
    n_failures = 0

    def reply(request: CompletionRequest) -> str | int:
        nonlocal n_failures
        if request.kind == Kind.SUMMARY and n_failures < 2:
            n_failures += 1
            return 503
        return default_reply(request)

    script.reply = reply
    summary = request_summary(n_segments=3)
    threads = SummaryThreads(map_reduce.summarize_next)
    threads.wake()
    wait_for(lambda: script.of_kind(Kind.TOPICS), what="the request for topics", seconds=10)
    wait_for(lambda: not threads._n_threads, what="its end", seconds=5)
    assert n_failures == 2
    assert reload(summary).state == Leased.State.DONE
    assert reload(summary).error == ""


def test_a_failed_summary_can_be_retried(provider: str, script: Script) -> None:
    script.reply = lambda _: 401
    summary = request_summary(n_segments=3)
    assert not services.retry_failed(summary_id=summary.pk), "it has not failed yet"
    summarize_next()
    queued.lose_messages()
    assert services.retry_failed(summary_id=summary.pk)
    assert queued.n_messages() == 1
    script.reply = default_reply
    summarize_next()
    assert reload(summary).state == Leased.State.DONE


# ---- Deletion and lost leases


@pytest.fixture
def running(provider: str, script: Script) -> Iterator[tuple[Summary, threading.Thread]]:
    """A summary that is being made, whose provider does not answer yet, and the thread that makes it."""
    script.may_answer.clear()
    summary = request_summary(n_segments=3)

    def run() -> None:
        try:
            map_reduce.summarize_next()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: script.requests, what="the request to the provider", seconds=5)
    yield summary, thread
    script.may_answer.set()
    thread.join(10)


def test_deleting_a_summary_cancels_its_request(
    running: tuple[Summary, threading.Thread], script: Script
) -> None:
    summary, thread = running
    assert services.delete_summary(summary_id=summary.pk)
    thread.join(3)
    assert not thread.is_alive()
    wait_for(lambda: script.n_cancelled == 1, what="the cancellation of the request", seconds=2)
    assert not Summary.objects.exists()
    assert not services.delete_summary(summary_id=summary.pk)


def test_a_worker_that_lost_its_lease_writes_nothing(
    running: tuple[Summary, threading.Thread], script: Script
) -> None:
    summary, thread = running
    Summary.objects.filter(pk=summary.pk).update(worker="another/1/1.00/claim", message="Mine")
    script.may_answer.set()
    thread.join(3)
    assert not thread.is_alive()
    kept = reload(summary)
    assert (kept.worker, kept.message, kept.summary) == ("another/1/1.00/claim", "Mine", "")
    assert kept.state == Leased.State.DOING


# ---- Recovery


def claim_and_die(summary: Summary) -> None:
    assert services.claim() is not None
    dead = f"{leases._machine()}/{2**22 + 1}/1.00/claim"
    Summary.objects.filter(pk=summary.pk).update(worker=dead)


def test_recovery_after_a_dead_worker_and_a_lost_message() -> None:
    summary = request_summary(n_segments=3)
    claim_and_die(summary)
    queued.lose_messages()
    services.recover()
    assert reload(summary).state == Leased.State.TODO
    assert queued.n_messages() == 1
    summarize_next()
    assert reload(summary).state == Leased.State.DONE
    queued.lose_messages()
    services.recover()
    assert queued.n_messages() == 0


def test_a_summary_that_kills_its_workers_fails() -> None:
    summary = request_summary(n_segments=3)
    for _ in range(leases.MAX_ATTEMPTS):
        claim_and_die(summary)
        services.recover()
    assert services.claim() is None
    failed = reload(summary)
    assert failed.state == Leased.State.FAILED
    assert "workers died" in failed.message
    assert services.retry_failed(summary_id=summary.pk)
    assert services.claim() is not None


def test_a_saved_part_resets_the_attempt_and_failure_counters(
    provider: str, script: Script
) -> None:
    summary = request_summary()
    Summary.objects.filter(pk=summary.pk).update(attempts=leases.MAX_ATTEMPTS - 1, failures=1)
    script.reply = fail_after(1)
    summarize_next()
    assert (reload(summary).attempts, reload(summary).failures) == (1, 1)
