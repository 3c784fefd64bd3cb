"""Threads of a worker process that make summaries.

A summary may wait minutes for its provider. The worker that is told of it must not: it prepares people's uploads
too. So these threads do the waiting beside it. They end with their process, whatever they are at: its lease is
given up by recovery, and what was saved is gone on from.
"""

import logging
import threading
from collections.abc import Callable

from django.db import connection

from summaries import map_reduce, services

MOST_AT_ONCE = 4

_logger = logging.getLogger(__name__)


class Crew:
    """At most `most_at_once` threads, which end when there is nothing left to do."""

    def __init__(
        self,
        work_on_next: Callable[[], map_reduce.Outcome | None],
        *,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._work_on_next = work_on_next
        self._most_at_once = most_at_once
        self._lock = threading.Lock()
        self._n_threads = 0
        self._n_wakes = 0

    def wake(self, *, n: int = 1) -> None:
        """Have `n` more threads look for work, if there may be so many."""
        with self._lock:
            self._n_wakes += 1
            n_more = min(n, self._most_at_once - self._n_threads)
            self._n_threads += n_more
        for _ in range(n_more):
            threading.Thread(target=self._work, name="summaries", daemon=True).start()

    def wake_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self.wake)
        timer.daemon = True
        timer.start()

    def _work(self) -> None:
        try:
            while not self._may_end(self._work_until_nothing_is_left()):
                pass
        except Exception:
            _logger.exception("A thread that makes summaries ended.")  # recovery wakes another
            with self._lock:
                self._n_threads -= 1
        finally:
            connection.close()

    def _work_until_nothing_is_left(self) -> int:
        """How often this crew had been woken when last there was something to look for."""
        while True:
            n_wakes = self._n_wakes
            outcome = self._work_on_next()
            if outcome is None:
                return n_wakes
            if outcome.again_after is not None:
                self.wake_after(outcome.again_after)

    def _may_end(self, n_wakes: int) -> bool:
        """Whether nobody was told of new work after this thread looked and found none."""
        with self._lock:
            if n_wakes != self._n_wakes:
                return False
            self._n_threads -= 1
            return True


_crew = Crew(map_reduce.work_on_next)


def wake() -> None:
    """Have this process work at all that waits."""
    if n := services.claimable().count():
        _crew.wake(n=n)
