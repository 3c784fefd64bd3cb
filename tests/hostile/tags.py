"""MP3 files with hostile tags and covers."""

from pathlib import Path

from tests.hostile.base import HostileFile, of, png


def _id3_size(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))


def _id3(body: bytes, *, size: int | None = None, flags: int = 0) -> bytes:
    return b"ID3\x04\x00" + bytes([flags]) + _id3_size(len(body) if size is None else size) + body


def _id3_frame(kind: bytes, body: bytes, *, size: int | None = None) -> bytes:
    return kind + _id3_size(len(body) if size is None else size) + b"\x00\x00" + body


def _mp3_frames(n: int = 100) -> bytes:
    """Frames of silence: MPEG 1 layer 3, 128 kbit/s, 44.1 kHz, mono."""
    return (b"\xff\xfb\x90\xc4" + bytes(413)) * n


def _with_long_tag(path: Path) -> None:
    """A tag of 200 MB that is there, as a hole in the file."""
    size = 200_000_000
    with path.open("wb") as file:
        file.write(
            _id3(_id3_frame(b"APIC", b"\x00image/png\x00\x03\x00", size=size - 10), size=size)
        )
        file.seek(10 + size)
        file.write(_mp3_frames())


def _with_cover(size: int) -> bytes:
    picture = b"\x00image/png\x00\x03\x00" + png(size, size)
    return _id3(_id3_frame(b"APIC", picture)) + _mp3_frames()


def files() -> list[HostileFile]:
    frames = _mp3_frames()
    titles = [b"\x00\x00", b"\x03\xff\xfe\xfd", b"\x01\xff\xfe\x00\xd8", b"\x03" + b"A" * 1_000_000]
    return [
        HostileFile("a tag of 200 MB.mp3", _with_long_tag),
        of("a tag of 200 MB that is not there.mp3", _id3(b"", size=200_000_000) + frames),
        of(
            "a frame longer than its tag.mp3",
            _id3(_id3_frame(b"TIT2", b"\x03A", size=2**27)) + frames,
        ),
        of(
            "a hundred thousand tags.mp3",
            _id3(_id3_frame(b"TXXX", b"\x03A\x00B") * 100_000) + frames,
        ),
        of("a thousand tags one after the other.mp3", _id3(b"") * 1000 + frames),
        of(
            "an extended header of 2 GB.mp3",
            _id3(_id3_size(2**27) + bytes(20), flags=0x40) + frames,
        ),
        of(
            "unsynchronised.mp3",
            _id3(_id3_frame(b"TIT2", b"\xff\x00" * 10_000), flags=0x80) + frames,
        ),
        *[
            of(f"title {number}.mp3", _id3(_id3_frame(b"TIT2", title)) + frames)
            for number, title in enumerate(titles)
        ],
        of("a cover of 8,000 x 8,000.mp3", lambda: _with_cover(8_000)),
        of("a cover of 2 billion x 2 billion.mp3", lambda: _with_cover(2**31 - 1)),
        of("frames of nothing.mp3", b"\xff\xfb\x00\xc4" * 10_000),
        of("nothing but synchronisation.mp3", b"\xff\xfb\x90\xc4" * 100_000),
        of("nothing but synchronisation.aac", b"\xff\xf1\x50\x80\x00\xff\xfc" * 50_000),
    ]
