"""A cluster fetches a task when its worker is idle, so none waits there while another cluster is idle."""

import multiprocessing
from typing import Any

import pytest
from django_q.conf import Conf

from transcriber_site.cluster import IdleBroker


class Broker:
    list_key = "interactive"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.failed: list[Any] = []

    def dequeue(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fail(self, task_id: Any) -> None:
        self.failed.append(task_id)


TASK = [(1, "a task")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "POLL", 0.01)


def idle() -> Any:
    return multiprocessing.get_context("fork").Semaphore(1)


def test_a_second_task_is_fetched_when_the_first_has_ended() -> None:
    is_idle, broker = idle(), Broker(TASK, TASK)
    pusher = IdleBroker(broker, is_idle)
    assert pusher.list_key == "interactive"
    assert pusher.dequeue() == TASK
    for _ in range(3):
        assert pusher.dequeue() is None
    assert broker.answers == [TASK], "it is left to other clusters"
    is_idle.release()  # as at the end of the task
    assert pusher.dequeue() == TASK


@pytest.mark.parametrize("nothing", [None, []])
def test_an_empty_queue_keeps_the_worker_idle(nothing: Any) -> None:
    pusher = IdleBroker(Broker(nothing, nothing, TASK), idle())
    assert [pusher.dequeue() for _ in range(3)] == [nothing, nothing, TASK]


def test_a_queue_that_is_down_keeps_the_worker_idle() -> None:
    pusher = IdleBroker(Broker(ConnectionError("gone"), TASK), idle())
    with pytest.raises(ConnectionError):
        pusher.dequeue()
    assert pusher.dequeue() == TASK


def test_a_task_that_cannot_be_read_keeps_the_worker_idle() -> None:
    broker = Broker(TASK, TASK)
    pusher = IdleBroker(broker, idle())
    assert pusher.dequeue() == TASK
    pusher.fail(1)
    assert broker.failed == [1]
    assert pusher.dequeue() == TASK
