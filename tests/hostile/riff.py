"""WAV files and their relatives, whose headers say what cannot be."""

import struct

import numpy as np

from tests.hostile.base import RATE, HostileFile, of, tone


def _chunk(kind: bytes, body: bytes, *, length: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if length is None else length) + body


def wav(
    *,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    align: int | None = None,
    kind: int = 1,
    data: bytes | None = None,
    length: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """A WAV whose header says what it is told to."""
    align = channels * bits // 8 if align is None else align
    head = struct.pack(
        "<HHIIHH", kind, channels, rate, min(rate * align, 2**32 - 1), align % 65536, bits
    )
    body = (
        np.repeat(tone()[:, None], min(channels, 300), axis=1).tobytes() if data is None else data
    )
    content = b"WAVE" + _chunk(b"fmt ", head) + extra + _chunk(b"data", body, length=length)
    return _chunk(b"RIFF", content)


def files() -> list[HostileFile]:
    not_numbers = np.full(RATE, np.nan, "<f4").tobytes()
    infinite = np.full(RATE, np.inf, "<f8").tobytes()
    sizes = struct.pack("<QQQI", 2**63, 2**63, 2**63, 0)
    rf64 = b"RF64\xff\xff\xff\xffWAVE" + _chunk(b"ds64", sizes) + wav()[12:]
    avi = _chunk(
        b"RIFF",
        b"AVI "
        + _chunk(b"LIST", b"hdrl" + _chunk(b"avih", bytes(56)))
        + _chunk(b"idx1", bytes(64), length=2**32 - 1),
    )
    extensible = struct.pack("<HHIIHH", 0xFFFE, 2, RATE, 64_000, 4, 16)
    extensible += (
        struct.pack("<HHI", 22, 16, 2**18 - 1)
        + b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    )
    return [
        *[
            of(f"{channels} channels.wav", wav(channels=channels))
            for channels in (0, 9, 32, 33, 63, 64, 65, 255, 65_535)
        ],
        *[
            of(f"{rate} Hz.wav", wav(rate=rate))
            for rate in (0, 1, 3_999, 2**31 - 1, 2**31, 2**32 - 1)
        ],
        *[of(f"{bits} bits.wav", wav(bits=bits)) for bits in (0, 1, 7, 255, 65_535)],
        of("64 channels for ten seconds.wav", _many_channels()),
        of("an alignment of 0.wav", wav(align=0)),
        of("no samples.wav", wav(data=b"")),
        of("not a number.wav", wav(kind=3, bits=32, data=not_numbers)),
        of("infinite.wav", wav(kind=3, bits=64, data=infinite)),
        of("4 GB declared.wav", wav(length=2**32 - 1)),
        of(
            "lists in lists.wav",
            wav(extra=_chunk(b"LIST", b"INFO" + b"LIST\xff\xff\xff\x7fINFO" * 10_000)),
        ),
        of(
            "a format of 2 GB.wav",
            _chunk(b"RIFF", b"WAVE" + _chunk(b"fmt ", bytes(16), length=2**31)),
        ),
        of("eighteen quintillion bytes.wav", rf64),
        of(
            "other speakers than channels.wav",
            _chunk(b"RIFF", b"WAVE" + _chunk(b"fmt ", extensible) + _chunk(b"data", bytes(64_000))),
        ),
        of("an index of 4 GB and no stream.avi", avi),
        *[
            of(f"rate {name}.aiff", _aiff(rate=rate))
            for name, rate in [
                ("not a number", b"\x7f\xff\xc0" + bytes(7)),
                ("infinite", b"\x7f\xff\x80" + bytes(7)),
                ("negative", b"\xc0\x0e\xac\x44" + bytes(6)),
                ("zero", bytes(10)),
            ]
        ],
        *[
            of(f"rate {rate}.caf", _caf(rate=rate))
            for rate in (0.0, -1.0, 1e300, float("inf"), float("nan"))
        ],
        of("2^60 packets.caf", _caf(rate=16_000.0, packets=2**60)),
    ]


def _many_channels() -> bytes:
    return wav(channels=64, bits=8, data=bytes(range(256)) * 40_000)


def _aiff(*, rate: bytes) -> bytes:
    common = struct.pack(">hIh", 1, 2**32 - 1, 16) + rate
    sound = bytes(8) + tone().astype(">i2").tobytes()
    body = b"AIFF" + b"COMM" + struct.pack(">I", len(common)) + common
    body += b"SSND" + struct.pack(">I", len(sound)) + sound
    return b"FORM" + struct.pack(">I", len(body)) + body


def _caf(*, rate: float, packets: int | None = None) -> bytes:
    kind, flags, size = (b"lpcm", 0, 2) if packets is None else (b"aac ", 0, 0)
    description = struct.pack(
        ">d4sIIIII", rate, kind, flags, size, 1 if size else 1024, 1, 16 if size else 0
    )
    body = b"caff\x00\x01\x00\x00" + b"desc" + struct.pack(">q", 32) + description
    if packets is not None:
        body += b"pakt" + struct.pack(">qqqii", 24 + 100, packets, 2**60, 0, 0) + b"\x81" * 100
    return body + b"data" + struct.pack(">q", -1) + bytes(4) + tone().tobytes()
