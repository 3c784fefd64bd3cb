"""The program of decoder processes: each limits itself, receives one file, answers, and ends.

`python -m transcription.speech.media.decoder` forks one for each request: see spawner.py.
"""

import importlib
import json
import os
import pkgutil
import signal
import socket
import traceback
from typing import Any, BinaryIO

import av  # before the limits: afterwards nothing can be imported
import numpy as np

from transcription.speech.media import ffmpeg, limits, messages, resampling, spawner

MAX_REQUEST_BYTES = 1024


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A service that stops may finish a file: it ends its decoders itself.
        signal.signal(number, signal.SIG_IGN)
    _import_lazy_modules()
    spawner.serve(_decode_one)


def _decode_one(service: socket.socket) -> None:
    """Limit this process, receive one file, and answer."""
    is_confined = limits.give_up_everything_else()
    _send(service, messages.READY, messages.ready_body(os.getpid(), is_confined=is_confined))
    request, descriptors, _flags, _address = socket.recv_fds(service, MAX_REQUEST_BYTES, 1)
    if not request:
        return  # the service ended
    with os.fdopen(descriptors[0], "rb", buffering=0) as file:
        try:
            _answer(service, file, **json.loads(request))
        except messages.NotAudioError as error:
            _send(service, messages.NOT_AUDIO, str(error).encode())
        except MemoryError:
            _send(service, messages.NOT_AUDIO, limits.TOO_MUCH_MEMORY.encode())
        except ConnectionError:
            return  # nobody waits for it any more
        except Exception:
            _send(service, messages.FAULT, traceback.format_exc().encode())


def _answer(
    service: socket.socket,
    file: BinaryIO,
    *,
    task: str,
    max_seconds: float,
    is_surround_mixed: bool,
) -> None:
    file.seek(0)
    if task == "probe":
        _send(service, messages.INFO, messages.info_body(ffmpeg.probe(file)))
        return
    for block in ffmpeg.decode(file, max_seconds=max_seconds, is_surround_mixed=is_surround_mixed):
        samples = np.ascontiguousarray(block, "<i2")
        _send(service, messages.SAMPLES, messages.CHANNELS.pack(block.shape[1]), samples.data)
    _send(service, messages.DONE)


def _send(
    service: socket.socket, kind: bytes, body: bytes = b"", rest: memoryview | None = None
) -> None:
    """Send a message. `rest` belongs to its body: samples are not copied to be joined with what is before them."""
    body = body[: messages.MAX_TEXT_BYTES]
    n_rest = 0 if rest is None else rest.nbytes
    service.sendall(messages.HEADER.pack(kind, len(body) + n_rest) + body)
    if rest is not None:
        service.sendall(rest)


def _import_lazy_modules() -> None:
    """Have libraries import what they import at first use: not each process by itself, for which it takes long."""
    limits.why_system_calls_stay_open()
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    frame: Any = av.AudioFrame(format="s16", layout="mono", samples=16)
    frame.sample_rate = 8000
    for resampled in resampling.new_resampler(layout="mono").resample(frame):
        resampled.to_ndarray()
    np.ascontiguousarray(np.zeros(1, np.int16), "<i2")
    try:
        raise ValueError
    except ValueError:
        traceback.format_exc()


if __name__ == "__main__":
    main()
