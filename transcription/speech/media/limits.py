"""What a decoder process gives up before it sees a file: memory, processor time, files, network, other programs."""

import errno
import os
import resource
import sys
from typing import Any

MEMORY_BYTES = 200 * 1024**2
"""Address space beyond what the process has when it is ready: enough for the index of a day of audio in an MP4."""

PROCESSOR_SECONDS = 10
PROCESSOR_SECONDS_PER_SECOND = 0.02
"""The processor time that a file may take, and what each second of audio adds; most take less than 0.001."""

MAX_PROCESSOR_SECONDS = 3600
MAX_OPEN_FILES = 8

TOO_MUCH_MEMORY = (
    f"Reading the file takes more than the {MEMORY_BYTES // 1024**2} MB of memory allowed: its index or its tags "
    "declare more than a recording of this size can hold, or it is damaged."
)
TOO_MUCH_TIME = "The file takes too long to read: it is damaged, or made to keep a processor busy."
CRASHED = "The file is damaged in a way that its decoder does not survive."

_ALLOWED_CALLS = (
    # The file, which is open, and the socket, which is connected.
    "read readv pread64 write writev lseek close fstat recvmsg recvfrom sendto sendmsg poll "
    # Memory, time, signals, locks, and the end.
    "munmap mremap madvise brk futex rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack sched_yield "
    "clock_gettime gettimeofday clock_nanosleep nanosleep getrandom getrusage getpid gettid restart_syscall "
    "exit exit_group"
)
_PROT_EXEC = 0x4


def give_up_everything_else() -> bool:
    """Limit this process, for good. Whatever it needs must be imported: it can open no file any more, nor log.

    Returns whether its system calls are limited too: not without libseccomp, nor where the kernel takes no filter.
    """
    calls = _allowed_system_calls() if why_system_calls_stay_open() is None else None
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    if sys.platform == "linux":  # others do not keep this limit
        set_limit(resource.RLIMIT_AS, address_space_bytes() + MEMORY_BYTES)
    set_limit(resource.RLIMIT_FSIZE, 0)
    set_limit(resource.RLIMIT_CORE, 0)
    set_limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, MAX_PROCESSOR_SECONDS))
    if calls is None:
        return False
    try:
        calls.load()
    except OSError:
        return False
    return True


def set_limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def address_space_bytes() -> int:
    """The address space of this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def why_system_calls_stay_open() -> str | None:
    """Why a decoder process here cannot be kept from opening files and connections. None if it can."""
    try:
        import pyseccomp  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        return f"libseccomp is not installed ({error})"
    return None


def _allowed_system_calls() -> Any:
    """A filter that refuses every system call but those that decoding an open file needs, with EPERM."""
    import pyseccomp

    calls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in _ALLOWED_CALLS.split():
        calls.add_rule(pyseccomp.ALLOW, name)
    no_new_code = pyseccomp.Arg(2, pyseccomp.MASKED_EQ, _PROT_EXEC, 0)
    for name in ("mmap", "mprotect"):
        calls.add_rule(pyseccomp.ALLOW, name, no_new_code)
    return calls
