"""Channels that hold a speaker each: are there such, and what does each speaker say.

What comes over the table, a headphone or the line from one channel into another is a copy of it. The share of a
channel's power that a linear filter of another one explains is their coherence, weighted by the power (Carter 1987,
"Coherence and time delay estimation"). It is near 1 for a copy alone, more than 0.4 for two microphones in one echoing
room, and less than 0.35 for two people who speak at once, of whom therefore nothing is taken for a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from transcription.speech.audio import n_speaker_channels
from transcription.speech.engines.base import SAMPLE_RATE, Audio
from transcription.speech.mixing import (
    FORGET,
    MAX_RAISE_DB,
    MIN_OWN_FRAMES,
    SPEECH_RMS,
    Channels,
    Flags,
    Floats,
    Mixer,
    levels_and_speech,
    long_runs,
    ramp,
    to_floats,
    to_pcm,
)
from transcription.speech.voice_activity import FRAME_SAMPLES, SPEECH_PROBABILITY

Spectra: TypeAlias = "npt.NDArray[np.complex64]"
"""Of one channel: shape (n_frames, n_bins)."""

WINDOW_SAMPLES = 2048
"""128 ms: a copy that is up to some 20 ms late, 7 m of way, is still coherent; the lag of others is found first."""
MAX_RAISE = 10 ** (MAX_RAISE_DB / 20)
MAX_LAG_FRAMES = 12
"""0.4 s: the echo of a telephone line."""
AVERAGED_FRAMES = 23
"""Over how many frames of 32 ms coherence is averaged."""
CONTEXT_FRAMES = MAX_LAG_FRAMES + AVERAGED_FRAMES // 2
MIN_HZ, MAX_HZ = 200, 4000
COPY_SHARE = 0.5
"""A channel is a copy where a louder one explains more of its power."""
INDEPENDENT_SHARE = 0.35
"""A channel has a voice of its own where no other one explains more of its power,"""
OWN_LEVEL = 10 ** (10 / 20)
"""or where it is so much louder than all others."""
PREFERENCE = 10 ** (0.3 / 10)
"""Each channel counts for 0.3 dB more than the next one: of copies with nearly the same power the first one stays."""
MAX_COMPARED = 4
"""Each channel is compared with so many of the loudest others, or dozens of channels would take minutes."""
MIN_SEPARATE_SECONDS = 1.0
MIN_SEPARATE_SHARE = 0.1
"""The least part of all that is some channel's own in which a channel counts as a speaker's."""
MAX_HEARD_SECONDS = 600.0


class TrackMixer:
    """Makes one channel of each track, where a recording has several; else leaves its channels as they are."""

    def __init__(self, track_channels: Sequence[int]) -> None:
        """`track_channels`: the number of channels of each track."""
        self.n_channels = n_speaker_channels(track_channels)
        self._mixers = [Mixer(n_channels) for n_channels in track_channels]
        self._splits = np.cumsum(track_channels)[:-1]

    def mix(self, block: Channels) -> Channels:
        """The channels that may hold a speaker each, of a block that has all channels of all tracks."""
        if len(self._mixers) == 1:
            return block
        tracks = np.split(block, self._splits, axis=1)
        mixed = [mixer.mix(track) for mixer, track in zip(self._mixers, tracks, strict=True)]
        return np.stack(mixed, axis=1)


class Separator:
    """Leaves in each channel what its own speaker says, and makes it loud enough to be heard."""

    def __init__(self, n_channels: int) -> None:
        self._comparer = _Comparer(n_channels)
        self._speech_level = np.zeros(n_channels)
        self._gains = np.ones(n_channels)

    def separate(self, block: Channels) -> Channels:
        """The next block without copies; its shape, (n_samples, n_channels), stays."""
        padded = _padded(block)
        is_own = ~self._comparer.compare(padded).is_copy
        separated = np.empty_like(padded)
        for channel, pcm in enumerate(padded.T):
            samples = to_floats(pcm)
            gains = is_own[channel] * self._factor(channel, samples, is_own[channel])
            separated[:, channel] = to_pcm(samples * ramp(self._gains[channel], gains))
            self._gains[channel] = gains[-1]
        return separated[: len(block)]

    def _factor(self, channel: int, samples: Audio, is_own: Flags) -> float:
        """At least 1: it brings the channel's voice to the level at which speech is looked for."""
        levels, speech = levels_and_speech(samples)
        own = long_runs((speech > SPEECH_PROBABILITY) & is_own)
        loud = float(np.sqrt((levels[own] ** 2).mean())) / 32768 if own.any() else 0.0
        known = max(self._speech_level[channel] * FORGET, loud)
        self._speech_level[channel] = known
        return float(np.clip(SPEECH_RMS / known, 1.0, MAX_RAISE)) if known else 1.0


