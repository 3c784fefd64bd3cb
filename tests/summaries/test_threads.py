"""The pool of threads that make summaries in a worker process."""

import threading
from collections.abc import Callable

from summaries.map_reduce import Outcome
from summaries.threads import SummaryThreads
from tests.service import wait_for


class FakeWork:
    """Stands in for `n` summaries; each blocks until `may_end` is set."""

    def __init__(self, n: int = 0, *, retry_after: float | None = None) -> None:
        self.n_waiting = n
        self.n_done = self.n_running = self.max_running = self.n_calls = 0
        self.may_end = threading.Event()
        self.retry_after = retry_after
        self.on_empty: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def next(self) -> Outcome | None:
        with self._lock:
            self.n_calls += 1
            is_claimed = self.n_waiting > 0
            self.n_waiting -= is_claimed
            self.n_running += is_claimed
            self.max_running = max(self.max_running, self.n_running)
        if not is_claimed:
            self.on_empty()
            return None
        assert self.may_end.wait(10)
        with self._lock:
            self.n_running -= 1
            self.n_done += 1
        return Outcome(self.retry_after)

    def is_done(self, n: int) -> Callable[[], bool]:
        return lambda: self.n_done == n


def test_at_most_four_summaries_are_made_at_once() -> None:
    work = FakeWork(10)
    threads = SummaryThreads(work.next)
    for _ in range(3):
        threads.wake(n=10)
    wait_for(lambda: work.n_running == 4, what="the start of four", seconds=5)
    work.may_end.set()
    wait_for(work.is_done(10), what="the end of all", seconds=5)
    assert work.max_running == 4


def test_waking_does_not_wait_for_the_work() -> None:
    work = FakeWork(1)
    SummaryThreads(work.next).wake()
    wait_for(lambda: work.n_running == 1, what="its start", seconds=5)
    assert work.n_done == 0
    work.may_end.set()
    wait_for(work.is_done(1), what="its end", seconds=5)


def test_work_that_comes_while_the_last_thread_is_about_to_end_is_done() -> None:
    work = FakeWork()
    work.may_end.set()
    threads = SummaryThreads(work.next, max_threads=1)

    def add_work() -> None:
        work.on_empty = lambda: None
        work.n_waiting = 1
        threads.wake()  # starts no thread: the one that found no work still counts

    work.on_empty = add_work
    threads.wake()
    wait_for(work.is_done(1), what="its end", seconds=5)


def test_a_thread_that_fails_frees_its_place_in_the_pool() -> None:
    n_failures = 0
    work = FakeWork(1)
    work.may_end.set()

    def fail_three_times() -> Outcome | None:
        nonlocal n_failures
        if n_failures < 3:
            n_failures += 1
            raise RuntimeError("the database is down")
        return work.next()

    threads = SummaryThreads(fail_three_times, max_threads=1)
    for n in range(1, 4):
        threads.wake()
        wait_for(lambda n=n: n_failures == n and threads._n_threads == 0, what="its end", seconds=5)  # type: ignore[misc]
    threads.wake()
    wait_for(work.is_done(1), what="its end", seconds=5)


def test_a_retry_wakes_the_pool_after_its_backoff() -> None:
    work = FakeWork(1, retry_after=0.2)
    work.may_end.set()
    SummaryThreads(work.next).wake()
    wait_for(work.is_done(1), what="its end", seconds=5)
    wait_for(lambda: work.n_calls >= 3, what="another look for work", seconds=5)
