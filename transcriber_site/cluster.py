"""django-q2's cluster, extended to survive `kill -9` of any of its processes.

A cluster is a tree of processes: its leader, a sentinel, and the sentinel's children (a worker, a
pusher that fetches tasks, a monitor that acknowledges them). In django-q2 1.11,

- when the leader or the sentinel is killed, the other processes become orphans that keep fetching
  and running tasks;
- an idle worker holds the task queue's lock while it waits for a task, so after it is killed no
  replacement worker ever gets one: a deadlock;
- on SIGTERM a worker still runs the tasks that were fetched for it, however long they take;
- a cluster whose worker is busy fetches two more tasks, which wait while other clusters are idle.

Therefore every process of the tree dies with its parent; a cluster whose child was killed exits as
a whole, and its supervisor restarts it; a cluster that is stopped puts the tasks that it has
fetched but not started back on the queue; a task is fetched when the worker is idle.
"""

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import django_q.cluster
from django_q.conf import Conf
from django_q.pusher import pusher
from django_q.signals import post_execute_in_worker
from django_q.signing import SignedPackage

from transcriber_site.processes import forks_die_with_parent
from transcription.leasing import schema

NICENESS = {"interactive": 5, "speech": 10}
"""By cluster. Inference uses every core; a higher niceness keeps the web process responsive."""

_logger = logging.getLogger(__name__)


class IdleBroker:
    """A pusher's broker that fetches a task only when the cluster's worker is idle, and may work."""

    def __init__(
        self, broker: Any, is_idle: Any, may_work: Callable[[], bool] = lambda: True
    ) -> None:
        self._broker = broker
        self._is_idle = is_idle
        self._may_work = may_work
        self.list_key = broker.list_key

    def dequeue(self) -> Any:
        if not self._is_idle.acquire(timeout=Conf.POLL):
            return None
        tasks = None
        try:
            if self._may_work():
                tasks = self._broker.dequeue()
            else:
                time.sleep(Conf.POLL)  # the task is left to workers of the schema's version
        finally:
            if not tasks:
                self._is_idle.release()
        return tasks

    def fail(self, task_id: Any) -> None:
        """Drop a task that cannot be read, so that the worker does not get it."""
        self._is_idle.release()
        self._broker.fail(task_id)


class Sentinel(django_q.cluster.Sentinel):  # type: ignore[misc]  # django_q is untyped
    def start(self) -> None:
        # A signal handler, because the guard loop itself can block on a lock of a killed worker.
        signal.signal(signal.SIGCHLD, lambda signum, frame: self._exit_if_child_died())
        self._is_idle = multiprocessing.get_context("fork").Semaphore(1)
        post_execute_in_worker.connect(self._on_task_end, weak=False)
        super().start()

    def spawn_pusher(self) -> Any:
        broker = IdleBroker(self.broker, self._is_idle, schema.is_fit_by_now)
        return self.spawn_process(pusher, self.task_queue, self.event_out, broker)

    def _on_task_end(self, **_: Any) -> None:
        self._is_idle.release()

    def reincarnate(self, process: Any) -> None:
        self._exit_if_child_died()
        super().reincarnate(process)

    def stop(self) -> None:
        for process in self.pool:
            if process.is_alive():
                # The worker then stops its task at the next checkpoint.
                os.kill(process.pid, signal.SIGTERM)
        self.event_out.set()
        while self.pusher.is_alive() or not self.task_queue.empty():
            try:
                task = self.task_queue.get(timeout=0.1)
            except queue.Empty:
                continue
            self._requeue(task)
        super().stop()

    def _exit_if_child_died(self) -> None:
        for process in (*self.pool, self.monitor, self.pusher):
            if process is not None and process.exitcode not in (None, 0):
                self._exit(f"process {process.pid} exited with {process.exitcode}")

    def _exit(self, reason: str) -> NoReturn:
        try:
            _logger.critical("Cluster %s exits: %s", self.queue_name(), reason)
        finally:
            os._exit(1)  # the children die with their parent

    def _requeue(self, task: dict[str, Any]) -> None:
        ack_id = task.pop("ack_id", None)
        self.broker.enqueue(SignedPackage.dumps(task))
        self.broker.acknowledge(ack_id)


def run_cluster() -> int:
    """Run a cluster until SIGTERM or SIGINT. Returns 0, or 1 if it exited for another reason."""
    _set_niceness(NICENESS.get(Conf.CLUSTER_NAME, 0))
    forks_die_with_parent()
    django_q.cluster.Sentinel = Sentinel
    cluster = django_q.cluster.Cluster()
    cluster.start()
    cluster.sentinel.join()
    return 0 if cluster.sentinel.exitcode == 0 else 1


def _set_niceness(niceness: int) -> None:
    os.nice(niceness)
    # With autogrouping, Linux first divides the CPU among sessions, by the niceness of the session:
    # that of its processes counts only within it. See sched(7), "The autogroup feature".
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))
