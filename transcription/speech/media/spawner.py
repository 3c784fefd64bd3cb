"""A small process that forks another for each file: starting Python anew for each would take as long as most files do.

It holds no more than its program has imported: it was started by itself, and not forked from its service.
"""

import os
import select
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

EXIT_STATUS: Final = struct.Struct("<i")
"""What is written to the second descriptor of a request when its process has ended: its status, -n for signal n."""


def serve(work: Callable[[socket.socket], object]) -> None:
    """Call `work` in a new process for each request on the socket that is standard input, until that is closed.

    A request is one byte with two descriptors: a socket, which `work` is called with, and a pipe for the exit status.
    """
    with socket.socket(fileno=0) as control:
        ended, ended_write = os.pipe()
        os.set_blocking(ended_write, False)
        signal.set_wakeup_fd(ended_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        pipes: dict[int, int] = {}
        while True:
            ready, _, _ = select.select([control.fileno(), ended], [], [])
            if ended in ready:
                os.read(ended, 4096)
                _report_ends(pipes)
            if control.fileno() in ready:
                request, descriptors, _, _ = socket.recv_fds(control, 1, 2)
                if not request:
                    return
                service, pipe = descriptors
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    control.close()
                    for descriptor in (ended, ended_write, pipe, *pipes.values()):
                        os.close(descriptor)
                    _run(work, service)
                pipes[pid] = pipe
                os.close(service)


def _report_ends(pipes: dict[int, int]) -> None:
    """Write the status of each process that has ended to its pipe."""
    while pipes:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        pipe = pipes.pop(pid)
        try:
            os.write(pipe, EXIT_STATUS.pack(os.waitstatus_to_exitcode(status)))
        except BrokenPipeError:
            pass  # the service does not wait for it
        finally:
            os.close(pipe)


def _run(work: Callable[[socket.socket], object], descriptor: int) -> NoReturn:
    status = 1
    try:
        with socket.socket(fileno=descriptor) as service:
            work(service)
        status = 0
    except Exception:
        traceback.print_exc()  # to the service's log, until the process has limited itself
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(status)
