"""The length that a file declares, and none where it would be a guess."""

from pathlib import Path

import numpy as np
import pytest

from tests.media import noise, silence, write
from transcription.speech import audio


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
        ("m4a", "aac"),
        ("ogg", "libopus"),
    ],
)
def test_what_is_declared_is_known(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write(tmp_path / f"noise.{suffix}", noise(5.0), codec=codec)
    assert audio.probe(path).duration == pytest.approx(5.0, abs=0.1)


def test_what_follows_from_the_bit_rate_alone_is_not_declared(tmp_path: Path) -> None:
    """Silence first has a low bit rate: by it the file would be three times as long."""
    samples = np.concatenate([silence(5.0), noise(10.0)])
    path = write(tmp_path / "whole.mp3", samples, codec="libmp3lame")
    data = path.read_bytes()
    frames = data[10 + data[9] :]  # after its own small tag
    tagged = tmp_path / "with a large tag.mp3"
    tagged.write_bytes(b"ID3\x04\x00\x00\x00\x01\x00\x00" + bytes(2**14) + frames)
    assert audio.probe(path).duration == pytest.approx(15.0, abs=0.1)
    assert audio.probe(tagged).duration == pytest.approx(15.0, abs=0.1)
    without = data.replace(b"Xing", b"    ").replace(b"Info", b"    ")
    bare = tmp_path / "without its header.mp3"
    bare.write_bytes(without)
    assert audio.probe(bare).duration is None


def test_raw_frames_declare_no_length(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.aac", noise(5.0), codec="aac")
    assert audio.probe(path).duration is None
