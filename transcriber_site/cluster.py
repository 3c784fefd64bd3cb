"""django-q2's cluster, made fit for `kill -9`.

A cluster is a tree of processes: its leader, a sentinel, and the sentinel's children (a worker, a
pusher that fetches tasks, a monitor that acknowledges them). As it stands in django-q2 1.11,

- when the leader or the sentinel is killed, the rest lives on without a head and goes on fetching
  and working;
- an idle worker waits for its next task with the task queue's lock in its hand, so when it is
  killed no worker that takes its place ever gets a task;
- on SIGTERM a worker still does the tasks that were fetched for it, however long they take.

So here every process of the tree dies with its parent; a cluster whose child was killed ends as a
whole, to be started anew by whatever supervises it; and a cluster that is told to stop gives back
what it has fetched and not begun.
"""

import contextlib
import logging
import os
import queue
import signal
from pathlib import Path
from typing import Any, NoReturn

import django_q.cluster
from django_q.conf import Conf
from django_q.signing import SignedPackage

from transcriber_site.processes import forks_die_with_parent

NICENESS = {"interactive": 5, "speech": 10}
"""Inference takes all the cores it can get; who asks how far it is gets an answer first."""

_logger = logging.getLogger(__name__)


class Sentinel(django_q.cluster.Sentinel):  # type: ignore[misc]  # django_q is untyped
    def start(self) -> None:
        # A signal handler, because the guard loop itself waits for locks that a killed worker never
        # gives back.
        signal.signal(signal.SIGCHLD, lambda signum, frame: self._end_if_crippled())
        super().start()

    def reincarnate(self, process: Any) -> None:
        self._end_if_crippled()
        super().reincarnate(process)

    def stop(self) -> None:
        for process in self.pool:
            if process.is_alive():
                os.kill(
                    process.pid, signal.SIGTERM
                )  # a worker then ends its task at the next good place
        self.event_out.set()
        while self.pusher.is_alive() or not self.task_queue.empty():
            try:
                task = self.task_queue.get(timeout=0.1)
            except queue.Empty:
                continue
            self._give_back(task)
        super().stop()

    def _end_if_crippled(self) -> None:
        for process in (*self.pool, self.monitor, self.pusher):
            if process is not None and process.exitcode not in (None, 0):
                self._end(f"process {process.pid} ended with {process.exitcode}")

    def _end(self, reason: str) -> NoReturn:
        try:
            _logger.critical("Cluster %s ends: %s", self.queue_name(), reason)
        finally:
            os._exit(1)  # its children die with it

    def _give_back(self, task: dict[str, Any]) -> None:
        ack_id = task.pop("ack_id", None)
        self.broker.enqueue(SignedPackage.dumps(task))
        self.broker.acknowledge(ack_id)


def run_cluster() -> int:
    """Run a cluster until SIGTERM or SIGINT; returns 0, or 1 if it ended for another reason."""
    _be_nice(NICENESS.get(Conf.CLUSTER_NAME, 0))
    forks_die_with_parent()
    django_q.cluster.Sentinel = Sentinel
    cluster = django_q.cluster.Cluster()
    cluster.start()
    cluster.sentinel.join()
    return 0 if cluster.sentinel.exitcode == 0 else 1


def _be_nice(niceness: int) -> None:
    os.nice(niceness)
    # Linux shares the processor among sessions first, where each counts the same however nice its
    # processes are, unless the session itself is: see sched(7), "The autogroup feature".
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))
