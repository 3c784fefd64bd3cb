"""Mixing of several channels to one, so that no voice is cancelled or drowned.

The plain mean loses a voice that is on two channels in opposite phase, and one that is much softer than the voices
of other channels. So a channel in opposite phase is turned round, a softer voice is raised, and at each moment the
channels count by their share of the speech then: gain sharing, as automatic mixers of conferences do (Dugan 1975,
"Automatic microphone mixing"). Where the channels hold one scene, as those of stereo recordings do, the mean is taken.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from transcription.speech.engines.base import SAMPLE_RATE, Audio
from transcription.speech.voice_activity import FRAME_SAMPLES, SPEECH_PROBABILITY, VoiceActivity

Pcm: TypeAlias = "npt.NDArray[np.int16]"
"""One channel: shape (n_samples,)."""
Channels: TypeAlias = "npt.NDArray[np.int16]"
"""Shape (n_samples, n_channels)."""
Floats: TypeAlias = "npt.NDArray[np.float64]"
Flags: TypeAlias = "npt.NDArray[np.bool_]"

OPPOSITE_CORRELATION = -0.3
SAME_CORRELATION = 0.3
"""Channels that are correlated more hold one scene,"""
SAME_LEVEL_DB = 10.0
"""unless one is so much softer."""

SPEECH_RMS = 0.06
"""The level, full scale being 1, that a channel is brought to before speech is looked for in it."""
MAX_RAISE_DB = 45.0
MIN_OWN_FRAMES = 10
"""How long a channel must have speech alone, in frames of 32 ms: at the edges of words channels differ by some."""
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

    def mix(self, block: Channels) -> Pcm:
        """Mix a block of shape (n_samples, n_channels) to one of shape (n_samples,)."""
        if block.shape[1] == 1:
            return block[:, 0]
        self._products = FORGET * self._products + _products(block)
        if self.is_one_scene:
            self._gains = None
            return to_pcm(block.mean(axis=1, dtype=np.float32))
        return self._share(block)

    # ---- What the channels hold

    def _correlations(self) -> Floats:
        """Of each pair of channels, -1 to 1; shape (n_channels, n_channels)."""
        norms = np.sqrt(np.diag(self._products)) + FLOOR
        correlations: Floats = self._products / np.outer(norms, norms)
        return correlations

    @property
    def is_one_scene(self) -> bool:
        """Whether all channels of the last blocks hold much the same at much the same level."""
        powers = np.diag(self._products) + FLOOR
        spread = 10 * np.log10(powers.max() / powers.min())
        return bool(self._correlations().min() > SAME_CORRELATION and spread < SAME_LEVEL_DB)

    def _signs(self) -> Floats:
        """-1 for each channel in opposite phase to the loudest one."""
        loudest = int(np.diag(self._products).argmax())
        return np.where(self._correlations()[loudest] < OPPOSITE_CORRELATION, -1.0, 1.0)

    # ---- Gain sharing

    def _share(self, block: Channels) -> Pcm:
        padded = np.pad(block, ((0, -len(block) % FRAME_SAMPLES), (0, 0)))
        found = [levels_and_speech(to_floats(channel)) for channel in padded.T]
        levels = np.stack([level for level, _ in found])  # (n_channels, n_frames)
        speech = np.stack([probability for _, probability in found])
        raises = self._raises(levels, speech > SPEECH_PROBABILITY)[:, None]
        shares = _smooth((levels * raises + FLOOR) ** 2 * (speech + NO_SPEECH_SHARE))
        gains = shares / shares.sum(axis=0) * raises * self._signs()[:, None]
        before = gains[:, 0] if self._gains is None else self._gains
        mixed = np.zeros(len(padded), np.float32)
        for channel, start, steps in zip(padded.T, before, gains, strict=True):
            mixed += to_floats(channel) * ramp(start, steps)
        self._gains = gains[:, -1]
        return to_pcm(mixed[: len(block)])

    def _raises(self, levels: Floats, is_speech: Flags) -> Floats:
        """The factor that brings each channel's own voice to the level of the loudest one; 1 where there is none.

        A voice is a channel's own where no louder channel has speech: what is a softer copy of them stays soft.
        """
        is_louder_speech = np.zeros(levels.shape[1], bool)
        heard = np.zeros(len(levels))
        for channel in np.argsort([-_rms(*row) for row in zip(levels, is_speech, strict=True)]):
            own = long_runs(is_speech[channel] & ~is_louder_speech)
            heard[channel] = _rms(levels[channel], own)
            is_louder_speech |= is_speech[channel]
        self._speech_level = np.maximum(self._speech_level * FORGET, heard)
        raises = np.ones(len(levels))
        known = self._speech_level > FLOOR
        raises[known] = self._speech_level.max() / self._speech_level[known]
        return raises.clip(1.0, 10 ** (MAX_RAISE_DB / 20))


def _products(block: Channels) -> Floats:
    """The sum of the products of each pair of channels; shape (n_channels, n_channels)."""
    products = np.zeros((block.shape[1], block.shape[1]))
    for begin in range(0, len(block), SAMPLE_RATE):  # in pieces: the block may have many channels
        piece = block[begin : begin + SAMPLE_RATE].astype(np.float64)
        products += piece.T @ piece
    return products


def to_floats(channel: Pcm) -> Audio:
    floats: Audio = channel.astype(np.float32)
    return floats


def to_pcm(samples: Audio) -> Pcm:
    pcm: Pcm = samples.round().clip(-32768, 32767).astype(np.int16)
    return pcm


def levels_and_speech(samples: Audio) -> tuple[Floats, Floats]:
    """The root mean square of each frame of one channel, and the probability of speech in it, however soft it is."""
    frames = samples.reshape(-1, FRAME_SAMPLES)
    levels = np.sqrt((frames.astype(np.float64) ** 2).mean(axis=1))
    loud = np.percentile(levels, 95) / 32768
    factor = min(SPEECH_RMS / (loud + 1e-9), 10 ** (MAX_RAISE_DB / 20)) / 32768
    raised = (samples * np.float32(factor)).clip(-1, 1)
    return levels, VoiceActivity().probabilities(raised).astype(np.float64)


def _rms(levels: Floats, among: Flags) -> float:
    """The root mean square of the levels of some frames; 0 of none."""
    return float(np.sqrt((levels[among] ** 2).mean())) if among.any() else 0.0


def long_runs(flags: Flags) -> Flags:
    """The flags that stand in runs of MIN_OWN_FRAMES or more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    long_runs = np.zeros_like(flags)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        long_runs[start:end] = end - start >= MIN_OWN_FRAMES
    return long_runs


def ramp(start: float, steps: Floats) -> Audio:
    """The gains of frames as gains of samples, without jumps; `start` is the gain before the first frame."""
    at = np.arange(len(steps) * FRAME_SAMPLES) / FRAME_SAMPLES
    gains: Audio = np.interp(at, np.arange(len(steps) + 1), [start, *steps]).astype(np.float32)
    return gains


def _smooth(values: Floats) -> Floats:
    """The mean over neighbouring frames."""
    kernel = np.ones(SMOOTHING_FRAMES) / SMOOTHING_FRAMES
    padded = np.pad(values, ((0, 0), (SMOOTHING_FRAMES // 2, SMOOTHING_FRAMES // 2)), mode="edge")
    return np.stack([np.convolve(row, kernel, mode="valid") for row in padded])
