"""A speech engine that only waits, in proportion to the audio: what is left is the service's own work.

It takes the place of faster-whisper in processes that have `DJANGO_SETTINGS_MODULE=tests.waiting_settings`.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from transcription.speech.engines.base import (
    Audio,
    EngineSettings,
    OnProgress,
    Span,
    TranscribedSegment,
)

RATE = "TEST_SECONDS_PER_SECOND"
"""The variable that says how many seconds it waits for a second of audio."""
STEP_SECONDS = 0.25


class WaitingEngine:
    device = "cpu"
    threads = 1

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self._rate = float(os.environ[RATE])

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
        seconds = self._rate * sum(stream.duration for stream in streams)
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            time.sleep(min(left, STEP_SECONDS))
            if on_progress is not None:
                on_progress(min(1.0, 1 - left / seconds))
        return [
            TranscribedSegment(
                stream.start, stream.end, f"From {stream.start:.2f} on.", (), -0.1, 0.0, 1.0, 0.0
            )
            for stream in streams
        ]


def load(weights: Path, *, model_name: str, settings: EngineSettings) -> WaitingEngine:
    return WaitingEngine(model_name)
