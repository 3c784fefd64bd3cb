"""Keeps processes running, and leaves none behind."""

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

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
STEADY_AFTER = 30.0  # a child that lived so long, in seconds, had no trouble starting
GRACE = 20.0  # seconds for what is in hand, once told to stop
TICK = 0.1

_logger = logging.getLogger(__name__)


@dataclass
class Child:
    """A process to keep running, leader of a session, so that it can be ended with its children."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _pause: float = FIRST_PAUSE
    _start_at: float = field(default=0.0)

    def keep_running(self) -> None:
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._start(now)
            return
        if self._process.poll() is None:
            return
        if now - self._started > STEADY_AFTER:
            self._pause = FIRST_PAUSE
        _logger.error(
            "The %s process ended with %d; it starts again in %.2f s",
            self.name,
            self._process.returncode,
            self._pause,
        )
        self.kill()
        self._process, self._start_at = None, now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def ask_to_stop(self) -> None:
        # The leader alone: it lets its workers finish what they have in hand, which the signal
        # would cut short.
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it started."""
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
    """Keeps children running until SIGTERM, SIGINT or SIGHUP; a second one ends all grace."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children
        self._signals = 0

    def run(self, on_tick: Callable[[], None]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._count_signal)
        try:
            while not self._signals:
                for child in self.children:
                    child.keep_running()
                on_tick()
                time.sleep(TICK)
            self._stop()
        finally:
            for child in self.children:
                child.kill()

    def _stop(self) -> None:
        deadline = time.monotonic() + GRACE
        for child in self.children:
            child.ask_to_stop()
        while (
            time.monotonic() < deadline
            and self._signals < 2
            and not all(child.has_ended() for child in self.children)
        ):
            time.sleep(TICK)

    def _count_signal(self, number: int, frame: object) -> None:
        self._signals += 1
