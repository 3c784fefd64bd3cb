"""The messages between a service's process and its decoder process, over one socket.

The service sends one request: a JSON object, with the file as a descriptor. The decoder answers with messages of five
bytes of header (kind, length of the body) and a body. The service trusts none of it: see decoder_process.py.
"""

import json
import math
import struct
from dataclasses import asdict, dataclass
from typing import Final

MAX_NAME = 100

HEADER: Final = struct.Struct("<cI")

READY: Final = b"R"
"""The decoder has given up what it may not do, and waits for the file. The body: see ready_body."""

INFO: Final = b"I"
"""The answer to a probe: see info_body."""

SAMPLES: Final = b"S"
"""Samples at 16 kHz: the number of channels as one 16-bit integer, and the interleaved samples, little-endian."""

DONE: Final = b"D"
"""The file was decoded to its end. The body is empty."""

NOT_AUDIO: Final = b"N"
"""The file cannot be decoded. The body says why, in UTF-8, for the person who uploaded it."""

FAULT: Final = b"F"
"""The decoder met an error of its own. The body is a traceback in UTF-8, for the log."""

MAX_TEXT_BYTES: Final = 16_384
_READY_BODY: Final = struct.Struct("<I?")
CHANNELS: Final = struct.Struct("<H")
MAX_CHANNELS: Final = 64
"""Of all tracks together: the most that FFmpeg resamples."""
MAX_TRACKS: Final = 8
MAX_DECLARED_TRACKS: Final = 1000
MAX_SAMPLES_BYTES: Final = 2 * 16_000 * 10 * MAX_CHANNELS
"""The most samples that one message holds: ten seconds of them."""


def max_bytes(kind: bytes) -> int | None:
    """The most bytes that the body of a message may have. None if there is no such kind."""
    return _MAX_BYTES.get(kind)


_MAX_BYTES: Final = {
    READY: _READY_BODY.size,
    DONE: 0,
    INFO: MAX_TEXT_BYTES,
    NOT_AUDIO: MAX_TEXT_BYTES,
    FAULT: MAX_TEXT_BYTES,
    SAMPLES: CHANNELS.size + MAX_SAMPLES_BYTES,
}


class NotAudioError(ValueError):
    """The file has no audio that can be decoded. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The first track's codec, and the seconds that the longest track declares; None if none declares any."""

    container: str
    codec: str
    duration: float | None
    track_channels: tuple[int, ...]
    """The number of channels of each track of the first language, as the file declares them; MAX_TRACKS are read."""


def ready_body(process_id: int, *, is_confined: bool) -> bytes:
    return _READY_BODY.pack(process_id, is_confined)


def read_ready(body: bytearray) -> tuple[int, bool]:
    """The decoder's process id, and whether its system calls are limited."""
    process_id, is_confined = _READY_BODY.unpack(body)
    return process_id, is_confined


def info_body(info: AudioInfo) -> bytes:
    return json.dumps(asdict(info)).encode()


def read_info(body: bytearray) -> AudioInfo:
    """The AudioInfo of a message. Raises ValueError if it holds anything else."""
    fields = json.loads(body)
    if not isinstance(fields, dict) or set(fields) != set(AudioInfo.__slots__):
        raise ValueError("other fields than those of AudioInfo")
    container, codec, duration = fields["container"], fields["codec"], fields["duration"]
    names = (container, codec)
    if not all(isinstance(name, str) and len(name) <= MAX_NAME for name in names):
        raise ValueError("names that are too long, or none")
    if duration is not None and not (
        isinstance(duration, int | float) and math.isfinite(duration) and duration > 0
    ):
        raise ValueError("a duration that is no positive number of seconds")
    tracks = fields["track_channels"]
    if not isinstance(tracks, list) or not 0 < len(tracks) <= MAX_DECLARED_TRACKS:
        raise ValueError("tracks that no file may have")
    if not all(type(n_channels) is int and n_channels > 0 for n_channels in tracks):
        raise ValueError("numbers of channels that are none")
    return AudioInfo(container, codec, None if duration is None else float(duration), tuple(tracks))


def read_samples(body: bytearray) -> tuple[int, memoryview]:
    """The number of channels and the interleaved samples of a message. Raises ValueError if they do not fit."""
    if len(body) <= CHANNELS.size:
        raise ValueError("samples without a sample")
    [n_channels] = CHANNELS.unpack_from(body)
    samples = memoryview(body)[CHANNELS.size :]
    if not 0 < n_channels <= MAX_CHANNELS or len(samples) % (2 * n_channels):
        raise ValueError(f"{len(samples)} bytes of {n_channels} channels")
    return n_channels, samples
