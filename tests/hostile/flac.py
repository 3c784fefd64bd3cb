"""FLAC files of a few bytes that are hours, or whose frames are not what the header says."""

import struct

from tests.hostile.base import HostileFile, crc, of, png


def flac_frame(
    number: int, *, block: int = 65_535, rate: bytes = b"\x09", end: bytes = b""
) -> bytes:
    """A frame of silence: a dozen bytes for `block` samples. `rate` is the code, `end` its value in the header."""
    sizes = struct.pack(">H", block - 1)
    head = b"\xff\xf8" + bytes([0x70 | rate[0]]) + b"\x08" + chr(number).encode() + sizes + end
    head += bytes([crc(head, polynomial=0x07, width=8)])
    frame = head + b"\x00\x00\x00"  # a constant: 16 bits of silence
    return frame + struct.pack(">H", crc(frame, polynomial=0x8005, width=16))


def _flac(frames: bytes, *, rate: int = 44_100, blocks: bytes = b"") -> bytes:
    info = (
        struct.pack(">HH", 16, 65_535)
        + bytes(6)
        + (rate << 44 | 15 << 36).to_bytes(8, "big")
        + bytes(16)
    )
    last = b"" if blocks else b"\x80"
    return b"fLaC" + (last or b"\x00") + len(info).to_bytes(3, "big") + info + blocks + frames


def _flac_block(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    return (
        bytes([0x80 | kind]) + (len(body) if length is None else length).to_bytes(3, "big") + body
    )


def _with_length(picture: bytes, cover: bytes) -> bytes:
    return picture + struct.pack(">I", len(cover)) + cover


def files() -> list[HostileFile]:
    one = flac_frame(0)
    slow = b"".join(flac_frame(n, rate=b"\x0d", end=struct.pack(">H", 1)) for n in range(100))
    normal = b"".join(flac_frame(n, block=256) for n in range(120))
    rates = [bytes([code]) for code in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11)]
    changing = b"".join(flac_frame(n, rate=rates[n % 10], block=4096) for n in range(120))
    picture = (
        struct.pack(">II", 3, 9)
        + b"image/png"
        + bytes(4)
        + struct.pack(">IIII", 8_000, 8_000, 1, 0)
    )
    return [
        of("three hundred hours.flac", _flac(one * (1024**2 // len(one)))),
        of("one hertz in its frames.flac", _flac(slow)),
        of("one hertz in a later frame.flac", _flac(normal + slow)),
        of("one hertz in its header.flac", _flac(one * 100, rate=1)),
        of("another rate in each frame.flac", _flac(changing)),
        of(
            "seek points of 16 MB.flac",
            _flac(one * 10, blocks=_flac_block(3, bytes(180), length=2**24 - 1)),
        ),
        of(
            "4 billion comments.flac",
            _flac(one * 10, blocks=_flac_block(4, struct.pack("<II", 0, 2**32 - 1) + bytes(100))),
        ),
        of(
            "a million comments.flac",
            _flac(
                one * 10,
                blocks=_flac_block(
                    4, struct.pack("<II", 0, 2**20) + struct.pack("<I3s", 3, b"A=B") * 2**20
                ),
            ),
        ),
        of(
            "a cover of 8,000 x 8,000.flac",
            lambda: _flac(
                one * 10, blocks=_flac_block(6, _with_length(picture, png(8_000, 8_000)))
            ),
        ),
        of(
            "a picture longer than its file.flac",
            _flac(one * 10, blocks=_flac_block(6, picture + struct.pack(">I", 2**31))),
        ),
    ]
