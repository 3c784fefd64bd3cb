"""Process settings: the open file limit, and no orphans."""

import ctypes
import os
import resource
import signal
import sys

MAX_OPEN_FILES = 65_536
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_parent_pid = os.getpid()


def raise_open_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit: each connection is one, and 1024 is a common default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux only; elsewhere a no-op).

    Call it in the new process that `parent` started: forks do not inherit the setting. The parent, to
    the kernel, is the thread that forked, so that must be a long-lived one. See prctl(2),
    PR_SET_PDEATHSIG.
    """
    if _libc is None:
        return
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before prctl: a race
        os.kill(os.getpid(), signal.SIGKILL)


def forks_die_with_parent() -> None:
    """Make every later fork of this process, and their forks, die with its parent."""
    os.register_at_fork(before=_remember_parent, after_in_child=_after_fork)


def _remember_parent() -> None:
    global _parent_pid
    _parent_pid = os.getpid()


def _after_fork() -> None:
    # An inherited handler watches the parent's children, not this process's.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent(_parent_pid)
