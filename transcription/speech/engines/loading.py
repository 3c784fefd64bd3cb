"""The speech engines, and the one loaded model that a process keeps."""

import threading
from importlib import import_module
from pathlib import Path

from transcription.speech.engines.base import EngineSettings, SpeechEngine

ENGINES = {
    "faster-whisper": "transcription.speech.engines.faster_whisper",
    "openai-whisper": "transcription.speech.engines.openai_whisper",
}
"""Names to modules with `load(weights, *, model_name, settings)`. Imported on use, because they are heavy."""

_lock = threading.Lock()
_loaded: tuple[object, SpeechEngine] | None = None


def load(*, engine: str, weights: Path, model_name: str, settings: EngineSettings) -> SpeechEngine:
    """Load a model, and keep it until another one is loaded. Raises SpeechError."""
    global _loaded
    key = (engine, weights, model_name, settings)
    with _lock:
        if _loaded is None or _loaded[0] != key:
            _loaded = None  # freed first: two models may not fit into memory
            loaded: SpeechEngine = import_module(ENGINES[engine]).load(
                weights, model_name=model_name, settings=settings
            )
            _loaded = (key, loaded)
        return _loaded[1]


def loaded_model() -> SpeechEngine | None:
    """The model that this process has loaded, if any."""
    return None if _loaded is None else _loaded[1]
