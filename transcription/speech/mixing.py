"""Mixing of several channels to one, so that no voice is cancelled or drowned.

The plain mean loses a voice that is on two channels in opposite phase, and one that is much softer than the voices
of other channels. So a channel in opposite phase is turned round, a softer voice is raised, and at each moment the
channels count by their share of the speech then: gain sharing, as automatic mixers of conferences do (Dugan 1975,
"Automatic microphone mixing"). Where the channels hold one scene, as those of stereo recordings do, the mean is taken.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from transcription.speech.voice_activity import FRAME_SAMPLES, SPEECH_PROBABILITY, VoiceActivity

Pcm: TypeAlias = "npt.NDArray[np.int16]"
Floats: TypeAlias = "npt.NDArray[np.float64]"

OPPOSITE_CORRELATION = -0.3
SAME_CORRELATION = 0.3
"""Channels that are correlated more hold one scene,"""
SAME_LEVEL_DB = 10.0
"""unless one is so much softer."""

SPEECH_RMS = 0.06
"""The level, full scale being 1, that a channel is brought to before speech is looked for in it."""
MAX_RAISE_DB = 45.0
SMOOTHING_FRAMES = 9
"""Over how many frames of 32 ms gains are smoothed: syllables of one voice must not pump."""
NO_SPEECH_SHARE = 0.02
"""What a frame without speech counts beside one with speech."""
FORGET = 0.9
"""How much of what was known of the channels counts in the next block, of ten seconds."""
FLOOR = 1e-3


class Mixer:
    """Mixes the blocks of one recording; what it has learnt of the channels it keeps for the next block."""

    def __init__(self, n_channels: int) -> None:
        self._products = np.zeros((n_channels, n_channels))
        self._speech_level = np.zeros(n_channels)
        self._gains: Floats | None = None

    def mix(self, block: "npt.NDArray[np.int16]") -> Pcm:
        """Mix a block of shape (n_samples, n_channels) to one of shape (n_samples,)."""
        if block.shape[1] == 1:
            return block[:, 0]
        channels = block.T.astype(np.float64)
        self._products = FORGET * self._products + channels @ channels.T
        if self._is_one_scene():
            self._gains = None
            return _pcm(channels.mean(axis=0))
        return self._share(channels)

    # ---- What the channels hold

    def _correlations(self) -> Floats:
        """Of each pair of channels, -1 to 1; shape (n_channels, n_channels)."""
        norms = np.sqrt(np.diag(self._products)) + FLOOR
        correlations: Floats = self._products / np.outer(norms, norms)
        return correlations

    def _is_one_scene(self) -> bool:
        """Whether all channels hold much the same at much the same level."""
        powers = np.diag(self._products) + FLOOR
        spread = 10 * np.log10(powers.max() / powers.min())
        return bool(self._correlations().min() > SAME_CORRELATION and spread < SAME_LEVEL_DB)

    def _signs(self) -> Floats:
        """-1 for each channel in opposite phase to the loudest one."""
        loudest = int(np.diag(self._products).argmax())
        return np.where(self._correlations()[loudest] < OPPOSITE_CORRELATION, -1.0, 1.0)

    # ---- Gain sharing

    def _share(self, channels: Floats) -> Pcm:
        n_channels, n_samples = channels.shape
        padded = np.pad(channels, ((0, 0), (0, -n_samples % FRAME_SAMPLES)))
        frames = padded.reshape(n_channels, -1, FRAME_SAMPLES)
        levels = np.sqrt((frames**2).mean(axis=2))  # (n_channels, n_frames)
        speech = np.stack([_speech(row, level) for row, level in zip(padded, levels, strict=True)])
        raises = self._raises(levels, speech > SPEECH_PROBABILITY)[:, None]
        shares = _smooth((levels * raises + FLOOR) ** 2 * (speech + NO_SPEECH_SHARE))
        gains = shares / shares.sum(axis=0) * raises * self._signs()[:, None]
        mixed = (padded * self._ramped(gains)).sum(axis=0)[:n_samples]
        self._gains = gains[:, -1]
        return _pcm(mixed)

    def _raises(self, levels: Floats, is_speech: "npt.NDArray[np.bool_]") -> Floats:
        """The factor that brings each channel's voice to the level of the loudest one; 1 where there is no voice."""
        heard = [
            float(np.sqrt((row[own] ** 2).mean())) if own.any() else 0.0
            for row, own in zip(levels, is_speech, strict=True)
        ]
        self._speech_level = np.maximum(self._speech_level * FORGET, heard)
        raises = np.ones(len(levels))
        known = self._speech_level > FLOOR
        raises[known] = self._speech_level.max() / self._speech_level[known]
        return raises.clip(1.0, 10 ** (MAX_RAISE_DB / 20))

    def _ramped(self, gains: Floats) -> Floats:
        """The gains of frames as gains of samples, without steps; shape (n_channels, n_samples)."""
        before = gains[:, :1] if self._gains is None else self._gains[:, None]
        steps = np.concatenate([before, gains], axis=1)
        at = np.arange(gains.shape[1] * FRAME_SAMPLES) / FRAME_SAMPLES
        return np.stack([np.interp(at, np.arange(steps.shape[1]), row) for row in steps])


def _pcm(samples: Floats) -> Pcm:
    pcm: Pcm = samples.round().clip(-32768, 32767).astype(np.int16)
    return pcm


def _speech(samples: Floats, levels: Floats) -> Floats:
    """The probability of speech in each frame of one channel, however soft it is; shape (n_frames,)."""
    loud = np.percentile(levels, 95) / 32768
    factor = min(SPEECH_RMS / (loud + 1e-9), 10 ** (MAX_RAISE_DB / 20)) / 32768
    raised = (samples * factor).clip(-1, 1).astype(np.float32)
    return VoiceActivity().probabilities(raised).astype(np.float64)


def _smooth(values: Floats) -> Floats:
    """The mean over neighbouring frames."""
    kernel = np.ones(SMOOTHING_FRAMES) / SMOOTHING_FRAMES
    padded = np.pad(values, ((0, 0), (SMOOTHING_FRAMES // 2, SMOOTHING_FRAMES // 2)), mode="edge")
    return np.stack([np.convolve(row, kernel, mode="valid") for row in padded])
