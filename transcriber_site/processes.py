"""Processes: leaving no orphans, having files enough."""

import ctypes
import os
import resource
import signal
import sys

MOST_FILES = 65_536
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_forking = os.getpid()


def allow_many_files() -> None:
    """Let this process have as many open files (each connection is one) as it may; often it begins with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (on Linux; elsewhere do nothing).

    To be called in a new process, which `parent` started: the order does not pass on to processes
    forked from this one. The kernel looks at the thread that forked, so that must be one that
    lasts. See prctl(2), PR_SET_PDEATHSIG.
    """
    if _libc is None:
        return
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it ended before the order was given
        os.kill(os.getpid(), signal.SIGKILL)


def forks_die_with_parent() -> None:
    """From now on every process forked from this one dies with it, and so do its own forks."""
    os.register_at_fork(before=_remember_parent, after_in_child=_after_fork)


def _remember_parent() -> None:
    global _forking
    _forking = os.getpid()


def _after_fork() -> None:
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # a handler looks after its own process's children
    die_with_parent(_forking)
