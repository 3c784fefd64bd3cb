"""Ogg files that follow one another in one file, as radio streams and recorders write them: all of them are heard."""

from pathlib import Path

import numpy as np
import pytest

from tests.media import noise, silence, write
from transcription.speech import audio

LINK_SECONDS = 2.0


def link(folder: Path, *, channels: int, loud: bool = True, codec: str = "libopus") -> bytes:
    samples = noise(LINK_SECONDS) if loud else silence(LINK_SECONDS)
    rate = 48_000 if codec == "libopus" else 16_000
    path = write(folder / "link.ogg", samples, codec=codec, rate=rate, channels=channels)
    return path.read_bytes()


def decoded(path: Path) -> tuple[list[bool], int]:
    """Whether the middle of each second is loud, and the number of channels."""
    samples = np.concatenate(list(audio.decode_channels(path)))
    seconds = [samples[n : n + 8_000] for n in range(4_000, len(samples) - 8_000, 16_000)]
    return [bool(np.abs(one).max() > 1000) for one in seconds], samples.shape[1]


@pytest.mark.parametrize("codec", ["libopus", "flac"])
@pytest.mark.parametrize("channels", [(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2), (2, 1, 2)])
def test_all_links_of_a_chain_are_read(
    tmp_path: Path, codec: str, channels: tuple[int, ...]
) -> None:
    path = tmp_path / "chain.ogg"
    links = [
        link(tmp_path, channels=n, loud=number != 1, codec=codec)
        for number, n in enumerate(channels)
    ]
    path.write_bytes(b"".join(links))
    assert decoded(path) == ([True, True, False, False, True, True], channels[0])


def test_a_link_that_is_no_audio_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "chain.ogg"
    mono, stereo = link(tmp_path, channels=1), link(tmp_path, channels=2)
    broken = stereo[:28] + bytes(20) + stereo[48:60]
    path.write_bytes(mono + broken + stereo + b"OggS\x00\x02" + bytes(40))
    assert decoded(path) == ([True] * 4, 1)
