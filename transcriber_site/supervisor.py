"""A supervisor: restarts child processes with backoff, and leaves no orphans."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from transcriber_site.processes import die_with_parent

INITIAL_BACKOFF, MAX_BACKOFF = 0.25, 10.0  # seconds
BACKOFF_RESET_SECONDS = 30.0  # a child that ran for this long has started without trouble
GRACE_SECONDS = 20.0  # for work in progress, after the signal to stop
POLL_SECONDS = 0.1

_logger = logging.getLogger(__name__)


@dataclass
class Child:
    """A supervised process. It leads a session, so that it can be killed with its children."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _backoff: float = INITIAL_BACKOFF
    _start_at: float = field(default=0.0)

    def restart_if_ended(self) -> None:
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._start(now)
            return
        if self._process.poll() is None:
            return
        if now - self._started > BACKOFF_RESET_SECONDS:
            self._backoff = INITIAL_BACKOFF
        _logger.error(
            "The %s process exited with %d; it restarts in %.2f s",
            self.name,
            self._process.returncode,
            self._backoff,
        )
        self.kill()
        self._process, self._start_at = None, now + self._backoff
        self._backoff = min(self._backoff * 2, MAX_BACKOFF)

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def terminate(self) -> None:
        # Only the leader gets SIGTERM: it lets its workers finish their tasks.
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process and all processes of its session."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _start(self, now: float) -> None:
        self._started = now
        self._process = subprocess.Popen(
            self.command,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )


class Supervisor:
    """Keeps children running until SIGTERM, SIGINT or SIGHUP; a second signal skips the grace period."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children
        self._signals = 0

    def run(self, on_tick: Callable[[], None]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._count_signal)
        try:
            while not self._signals:
                for child in self.children:
                    child.restart_if_ended()
                on_tick()
                time.sleep(POLL_SECONDS)
            self._stop()
        finally:
            for child in self.children:
                child.kill()

    def _stop(self) -> None:
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self.children:
            child.terminate()
        while (
            time.monotonic() < deadline
            and self._signals < 2
            and not all(child.has_ended() for child in self.children)
        ):
            time.sleep(POLL_SECONDS)

    def _count_signal(self, number: int, frame: object) -> None:
        self._signals += 1
