"""MP4 files whose index, boxes and tags are not what they say."""

import itertools
import struct
from collections.abc import Iterable

from tests.hostile.base import RATE, HostileFile, of, packed_zeros, png, tone


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


_ENTRY = bytes(6) + struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 1, 16, 0, 0, RATE << 16)
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def _mp4(
    *, tables: dict[bytes, bytes] | None = None, timescale: int = 16_000, extra: bytes = b""
) -> bytes:
    """An MP4 with a second of PCM in one track; `tables` replace those of its index."""
    data = tone().astype(">i2").tobytes()
    index = {
        b"stsd": struct.pack(">I", 1) + box(b"twos", _ENTRY),
        b"stts": struct.pack(">III", 1, len(data) // 2, 1),
        b"stsc": struct.pack(">IIII", 1, 1, len(data) // 2, 1),
        b"stsz": struct.pack(">II", 2, len(data) // 2),
        b"stco": struct.pack(">II", 1, 0),
    }
    index |= tables or {}
    head = box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"mdat", data)
    table = box(b"stbl", *(full_box(kind, body) for kind, body in index.items()))
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">IIIIHH", 0, 0, timescale, RATE, 0x55C4, 0)),
        full_box(b"hdlr", bytes(4), b"soun", bytes(13)),
        box(b"minf", full_box(b"smhd", bytes(4)), table),
    )
    track = box(
        b"trak",
        full_box(b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, RATE), bytes(16), _MATRIX, bytes(8)),
        media,
    )
    movie = struct.pack(">IIIIIH", 0, 0, RATE, RATE, 0x10000, 0x100) + bytes(10)
    return head + box(
        b"moov", full_box(b"mvhd", movie, _MATRIX, bytes(24), struct.pack(">I", 2)), track, extra
    )


def _nested(kinds: Iterable[bytes], core: bytes = b"") -> bytes:
    """Boxes in boxes; the innermost holds `core`. The headers are made first: joining each time would take minutes."""
    kinds = list(kinds)
    sizes = itertools.count(8 + len(core), 8)
    headers = [struct.pack(">I", size) + kind for size, kind in zip(sizes, reversed(kinds))]  # noqa: B905
    return b"".join(reversed(headers)) + core


def files() -> list[HostileFile]:
    many = 20_000_000
    description = struct.pack(">I", 1) + box(b"mp4a", _ENTRY)
    tables = {
        "an index of 20 million frames": {
            b"stsd": description,
            b"stts": struct.pack(">III", 1, many, 1024),
            b"stsc": struct.pack(">IIII", 1, 1, many, 1),
            b"stsz": struct.pack(">II", 1, many),
        },
        "an index of 20 million samples": {b"stsz": struct.pack(">II", 1, many)},
        "an index of 4 billion samples": {b"stsz": struct.pack(">II", 1, 2**32 - 1)},
        "sizes of 20 million samples": {b"stsz": struct.pack(">II", 0, many) + bytes(4000)},
        "20 million times": {b"stts": struct.pack(">I", many) + bytes(4000)},
        "a sample for each of 4 billion": {b"stts": struct.pack(">III", 1, 2**32 - 1, 1)},
        "20 million chunks": {b"stco": struct.pack(">I", many) + bytes(4000)},
        "4 billion samples a chunk": {b"stsc": struct.pack(">IIII", 1, 1, 2**32 - 1, 1)},
        "chunks beyond its end": {b"stco": struct.pack(">II", 1, 2**31)},
        "all of them large": {
            b"stsz": struct.pack(">II", 1, many),
            b"stts": struct.pack(">III", 1, many, 1),
            b"stsc": struct.pack(">IIII", 1, 1, 1, 1),
            b"stco": struct.pack(">I", many) + bytes(4000),
        },
        "no entries": {b"stsd": struct.pack(">I", 2**32 - 1)},
    }
    edits = box(
        b"edts",
        full_box(b"elst", struct.pack(">I", 2**31), struct.pack(">IiI", 1, 0, 1 << 16) * 100),
    )
    segments = full_box(b"sidx", struct.pack(">IIIIHH", 1, 1000, 0, 0, 0, 65535), bytes(400))
    lying = [("0", 0), ("1", 1), ("4 GB", 2**32 - 1)]
    return [
        *[of(f"{name}.mp4", _mp4(tables=index)) for name, index in tables.items()],
        *[of(f"a timescale of {scale}.mp4", _mp4(timescale=scale)) for scale in (0, 1, 2**32 - 1)],
        of("two billion edits.mp4", _mp4(extra=edits)),
        *[of(f"a fragment of {n} samples.mp4", _fragmented(n)) for n in (many, 2**31)],
        of("an index of segments.mp4", segments + _mp4()),
        of("boxes ten thousand deep.mp4", _nested([b"moov"] * 10_000)),
        of("tracks ten thousand deep.mp4", _mp4(extra=_nested([b"trak", b"mdia"] * 5_000))),
        of("tags ten thousand deep.mp4", _mp4(extra=_nested([b"udta", b"meta", b"ilst"] * 3_000))),
        of("a thousand tracks.mp4", _mp4(extra=_mp4().partition(b"moov")[2][108:] * 1000)),
        *[
            of(f"a box of {name}.mp4", _mp4() + struct.pack(">I", size) + b"free")
            for name, size in lying
        ],
        of("a box of 2^63.mp4", _mp4() + struct.pack(">I4sQ", 1, b"free", 2**63)),
        of(
            "a compressed header.mov",
            lambda: box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), _bomb_box())),
        ),
        of("a cover of 8,000 x 8,000.m4a", lambda: _mp4(extra=_cover_of_mp4())),
    ]


def _fragmented(n_samples: int) -> bytes:
    """A good MP4, and a fragment of it that says to have so many samples."""
    extends = box(b"mvex", full_box(b"trex", struct.pack(">IIIII", 1, 1, 1, 2, 0)))
    samples = box(b"trun", struct.pack(">II", 0x000201, n_samples), bytes(4000))
    track = box(b"traf", full_box(b"tfhd", struct.pack(">I", 1)), samples)
    return _mp4(extra=extends) + box(b"moof", full_box(b"mfhd", struct.pack(">I", 1)), track)


def _bomb_box() -> bytes:
    return box(b"cmvd", struct.pack(">I", 2**31 - 1), packed_zeros(10_000_000))


def _cover_of_mp4() -> bytes:
    data = full_box(b"data", bytes(4), png(8_000, 8_000))
    tags = full_box(
        b"meta",
        full_box(b"hdlr", bytes(4), b"mdirappl", bytes(9)),
        box(b"ilst", box(b"covr", data)),
    )
    return box(b"udta", tags)
