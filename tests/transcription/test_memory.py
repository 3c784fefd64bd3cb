"""A long recording needs no more memory than a short one."""

import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tests.service import ROOT
from transcription.speech import audio

pytestmark = pytest.mark.slow

PREPARATION = """
import os, sys
from pathlib import Path
import django
django.setup()
from transcription import access
access.become_service()
from tests.service import peak_memory
from transcription.models import Recording
from transcription.recordings import SamplesWriter
from transcription.speech import audio
from transcription.speech.chunks import Planner
from transcription.speech.voice_activity import VoiceActivity
writer, activity, planner = SamplesWriter(Recording()), VoiceActivity(), Planner()
chunks = 0
for samples in audio.decode(Path(sys.argv[1])):
    writer.write(samples)
    for span in activity.feed(audio.to_float(samples)):
        chunks += len(list(planner.add(span)))
writer.flush()
print(chunks, peak_memory(os.getpid()) // 1024**2)
"""


def repeated(source: Path, target: Path, *, minutes: int) -> Path:
    samples = b"".join(piece.tobytes() for piece in audio.decode(source))
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        left = minutes * 60 * 32_000
        while left > 0:
            file.writeframes(samples[:left])
            left -= len(samples)
    return target


def prepared(path: Path, data_dir: Path) -> tuple[int, int]:
    """Chunks found, and the most memory that preparing `path` took, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARATION, str(path)],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
            "TRANSCRIBER_DATA_DIR": str(data_dir),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    chunks, megabytes = done.stdout.split()
    return int(chunks), int(megabytes)


def test_preparing_an_hour_takes_the_memory_of_four_minutes(
    audio_dir: Path, tmp_path: Path
) -> None:
    reading = audio_dir / "reading-10min.flac"
    few, short = prepared(repeated(reading, tmp_path / "4.wav", minutes=4), tmp_path / "data")
    many, long = prepared(repeated(reading, tmp_path / "60.wav", minutes=60), tmp_path / "data")
    assert many > 10 * few
    assert long - short < 16
