"""Which diarizers there are, and the one loaded pipeline that a process keeps."""

import threading
from importlib import import_module

from transcription.speech.diarization.base import Diarizer

ENGINES = {
    "pyannote": "transcription.speech.diarization.pyannote",
    "senko": "transcription.speech.diarization.senko",
}
"""Name to module; each has `load(*, model, token, device, threads)`. Imported on use: they are heavy."""

TAKE_A_COUNT = frozenset({"pyannote"})
"""Those that can be told how many speakers there are."""

_lock = threading.Lock()
_loaded: tuple[object, Diarizer] | None = None


def load(*, engine: str, model: str, token: str, device: str, threads: int = 0) -> Diarizer:
    """The pipeline, loaded once and kept. Raises SpeechError.

    `model` is a folder, a name on the model hub, or empty: what the engine takes by itself. `threads` is on how
    many cores it may work; 0 means all.
    """
    global _loaded
    key = (engine, model, token, device, threads)
    with _lock:
        if _loaded is None or _loaded[0] != key:
            _loaded = None
            diarizer: Diarizer = import_module(ENGINES[engine]).load(
                model=model, token=token, device=device, threads=threads
            )
            _loaded = (key, diarizer)
        return _loaded[1]
