"""Other containers, and files that are no media."""

import io
import random
import struct
import wave

from tests.hostile.base import RATE, HostileFile, crc, of, packed_zeros, png, tone


def _ogg_page(*, granule: int, serial: int, body: bytes, flags: int = 0, number: int = 0) -> bytes:
    full, rest = divmod(len(body), 255)
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, serial, number, 0)
    head += bytes([full + 1]) + b"\xff" * full + bytes([rest])
    value = 0
    for byte in head + body:
        value = (value << 8 ^ _OGG_CRC[(value >> 24) ^ byte]) & 0xFFFFFFFF
    return head[:22] + struct.pack("<I", value) + head[26:] + body


_OGG_CRC = [crc(bytes([byte]), polynomial=0x04C11DB7, width=32) for byte in range(256)]


def _opus(*, granule: int, channels: int = 1) -> bytes:
    head = b"OpusHead\x01" + bytes([channels]) + struct.pack("<HIhB", 312, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<II", 0, 2**32 - 1)
    pages = _ogg_page(granule=0, serial=1, body=head, flags=2)
    pages += _ogg_page(granule=0, serial=1, body=tags, number=1)
    for number in range(2, 50):
        pages += _ogg_page(granule=granule, serial=1, body=b"\xfc\xff\xfe", number=number)
    return pages


def other_containers() -> list[HostileFile]:
    asf = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack(
        "<QIBB", 2**62, 2**31, 1, 2
    )
    return [
        *[
            of(f"a granule of {granule}.opus", _opus(granule=granule))
            for granule in (-1, 2**62, 960)
        ],
        of("255 channels.opus", _opus(granule=960, channels=255)),
        of(
            "a thousand streams.ogg",
            b"".join(
                _ogg_page(granule=0, serial=n, body=b"\x01vorbis" + bytes(23), flags=2)
                for n in range(1000)
            ),
        ),
        of("a header of 2^62.wma", asf + bytes(1000)),
        of("nothing but packets.ts", (b"G\x40\x00\x10\x00" + bytes(183)) * 5_000),
        of("an amr of nothing.amr", b"#!AMR\n" + b"\x7c" * 10_000),
        of(
            "a voc of 16 MB.voc",
            b"Creative Voice File\x1a\x1a\x00\x0a\x01\x29\x11\x01\xff\xff\xff\x00\x00" + bytes(100),
        ),
        of(
            "a sphere.sph",
            b"NIST_1A\n   1024\nsample_rate -i 99999999999\nchannel_count -i 4096\nend_head\n"
            + bytes(2000),
        ),
    ]


def no_media() -> list[HostileFile]:
    noise = random.Random(1).randbytes(1_000_000)
    archive = io.BytesIO()
    with wave.open(archive, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes(tone(0.01).tobytes())
    return [
        of("one byte.wav", b"\x00"),
        of("zeros.mp3", bytes(1_000_000)),
        of("noise.mp3", noise),
        of("a program.wav", b"\x7fELF\x02\x01\x01" + bytes(2_000)),
        of("a picture.mp3", lambda: png(8_000, 8_000)),
        of("a picture of 2 billion pixels.mp3", lambda: png(2**31 - 1, 2**31 - 1)),
        of("a page.mp3", b"%PDF-1.7\n" + bytes(100)),
        of("packed.mp3", lambda: packed_zeros(10_000_000)),
        of("ten milliseconds.wav", archive.getvalue()),
    ]