class SeparateVoices:
    """Finds out in a recording's first ten minutes whether its channels, or some of them, hold a speaker each."""

    def __init__(self, n_channels: int) -> None:
        self._comparer = _Comparer(n_channels)
        self._n_own = np.zeros(n_channels, int)
        self._n_samples = 0

    @property
    def has_to_hear(self) -> bool:
        """Whether more blocks may change what was found out."""
        return len(self._n_own) > 1 and self._n_samples < MAX_HEARD_SECONDS * SAMPLE_RATE

    def hear(self, block: Channels) -> None:
        """Take in the next block, of shape (n_samples, n_channels)."""
        self._n_samples += len(block)
        padded = _padded(block)
        found = self._comparer.compare(padded)
        for channel, samples in enumerate(padded.T):
            _levels, speech = levels_and_speech(to_floats(samples))
            is_own = (found.explained[channel] < INDEPENDENT_SHARE) | found.is_loudest[channel]
            own = (speech > SPEECH_PROBABILITY) & is_own & ~found.is_copy[channel]
            self._n_own[channel] += long_runs(own).sum()

    @property
    def were_heard(self) -> bool:
        """Whether two channels or more have had a voice each that the others had not."""
        least = max(
            MIN_SEPARATE_SECONDS * SAMPLE_RATE / FRAME_SAMPLES,
            MIN_SEPARATE_SHARE * self._n_own.sum(),
        )
        return bool((self._n_own >= least).sum() > 1)


