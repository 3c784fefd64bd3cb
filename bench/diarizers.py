"""Run one diarizer in its own process: `python -m bench.diarizers NAME clips|conversations`.

Prints one line of JSON: the time (of clips, after a warm-up) and the errors against the reference.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the conventional name
from pyannote.audio import Model
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.pipelines import SpeakerDiarization

from bench.diarization import DEFAULTS, OURS, SENKO
from tests.conversations import InMemory, clips, confusion, conversation, der
from transcription.speech.diarization.base import Diarizer, Turn
from transcription.speech.diarization.built_in import NoPLDA
from transcription.speech.diarization.campplus import (
    DIMENSION,
    FRAMES_PER_SECOND,
    fbank,
    load_network,
    models_folder,
)
from transcription.speech.engines.base import SAMPLE_RATE

CONVERSATIONS = [(n_speakers, seed) for n_speakers in (2, 3, 4, 6) for seed in (2, 12)]
MIN_SPEECH_SECONDS = 0.1

Diarize = Callable[[InMemory], list[Turn]]


class PyannoteDefaults(SpeakerDiarization):
    """pyannote's own pipeline with its default settings, and the same weights as the built-in pipeline.

    Windows with a step of a tenth, an embedding of each speaker in each window, centroid clustering. A `config.yaml`
    can name this class, like those of published pipelines.
    """

    def __init__(self, token: str | None = None, cache_dir: str | None = None) -> None:
        weights = models_folder() / "pyannote_segmentation_3.0" / "pytorch_model.bin"
        super().__init__(
            segmentation=str(weights),
            segmentation_step=0.1,
            embedding=WindowCampPlus(),
            plda=NoPLDA(),
            clustering="AgglomerativeClustering",
            token=token,
            cache_dir=cache_dir,
        )
        self.instantiate(
            {
                "segmentation": {"min_duration_off": 0.0},
                "clustering": {"method": "centroid", "threshold": 0.5, "min_cluster_size": 12},
            }
        )


class WindowCampPlus(Model):
    """CAM++ as senko defines it, on the concatenated frames of one speaker in each window."""

    dimension = DIMENSION

    def __init__(self) -> None:
        super().__init__()
        self.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0
        )
        self.network = load_network()

    def forward(
        self, waveforms: torch.Tensor, weights: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        """Embed (batch, 1, n_samples) with masks (batch, n_frames); shape (batch, 192), NaN with too little speech."""
        if weights is None:
            weights = torch.ones(len(waveforms), 1, device=waveforms.device)
        return torch.stack(
            [self._embed(waveform, mask) for waveform, mask in zip(waveforms, weights, strict=True)]
        )

    def _embed(self, waveform: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if not mask.any():
            return torch.full((DIMENSION,), float("nan"), device=waveform.device)
        features = fbank(waveform)
        active = features[F.interpolate(mask[None, None], size=len(features))[0, 0] > 0.5]
        if len(active) < MIN_SPEECH_SECONDS * FRAMES_PER_SECOND:
            return torch.full((DIMENSION,), float("nan"), device=waveform.device)
        embedding: torch.Tensor = self.network((active - active.mean(0))[None])[0]
        return embedding


def pyannote_defaults() -> Diarize:
    """pyannote's pipeline without any code of this project."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    pipeline: Any = PyannoteDefaults()

    def diarize(samples: InMemory) -> list[Turn]:
        file = {
            "uri": "recording",
            "waveform": torch.from_numpy(samples.audio)[None],
            "sample_rate": SAMPLE_RATE,
        }
        output = pipeline(file).speaker_diarization
        return [
            Turn(segment.start, segment.end, label)
            for segment, _, label in output.itertracks(yield_label=True)
        ]

    return diarize


def senko() -> Diarize:
    from transcription.speech.diarization import senko as engine

    return _without_options(engine.load(model="", token="", device="cpu"))


def ours() -> Diarize:
    from transcription.speech.diarization import pyannote as engine

    return _without_options(engine.load(model="built-in", token="", device="cpu"))


def _without_options(diarizer: Diarizer) -> Diarize:
    def diarize(samples: InMemory) -> list[Turn]:
        return list(diarizer.diarize(samples).turns)

    return diarize


DIARIZERS: dict[str, Callable[[], Diarize]] = {
    DEFAULTS: pyannote_defaults,
    SENKO: senko,
    OURS: ours,
}


def measure_clips(diarize: Diarize) -> dict[str, Any]:
    """Diarize all clips in sequence: seconds, real-time factor, and the DER over all of them."""
    all_clips = clips()
    diarize(all_clips[0].samples)  # warm-up
    started = time.perf_counter()
    turns = [diarize(clip.samples) for clip in all_clips]
    seconds = time.perf_counter() - started
    duration = sum(clip.samples.duration for clip in all_clips)
    return {
        "seconds": seconds,
        "real_time_factor": seconds / duration,
        "der": der(zip(all_clips, turns, strict=True)),
    }


def measure_conversations(diarize: Diarize) -> list[dict[str, Any]]:
    """Diarize five-minute conversations: the number of speakers found, and the confusion rate."""
    rows = []
    for n_speakers, seed in CONVERSATIONS:
        audio, reference = conversation(n_speakers, seed)
        turns = diarize(InMemory(audio))
        rows.append(
            {
                "speakers": n_speakers,
                "seed": seed,
                "found": len({turn.speaker for turn in turns}),
                "confusion": confusion(reference, turns),
            }
        )
    return rows


def main(name: str, dataset: str) -> None:
    measure = {"clips": measure_clips, "conversations": measure_conversations}[dataset]
    print(json.dumps(measure(DIARIZERS[name]())))


if __name__ == "__main__":
    main(*sys.argv[1:])
