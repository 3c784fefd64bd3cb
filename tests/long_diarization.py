"""How much memory a long recording's diarization takes: `python -m tests.long_diarization SECONDS…`.

In a process of its own, because a process keeps its highest mark. Recordings of these lengths, ascending, are diarized
one after the other. Prints one line of JSON.
"""

import json
import os
import sys
import time

from tests.conversations import Repeated, conversation
from tests.service import peak_memory
from transcription.speech.diarization import pyannote


def main(lengths: list[float]) -> None:
    audio, _reference = conversation(4, seed=23)
    diarizer = pyannote.load(model="built-in", token="", device="cpu")
    measured = []
    for length in lengths:
        started = time.perf_counter()
        found = diarizer.diarize(Repeated(audio, length))
        measured.append(
            {
                "seconds": time.perf_counter() - started,
                "peak_bytes": peak_memory(os.getpid()),
                "n_speakers": len(found.centroids),
            }
        )
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main([float(length) for length in sys.argv[1:]])
