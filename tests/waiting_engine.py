"""A speech engine without inference: it waits for events, or for a known time, so that tests decide how far a job gets.

It replaces faster-whisper in processes that have `DJANGO_SETTINGS_MODULE=tests.waiting_settings`. Each stream becomes
segments of five seconds, whose text is a checksum of their samples: a recording's transcript is the same however often
its chunks are transcribed, and another one if other samples were read.

- With TEST_GATE, a folder (see `Gate`), chunks pass until the gate's limit, and then wait until it is opened.
- With TEST_SECONDS_PER_SECOND a chunk takes so many seconds for a second of audio.
"""

import math
import os
import time
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    EngineSettings,
    OnProgress,
    Span,
    TranscribedSegment,
)

RATE = "TEST_SECONDS_PER_SECOND"
GATE = "TEST_GATE"
STEP_SECONDS = 0.25
SEGMENT_SECONDS = 5.0
POLL_SECONDS = 0.02
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.waiting_settings"}
"""Environment of a service with this engine."""


class Gate:
    """A folder that the engine's processes watch: how many chunks may pass, and which have begun."""

    def __init__(self, folder: Path, *, limit: int) -> None:
        """Let `limit` chunks pass, in order of their beginning, and hold all others until `open`."""
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "limit").write_text(str(limit))

    @property
    def environment(self) -> dict[str, str]:
        return {**SETTINGS, GATE: str(self.folder)}

    def open(self) -> None:
        (self.folder / "open").touch()

    def n_begun(self) -> int:
        return len(list(self.folder.glob("begun-*")))


class WaitingEngine:
    device = "cpu"
    threads = 1

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self._rate = float(os.environ.get(RATE, "0"))
        self._gate = Path(os.environ[GATE]) if GATE in os.environ else None

    def detect_language(self, audio: Audio) -> str:
        return "en"

    def transcribe(
        self,
        audio: Audio,
        streams: Sequence[Span],
        *,
        language: str,
        word_times: bool = True,
        on_progress: OnProgress | None = None,
    ) -> list[TranscribedSegment]:
        if self._gate is not None:
            _pass(self._gate, on_progress)
        self._wait(self._rate * sum(stream.duration for stream in streams), on_progress)
        return [
            TranscribedSegment(
                part.start, part.end, _checksum(audio, part), (), -0.1, 0.0, 1.0, 0.0
            )
            for stream in streams
            for part in _parts(stream)
        ]

    def _wait(self, seconds: float, on_progress: OnProgress | None) -> None:
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            time.sleep(min(left, STEP_SECONDS))
            if on_progress is not None:
                on_progress(min(1.0, 1 - left / seconds))


def _parts(stream: Span) -> list[Span]:
    """The stream in spans of SEGMENT_SECONDS, the last one shorter."""
    n = max(1, math.ceil(stream.duration / SEGMENT_SECONDS))
    starts = [stream.start + i * SEGMENT_SECONDS for i in range(n)]
    return [Span(a, b) for a, b in pairwise([*starts, stream.end])]


def _checksum(audio: Audio, stream: Span) -> str:
    samples = audio[round(stream.start * SAMPLE_RATE) : round(stream.end * SAMPLE_RATE)]
    return f"{zlib.crc32(samples.tobytes()):08x}"


def _pass(gate: Path, on_progress: OnProgress | None) -> None:
    """Return when this chunk may pass. `on_progress` is called meanwhile, and raises when the lease is lost."""
    number = 0
    while True:  # several processes count: the file that only one of them can make is its number
        try:
            (gate / f"begun-{number}").touch(exist_ok=False)
            break
        except FileExistsError:
            number += 1
    limit = int((gate / "limit").read_text())
    while number >= limit and not (gate / "open").exists():
        time.sleep(POLL_SECONDS)
        if on_progress is not None:
            on_progress(0.5)


def load(weights: Path, *, model_name: str, settings: EngineSettings) -> WaitingEngine:
    return WaitingEngine(model_name)
