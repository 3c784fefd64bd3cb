"""The service's settings, with the engine that only waits."""

from transcriber_site.settings import *  # noqa: F403
from transcription.speech.engines import loading

loading.ENGINES["faster-whisper"] = "tests.waiting_engine"
