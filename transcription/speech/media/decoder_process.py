"""Decoder processes as a service's process sees them: it gives each one file, and checks what comes back.

They are forked from a small process (spawner.py). A service starts that at its own start, or else the first file does.
"""

import json
import logging
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import util
from pathlib import Path
from typing import BinaryIO

from transcription.speech.media import limits, messages
from transcription.speech.media.messages import AudioInfo, NotAudioError
from transcription.speech.media.spawner import EXIT_STATUS

SAMPLE_BYTES = 2
SAMPLE_RATE = 16_000
STALL_SECONDS = 60
"""A decoder that sends nothing for so long, while it could, is given up: the storage may hang."""
END_SECONDS = 5.0
"""How long the end of a process that was killed is waited for."""
ATTEMPTS = 2
MAX_REASON = 500
"""Characters of what a decoder says of its file."""
PROGRAM = ["-m", "transcription.speech.media.decoder"]
_PROJECT = Path(__file__).parents[3]

_logger = logging.getLogger(__name__)


class DecoderLostError(Exception):
    """The decoder process was killed or hung for a reason that is not the file's: the same may succeed later."""


def probe(file: BinaryIO) -> AudioInfo:
    """Have a decoder process identify a file. Raises NotAudioError, or DecoderLostError."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _decoder() as decoder:
                decoder.send(file, task="probe")
                kind, body = decoder.receive()
                if kind != messages.INFO:
                    raise decoder.broken(f"a message of kind {kind!r} in answer to a probe")
                try:
                    return messages.read_info(body)
                except (ValueError, RecursionError) as error:
                    raise decoder.broken(str(error)) from error
        except DecoderLostError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def decode(
    file: BinaryIO, *, max_seconds: float, is_surround_mixed: bool = True
) -> Iterator[tuple[int, memoryview]]:
    """Have a decoder process decode a file: yields the number of channels, and interleaved samples of all of them.

    The samples are at 16 kHz, 16 bits, little-endian. The number of channels stays the same.
    Raises NotAudioError, or DecoderLostError. The process ends with the iterator.
    """
    with _decoder() as decoder:
        decoder.send(
            file, task="decode", max_seconds=max_seconds, is_surround_mixed=is_surround_mixed
        )
        seconds, n_before = 0.0, None
        while True:
            kind, body = decoder.receive()
            if kind == messages.DONE:
                return
            if kind != messages.SAMPLES:
                raise decoder.broken(f"a message of kind {kind!r} among samples")
            try:
                n_channels, samples = messages.read_samples(body)
            except ValueError as error:
                raise decoder.broken(str(error)) from error
            seconds += len(samples) / SAMPLE_BYTES / n_channels / SAMPLE_RATE
            if n_before not in (None, n_channels) or seconds > max_seconds + 1:
                raise decoder.broken("other channels than before, or more than it was to send")
            n_before = n_channels
            decoder.allow_processor_time(seconds)
            yield n_channels, samples


class _Decoder:
    """One process, the socket to it, and the pipe that its exit status comes through."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(1)
        self._status, status_write = os.pipe()
        self._process_id: int | None = None
        try:
            _request_process(theirs.fileno(), status_write)
        finally:
            theirs.close()
            os.close(status_write)

    def send(
        self,
        file: BinaryIO,
        *,
        task: str,
        max_seconds: float = 0,
        is_surround_mixed: bool = True,
    ) -> None:
        """Hand the file over. Raises DecoderLostError."""
        kind, body = self.receive()
        if kind != messages.READY:
            raise self.broken(f"a message of kind {kind!r} at its start")
        self._process_id, is_confined = messages.read_ready(body)
        if not is_confined:
            _warn_of_open_system_calls()
        request = json.dumps(
            {"task": task, "max_seconds": max_seconds, "is_surround_mixed": is_surround_mixed}
        ).encode()
        try:
            socket.send_fds(self._socket, [request], [file.fileno()])
        except OSError as error:
            raise DecoderLostError(f"The decoder process was lost: {error}") from error

    def receive(self) -> tuple[bytes, bytearray]:
        """The next message's kind and body, of a length that is allowed for its kind.

        Raises NotAudioError or DecoderLostError if the decoder says so, or ended.
        """
        header = self._read(messages.HEADER.size)
        kind, length = messages.HEADER.unpack(header)
        max_bytes = messages.max_bytes(kind)
        if max_bytes is None or length > max_bytes:
            raise self.broken(f"a message of kind {kind!r} and {length} bytes")
        body = self._read(length)
        if kind == messages.NOT_AUDIO:
            raise NotAudioError(_reason(body))
        if kind == messages.FAULT:
            raise self.broken(body.decode(errors="replace"))
        return kind, body

    def _read(self, n_bytes: int) -> bytearray:
        data = bytearray(n_bytes)
        left = memoryview(data)
        n_waits = 0  # waits are counted, not seconds: a service that is suspended, or a laptop asleep, does not wait
        while left:
            try:
                n_read = self._socket.recv_into(left)
            except TimeoutError:
                n_waits += 1
                if n_waits >= STALL_SECONDS:
                    raise DecoderLostError(
                        f"The decoder process sent nothing for {STALL_SECONDS} s."
                    ) from None
                continue
            except OSError as error:
                raise DecoderLostError(f"The decoder process was lost: {error}") from error
            if not n_read:
                raise self._reason_of_end()
            left = left[n_read:]
        return data

    def _reason_of_end(self) -> Exception:
        status = self._exit_status()
        if status == -signal.SIGXCPU:
            return NotAudioError(limits.TOO_MUCH_TIME)
        if self._process_id is None or status in (None, 0, -signal.SIGKILL):
            return DecoderLostError(f"The decoder process ended with status {status}.")
        return self.broken(f"its end with status {status}")

    def _exit_status(self) -> int | None:
        """The status of the process, when it has ended. None if that is not known: then all decoders were lost."""
        ready, _, _ = select.select([self._status], [], [], END_SECONDS)
        status = os.read(self._status, EXIT_STATUS.size) if ready else b""
        return int(EXIT_STATUS.unpack(status)[0]) if status else None

    def broken(self, what: str) -> NotAudioError:
        """The error to raise when the decoder does what it never should: the file has made it."""
        _logger.error("A decoder process was broken by its file: %s", what)
        return NotAudioError(limits.CRASHED)

    def allow_processor_time(self, seconds_decoded: float) -> None:
        soft = limits.PROCESSOR_SECONDS + limits.PROCESSOR_SECONDS_PER_SECOND * seconds_decoded
        limit = (min(round(soft), limits.MAX_PROCESSOR_SECONDS), limits.MAX_PROCESSOR_SECONDS)
        if self._process_id is not None and hasattr(resource, "prlimit"):
            with suppress(ProcessLookupError):  # it has ended: what it has sent is still to be read
                resource.prlimit(self._process_id, resource.RLIMIT_CPU, limit)

    def end(self) -> None:
        """End the process, whatever it does, and wait until it has."""
        self._socket.close()
        has_ended, _, _ = select.select([self._status], [], [], 0)
        if not has_ended and self._process_id is not None:
            # Nobody has learnt its status yet, so the id is not another process's by now.
            with suppress(ProcessLookupError):
                os.kill(self._process_id, signal.SIGKILL)
            self._exit_status()
        os.close(self._status)


