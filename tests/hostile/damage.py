"""Good files in many containers, and the same with damage."""

import random
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.base import RATE
from tests.media import Samples, write


def truncations(data: bytes) -> Iterator[bytes]:
    """The data cut off at every hundredth of its length."""
    for percent in range(100):
        yield data[: len(data) * percent // 100]


def flipped(data: bytes, *, seed: int, flips: int) -> bytes:
    """The data with some bits changed, half of them in its first 4 KB."""
    generator, changed = random.Random(seed), bytearray(data)
    for number in range(flips):
        end = min(len(changed), 4096) if number % 2 else len(changed)
        changed[generator.randrange(end)] ^= 1 << generator.randrange(8)
    return bytes(changed)


_GOOD = [
    ("wav", "pcm_s16le"),
    ("flac", "flac"),
    ("mp3", "libmp3lame"),
    ("m4a", "aac"),
    ("oga", "flac"),
    ("opus", "libopus"),
    ("webm", "libopus"),
    ("mkv", "aac"),
    ("avi", "libmp3lame"),
    ("aiff", "pcm_s16be"),
    ("caf", "pcm_s16le"),
    ("au", "pcm_s16be"),
    ("aac", "aac"),
    ("ts", "aac"),
    ("wma", "libmp3lame"),
    ("w64", "pcm_s16le"),
]


_RATES = {"libopus": 48_000}


def good_containers(folder: Path, samples: Samples) -> list[Path]:
    """The samples in 17 containers and codecs."""
    paths = [
        write(folder / f"good.{suffix}", samples, codec=codec, rate=_RATES.get(codec, RATE))
        for suffix, codec in _GOOD
    ]
    return [*paths, write(folder / "video.mp4", samples, codec="aac", video=True)]
