"""The program of a decoder process: it limits itself, receives one file, answers, and ends.

It runs as `python -m transcription.speech.media.decoder`, with the socket as its standard input.
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

from transcription.speech.media import ffmpeg, limits, messages

MAX_REQUEST_BYTES = 1024


def main() -> None:
    _ignore_signals()
    _import_lazy_modules()
    with socket.socket(fileno=0) as service:
        limits.give_up_everything_else()
        _send(service, messages.READY)
        request, descriptors, _flags, _address = socket.recv_fds(service, MAX_REQUEST_BYTES, 1)
        if not request:
            return  # the service ended, or needs no decoder any more
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


def _answer(service: socket.socket, file: BinaryIO, *, task: str, max_seconds: float) -> None:
    file.seek(0)
    if task == "probe":
        _send(service, messages.INFO, messages.info_body(ffmpeg.probe(file)))
        return
    for block in ffmpeg.decode(file, max_seconds=max_seconds):
        data = block.astype("<i2", copy=False).tobytes()
        _send(service, messages.SAMPLES, messages.samples_body(block.shape[1], data))
    _send(service, messages.DONE)


def _send(service: socket.socket, kind: bytes, body: bytes = b"") -> None:
    if kind != messages.SAMPLES:
        body = body[: messages.MAX_TEXT_BYTES]
    service.sendall(messages.HEADER.pack(kind, len(body)) + body)


def _ignore_signals() -> None:
    """Leave the end to the service, which may finish a file when it stops: it closes the socket, or kills."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _import_lazy_modules() -> None:
    """Have PyAV and NumPy import what they import at first use."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    frame: Any = av.AudioFrame(format="s16", layout="mono", samples=16)
    frame.sample_rate = 8000
    for resampled in ffmpeg.new_resampler(layout="mono").resample(frame):
        resampled.to_ndarray()
    np.zeros(1, np.int16).astype("<i2").tobytes()
    try:
        raise ValueError
    except ValueError:
        traceback.format_exc()


if __name__ == "__main__":
    main()
