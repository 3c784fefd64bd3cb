"""One diarizer, in a process of its own: `python -m bench.diarizers NAME clips|conversations`.

Diarizes what is asked (clips after a warm-up, timed) and prints one line of JSON: how long it took, how far from the
reference it is.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from pyannote.audio import Model
from pyannote.audio.core.plda import PLDA
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.pipelines import SpeakerDiarization

from bench.diarization import DEFAULTS, OURS, SENKO
from tests.conversations import InMemory, clips, confusion, conversation, der
from transcription.speech.diarization.base import Diarizer, Turn
from transcription.speech.diarization.campplus import (
    DIMENSION,
    FRAMES_A_SECOND,
    N_MEL_BINS,
    models_folder,
)
from transcription.speech.engines.base import SAMPLE_RATE

CONVERSATIONS = [(n_speakers, seed) for n_speakers in (2, 3, 4, 6) for seed in (2, 12)]
SHORTEST_SECONDS = 0.1

Diarize = Callable[[InMemory], list[Turn]]


class PyannoteDefaults(SpeakerDiarization):
    """pyannote's own pipeline as its makers set it, on the weights that this project's has.

    Windows a tenth of their length apart, the voice of each speaker in each of them, centroid clustering. Can be named
    in a `config.yaml`, as the published pipelines are.
    """

    def __init__(self, token: str | None = None, cache_dir: str | None = None) -> None:
        weights = models_folder() / "pyannote_segmentation_3.0" / "pytorch_model.bin"
        super().__init__(
            segmentation=str(weights),
            segmentation_step=0.1,
            embedding=CampPlusOfWindows(),
            plda=_NoPLDA(),
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


class CampPlusOfWindows(Model):
    """CAM++ as senko publishes it: of each window, the frames in which one speaker is heard, joined."""

    dimension = DIMENSION

    def __init__(self) -> None:
        super().__init__()
        from senko.camplusplus import CAMPPlus

        self.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0
        )
        folder = models_folder() / "speech_campplus_sv_zh_en_16k-common_advanced"
        self.network = CAMPPlus(feat_dim=N_MEL_BINS, embedding_size=DIMENSION)
        self.network.load_state_dict(
            torch.load(folder / "campplus_cn_en_common.pt", map_location="cpu", weights_only=True)
        )
        self.network.eval()

    def forward(
        self, waveforms: torch.Tensor, weights: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        """(batch, 1, n_samples) and (batch, n_frames), 0 or 1, to (batch, 192); NaN where too little is heard."""
        if weights is None:
            weights = torch.ones(len(waveforms), 1, device=waveforms.device)
        return torch.stack(
            [self._voice(waveform, mask) for waveform, mask in zip(waveforms, weights, strict=True)]
        )

    def _voice(self, waveform: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        from torchaudio.compliance import kaldi

        if not mask.any():
            return torch.full((DIMENSION,), float("nan"), device=waveform.device)
        features = kaldi.fbank(
            waveform, num_mel_bins=N_MEL_BINS, sample_frequency=SAMPLE_RATE, dither=0.0
        )
        heard = features[F.interpolate(mask[None, None], size=len(features))[0, 0] > 0.5]
        if len(heard) < SHORTEST_SECONDS * FRAMES_A_SECOND:
            return torch.full((DIMENSION,), float("nan"), device=waveform.device)
        voice: torch.Tensor = self.network((heard - heard.mean(0))[None])[0]
        return voice


class _NoPLDA(PLDA):
    """pyannote fetches one from the hub unless it is given one; this clustering uses none."""

    def __init__(self) -> None:
        pass


def pyannote_defaults() -> Diarize:
    """Without anything of this project's between it and the samples."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    pipeline: Any = PyannoteDefaults()

    def diarize(samples: InMemory) -> list[Turn]:
        file = {
            "uri": "recording",
            "waveform": torch.from_numpy(samples.audio)[None],
            "sample_rate": SAMPLE_RATE,
        }
        found = pipeline(file).speaker_diarization
        return [
            Turn(segment.start, segment.end, label)
            for segment, _, label in found.itertracks(yield_label=True)
        ]

    return diarize


def senko() -> Diarize:
    from transcription.speech.diarization import senko as engine

    return _of(engine.load(model="", token="", device="cpu"))


def ours() -> Diarize:
    from transcription.speech.diarization import pyannote as engine

    return _of(engine.load(model="built-in", token="", device="cpu"))


def _of(diarizer: Diarizer) -> Diarize:
    def diarize(samples: InMemory) -> list[Turn]:
        return list(diarizer.diarize(samples).turns)

    return diarize


DIARIZERS: dict[str, Callable[[], Diarize]] = {
    DEFAULTS: pyannote_defaults,
    SENKO: senko,
    OURS: ours,
}


def on_clips(diarize: Diarize) -> dict[str, Any]:
    """All clips one after the other: seconds for each second of them, and the error rate over all together."""
    found = clips()
    diarize(found[0].samples)
    started = time.perf_counter()
    turns = [diarize(clip.samples) for clip in found]
    seconds = time.perf_counter() - started
    duration = sum(clip.samples.duration for clip in found)
    return {
        "seconds": seconds,
        "real_time_factor": seconds / duration,
        "der": der(zip(found, turns, strict=True)),
    }


def on_conversations(diarize: Diarize) -> list[dict[str, Any]]:
    """Five-minute conversations: how many speakers are found, what share of the speech goes to a wrong one."""
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


def main(name: str, what: str) -> None:
    diarize = DIARIZERS[name]()
    print(json.dumps({"clips": on_clips, "conversations": on_conversations}[what](diarize)))


if __name__ == "__main__":
    main(*sys.argv[1:])