@cache
def _warn_of_open_system_calls() -> None:
    """Say so once a process."""
    _logger.warning(
        "Decoders can open files and connections here: libseccomp is missing, or the kernel takes no filter."
    )


def _reason(body: bytearray) -> str:
    """What a decoder says of its file, as people may be shown it."""
    text = body.decode(errors="replace")[:MAX_REASON]
    return "".join(character if character.isprintable() else " " for character in text)


def _environment() -> dict[str, str]:
    """Nothing of the service's environment, which holds its secrets, but where libraries are."""
    own = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ}
    return {**own, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}


@contextmanager
def _decoder() -> Iterator[_Decoder]:
    """A process for one file."""
    decoder = _Decoder()
    try:
        yield decoder
    finally:
        decoder.end()


# ---- The spawner


class _Spawner:
    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", *PROGRAM],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,  # stderr is the service's log, until a process is limited
                cwd=_PROJECT,
                env=_environment(),
                start_new_session=True,  # out of the reach of the terminal, and of what the service's group is sent
            )

    def end(self) -> None:
        self.socket.close()
        self._process.kill()
        self._process.wait()


_spawner: _Spawner | None = None
_lock = threading.Lock()


def start_spawner() -> None:
    """Start the spawner if there is none: the first file would wait for it."""
    with _lock:
        _running_spawner()


def _request_process(service: int, status: int) -> None:
    """Have the spawner fork a process with these descriptors. Starts one if there is none, or if it was killed."""
    global _spawner
    with _lock:
        spawner = _running_spawner()
        try:
            socket.send_fds(spawner.socket, [b"1"], [service, status])
        except OSError:
            spawner.end()
            _spawner = _Spawner()
            socket.send_fds(_spawner.socket, [b"1"], [service, status])


def _running_spawner() -> _Spawner:
    global _spawner
    if _spawner is None:
        # Not `atexit`, which a worker that multiprocessing has started does not run.
        util.Finalize(None, end_spawner, exitpriority=0)
        _spawner = _Spawner()
    return _spawner


def end_spawner() -> None:
    global _spawner
    with _lock:
        if _spawner is not None:
            _spawner.end()
        _spawner = None


def _forget_spawner() -> None:
    """Leave the spawner to the process that was forked: it is its parent's."""
    global _lock, _spawner
    _lock = threading.Lock()
    if _spawner is not None:
        _spawner.socket.close()
    _spawner = None


os.register_at_fork(after_in_child=_forget_spawner)
