"""How much memory a long recording's diarization takes: `python -m tests.long_diarization SECONDS`.

In a process of its own, because a process keeps its highest mark. Prints one line of JSON.
"""

import json
import os
import sys
import time

from tests.conversations import Repeated, conversation
from tests.service import peak_memory
from transcription.speech.diarization import pyannote


def main(seconds: float) -> None:
    audio, _reference = conversation(4, seed=23)
    diarizer = pyannote.load(model="built-in", token="", device="cpu")
    started = time.perf_counter()
    found = diarizer.diarize(Repeated(audio, seconds))
    sys.stdout.write(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "peak_bytes": peak_memory(os.getpid()),
                "n_speakers": len(found.centroids),
            }
        )
    )


if __name__ == "__main__":
    main(float(sys.argv[1]))
