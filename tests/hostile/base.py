"""What the makers of hostile files share."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tests.media import Samples

RATE = 16_000


@dataclass(frozen=True, slots=True)
class HostileFile:
    name: str
    write: Callable[[Path], object]


def of(name: str, data: bytes | Callable[[], bytes]) -> HostileFile:
    """A file with this content; a function gives what takes long to make, for all tests are collected each time."""
    return HostileFile(name, lambda path: path.write_bytes(data() if callable(data) else data))


def tone(seconds: float = 1.0) -> Samples:
    samples = np.sin(np.arange(round(seconds * RATE)) / 20) * 9000
    return samples.astype(np.int16)


def crc(data: bytes, *, polynomial: int, width: int) -> int:
    value, top = 0, 1 << (width - 1)
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & ((1 << width) - 1)
    return value


@cache
def packed_zeros(n_bytes: int) -> bytes:
    """So many zeros, packed by zlib."""
    packer, piece = zlib.compressobj(9), bytes(1_000_000)
    whole, rest = divmod(n_bytes, len(piece))
    packed = b"".join(packer.compress(piece) for _ in range(whole)) + packer.compress(bytes(rest))
    return packed + packer.flush()


def png(width: int, height: int) -> bytes:
    """A black picture: a few kilobytes, however large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = packed_zeros((1 + 3 * min(width, 8_000)) * min(height, 8_000))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
