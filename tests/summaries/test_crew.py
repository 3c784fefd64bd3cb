"""The threads that make summaries in a worker process."""

import threading
from collections.abc import Callable

from summaries.map_reduce import Outcome
from summaries.threads import Crew
from tests.service import wait_for


class Work:
    """So many pieces of work, each of which waits until it may end."""

    def __init__(self, n: int = 0, *, again_after: float | None = None) -> None:
        self.n_left = n
        self.n_done = self.n_at_once = self.most_at_once = self.n_looks = 0
        self.may_end = threading.Event()
        self.again_after = again_after
        self.when_nothing_is_left: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def next(self) -> Outcome | None:
        with self._lock:
            self.n_looks += 1
            is_left = self.n_left > 0
            self.n_left -= is_left
            self.n_at_once += is_left
            self.most_at_once = max(self.most_at_once, self.n_at_once)
        if not is_left:
            self.when_nothing_is_left()
            return None
        assert self.may_end.wait(10)
        with self._lock:
            self.n_at_once -= 1
            self.n_done += 1
        return Outcome(self.again_after)

    def is_done(self, n: int) -> Callable[[], bool]:
        return lambda: self.n_done == n


def test_no_more_than_four_are_made_at_once() -> None:
    work = Work(10)
    crew = Crew(work.next)
    for _ in range(3):
        crew.wake(n=10)
    wait_for(lambda: work.n_at_once == 4, what="that four are being made", seconds=5)
    work.may_end.set()
    wait_for(work.is_done(10), what="that all are made", seconds=5)
    assert work.most_at_once == 4


def test_waking_does_not_wait_for_the_work() -> None:
    work = Work(1)
    Crew(work.next).wake()
    wait_for(lambda: work.n_at_once == 1, what="that it is begun", seconds=5)
    assert work.n_done == 0
    work.may_end.set()
    wait_for(work.is_done(1), what="its end", seconds=5)


def test_what_comes_while_the_last_thread_is_about_to_end_is_not_left_lying() -> None:
    work = Work()
    work.may_end.set()
    crew = Crew(work.next, most_at_once=1)

    def another_comes() -> None:
        work.when_nothing_is_left = lambda: None
        work.n_left = 1
        crew.wake()  # no thread may be added: the one that found nothing has not ended yet

    work.when_nothing_is_left = another_comes
    crew.wake()
    wait_for(work.is_done(1), what="that it is made", seconds=5)


def test_a_thread_that_fails_leaves_its_place_to_another() -> None:
    n_failures = 0
    work = Work(1)
    work.may_end.set()

    def fail_at_first() -> Outcome | None:
        nonlocal n_failures
        if n_failures < 3:
            n_failures += 1
            raise RuntimeError("the database is away")
        return work.next()

    crew = Crew(fail_at_first, most_at_once=1)
    for n in range(1, 4):
        crew.wake()
        wait_for(lambda n=n: n_failures == n and crew._n_threads == 0, what="its end", seconds=5)  # type: ignore[misc]
    crew.wake()
    wait_for(work.is_done(1), what="that it is made", seconds=5)


def test_what_is_to_be_tried_again_wakes_the_crew_when_it_is_time() -> None:
    work = Work(1, again_after=0.2)
    work.may_end.set()
    Crew(work.next).wake()
    wait_for(work.is_done(1), what="its end", seconds=5)
    wait_for(lambda: work.n_looks >= 3, what="that it looks once more", seconds=5)
