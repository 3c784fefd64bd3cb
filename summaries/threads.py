"""Threads of an interactive worker process that make summaries.

A summary may wait minutes for its provider, and meanwhile the worker must prepare uploads; so summaries are made in
threads beside its queue tasks. A process that is told to stop waits for them: they put what they hold back into the
queue. After a kill recovery does that, and the next attempt resumes after what was saved.
"""

import logging
import threading
from collections.abc import Callable

from django.db import connection

from summaries import map_reduce, services
from transcription.leasing import workers

MAX_THREADS = 4

_logger = logging.getLogger(__name__)


class SummaryThreads:
    """A pool of at most `max_threads` threads, each of which ends when no summary waits."""

    def __init__(
        self,
        summarize_next: Callable[[], map_reduce.Outcome | None],
        *,
        max_threads: int = MAX_THREADS,
    ) -> None:
        self._summarize_next = summarize_next
        self._max_threads = max_threads
        self._lock = threading.Lock()
        self._n_threads = 0
        self._n_wakes = 0

    def wake(self, *, n: int = 1) -> None:
        """Start `n` more threads, as far as the limit allows; running threads look for work again."""
        with self._lock:
            self._n_wakes += 1
            n_more = min(n, self._max_threads - self._n_threads)
            self._n_threads += n_more
        for _ in range(n_more):
            threading.Thread(target=self._run, name="summaries").start()

    def wake_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self.wake)
        timer.daemon = True
        timer.start()

    def _run(self) -> None:
        try:
            while not self._end_unless_woken_since(self._summarize_all()):
                pass
        except Exception:
            _logger.exception("A summary thread ended with an error.")  # recovery starts another
            with self._lock:
                self._n_threads -= 1
        finally:
            connection.close()

    def _summarize_all(self) -> int:
        """Make summaries until none waits, or the process is to stop.

        Returns the number of wake-ups before the last look at the queue.
        """
        while True:
            n_wakes = self._n_wakes
            outcome = None if workers.stopping.is_set() else self._summarize_next()
            if outcome is None:
                return n_wakes
            if outcome.retry_after is not None:
                self.wake_after(outcome.retry_after)

    def _end_unless_woken_since(self, n_wakes: int) -> bool:
        """Give up this thread's place in the pool; False if there were wake-ups after the first `n_wakes`.

        Such a wake-up may have started no thread because of this one, so this one has to look again.
        """
        with self._lock:
            if n_wakes != self._n_wakes:
                return False
            self._n_threads -= 1
            return True


_threads = SummaryThreads(map_reduce.summarize_next)


def wake() -> None:
    """Start a thread for each summary that waits, as far as the limit allows."""
    if n := services.claimable().count():
        _threads.wake(n=n)
