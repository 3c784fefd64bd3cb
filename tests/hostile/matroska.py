"""Matroska files whose elements are not what they say."""

import struct

from tests.hostile.base import HostileFile, of, packed_zeros, png, tone


def _element(kind: str, body: bytes, *, size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    return bytes.fromhex(kind) + (1 << 56 | length).to_bytes(8, "big") + body


def _matroska(*, track: bytes = b"", content: bytes = b"", block: bytes | None = None) -> bytes:
    """A Matroska file with a track of PCM and one block."""
    block = tone().tobytes() if block is None else block
    audio = _element(
        "e1",
        _element("b5", struct.pack(">d", 16_000.0))
        + _element("9f", b"\x01")
        + _element("6264", b"\x10"),
    )
    entry = _element(
        "ae",
        _element("d7", b"\x01")
        + _element("73c5", b"\x01")
        + _element("83", b"\x02")
        + _element("86", b"A_PCM/INT/LIT")
        + audio
        + track,
    )
    cluster = _element(
        "1f43b675", _element("e7", b"\x00") + _element("a3", b"\x81\x00\x00\x80" + block)
    )
    head = _element("1a45dfa3", _element("4282", b"matroska"))
    info = _element("1549a966", _element("2ad7b1", b"\x0f\x42\x40"))
    return head + _element("18538067", info + _element("1654ae6b", entry) + content + cluster)


def files() -> list[HostileFile]:
    packed = _element("6d80", _element("6240", _element("5034", _element("4254", b"\x00"))))
    nested = b""
    for _ in range(200):
        nested = _element("1043a770", nested)
    return [
        of("a plain one.mkv", _matroska()),
        of(
            "a block of 300 MB of zeros.mkv",
            lambda: _matroska(track=packed, block=packed_zeros(300_000_000)),
        ),
        of("an element of 2^56 bytes.mkv", _matroska(content=_element("ec", b"", size=2**56 - 2))),
        of(
            "cues without an end.mkv",
            _matroska(content=_element("1c53bb6b", bytes(100), size=2**50)),
        ),
        of(
            "thirty thousand cues.mkv",
            _matroska(
                content=_element("1c53bb6b", _element("bb", _element("b3", b"\x01")) * 30_000)
            ),
        ),
        of("elements in elements.mkv", _matroska(content=nested)),
        of("a private part of 2 GB.mkv", _matroska(track=_element("63a2", bytes(100), size=2**31))),
        of(
            "laces of nothing.mkv",
            _matroska(block=b"\xff" * 1000).replace(b"\x81\x00\x00\x80", b"\x81\x00\x00\x86"),
        ),
        of(
            "an attached picture.mkv",
            lambda: _matroska(
                content=_element(
                    "1941a469",
                    _element(
                        "61a7",
                        _element("466e", b"a.png")
                        + _element("4660", b"image/png")
                        + _element("465c", png(8_000, 8_000)),
                    ),
                )
            ),
        ),
    ]