# ---- How channels resemble each other


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Of each channel in each frame; shapes (n_channels, n_frames)."""

    explained: Floats
    """The greatest share of its power that another channel explains."""
    is_copy: Flags
    """Whether a louder channel explains it."""
    is_loudest: Flags
    """Whether it is louder than all others by OWN_LEVEL."""


class _Comparer:
    """Compares the channels of one block after the other; each in the light of the end of the one before."""

    def __init__(self, n_channels: int) -> None:
        self._before = np.zeros((CONTEXT_FRAMES * FRAME_SAMPLES, n_channels), np.int16)

    def compare(self, block: Channels) -> _Comparison:
        """The comparison of a block whose length is a whole number of frames, of 32 ms."""
        joined = np.concatenate([self._before, block])
        self._before = joined[-len(self._before) :]
        found = _compare(joined)
        is_copy = np.stack([_without_gaps(flags) for flags in found.is_copy])
        return _Comparison(
            found.explained[:, CONTEXT_FRAMES:],
            is_copy[:, CONTEXT_FRAMES:],
            found.is_loudest[:, CONTEXT_FRAMES:],
        )


def _compare(block: Channels) -> _Comparison:
    spectra = [_spectra(channel) for channel in block.T]
    whole = [_whitened(channel) for channel in block.T]
    powers = [_average(np.abs(own) ** 2) for own in spectra]
    totals = np.stack([power.sum(axis=1) for power in powers])
    preferred = totals * PREFERENCE ** -np.arange(len(totals), dtype=float)[:, None]
    loudest = np.argsort(-totals.sum(axis=1), kind="stable")
    explained, is_copy = np.zeros(totals.shape), np.zeros(totals.shape, bool)
    is_loudest = np.ones(totals.shape, bool)
    for channel, own in enumerate(spectra):
        for other in [index for index in loudest if index != channel][:MAX_COMPARED]:
            share = np.zeros(len(own))
            for lag in {0, 1, _lag(whole[channel], whole[other])}:
                cross = np.abs(_average(own * _later(spectra[other], lag).conj())) ** 2
                power = (cross / (_later(powers[other], lag) + 1e-3)).sum(axis=1)
                share = np.maximum(share, power / (totals[channel] + 1e-3))
            is_softer = preferred[channel] < preferred[other]
            is_copy[channel] |= is_softer & (share > COPY_SHARE)
            is_loudest[channel] &= totals[channel] > totals[other] * OWN_LEVEL**2
            explained[channel] = np.maximum(explained[channel], share)
    return _Comparison(explained, is_copy, is_loudest)


def _without_gaps(is_copy: Flags) -> Flags:
    """The flags with gaps filled that are too short for a voice, unless they go on after the end."""
    going_on = np.zeros(MIN_OWN_FRAMES, bool)
    return ~long_runs(~np.concatenate([is_copy, going_on]))[: len(is_copy)]


def _padded(block: Channels) -> Channels:
    return np.pad(block, ((0, -len(block) % FRAME_SAMPLES), (0, 0)))


def _spectra(channel: npt.NDArray[np.int16]) -> Spectra:
    """Short-time spectra of the band in which voices differ most; each frame's window is centred on it.

    Every second bin: neighbours share a window's main lobe.
    """
    margin = (WINDOW_SAMPLES - FRAME_SAMPLES) // 2
    padded = np.pad(channel.astype(np.float32), (margin, margin))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::FRAME_SAMPLES]
    first, end = (hertz * WINDOW_SAMPLES // SAMPLE_RATE for hertz in (MIN_HZ, MAX_HZ))
    spectra = np.fft.rfft(windows * np.hanning(WINDOW_SAMPLES).astype(np.float32), axis=1)
    return spectra[:, first:end:2].astype(np.complex64)


def _whitened(channel: npt.NDArray[np.int16]) -> npt.NDArray[np.complex64]:
    """The spectrum of the whole channel, each frequency counting alike; shape (n_bins,)."""
    spectrum = np.fft.rfft(channel.astype(np.float32), 2 * len(channel))
    return (spectrum / (np.abs(spectrum) + 1.0)).astype(np.complex64)


def _lag(channel: npt.NDArray[np.complex64], other: npt.NDArray[np.complex64]) -> int:
    """How many frames later `channel` has what `other` has, from 0 to MAX_LAG_FRAMES.

    By generalized cross-correlation with phase transform (Knapp and Carter 1976).
    """
    correlation = np.abs(np.fft.irfft(channel * other.conj()))
    n_lags = MAX_LAG_FRAMES * FRAME_SAMPLES
    return round(int(correlation[: n_lags + 1].argmax()) / FRAME_SAMPLES)


def _later(values: npt.NDArray[np.inexact], n_frames: int) -> npt.NDArray[np.inexact]:
    """The values of so many frames before; 0 at the beginning."""
    return np.pad(values, ((n_frames, 0), (0, 0)))[: len(values)] if n_frames else values


def _average(values: npt.NDArray[np.inexact]) -> npt.NDArray[np.inexact]:
    """The sum over the frames around each one."""
    half = AVERAGED_FRAMES // 2
    padded = np.pad(values, ((half + 1, half), (0, 0)))
    sums = np.cumsum(padded, axis=0, dtype=np.result_type(values, np.float64))
    averaged: npt.NDArray[np.inexact] = sums[AVERAGED_FRAMES:] - sums[:-AVERAGED_FRAMES]
    return averaged
