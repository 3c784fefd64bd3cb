"""Decoded frames as 16-bit samples at 16 kHz, whose channels stay apart or are mixed by what each is for."""

from typing import TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from transcription.speech.engines.base import SAMPLE_RATE

Channels: TypeAlias = "npt.NDArray[np.int16]"
"""Samples at 16 kHz as 16-bit integers: shape (n_samples, n_channels)."""

MAX_MIXED_CHANNELS = 8
"""The most of a layout that FFmpeg mixes by what each channel is for (centre, rear)."""


def is_surround(n_channels: int) -> bool:
    return 2 < n_channels <= MAX_MIXED_CHANNELS


class Resampler:
    """Makes 16-bit samples at 16 kHz of frames that have one sample rate, one layout and one sample format.

    The channels stay apart, unless surround sound is to be mixed, as FFmpeg does by what each channel is for.
    """

    def __init__(
        self, first: AudioFrame, *, is_surround_mixed: bool, n_channels: int | None = None
    ) -> None:
        """`n_channels`: as many as the frames before had, if there were any."""
        n_own = first.layout.nb_channels
        has_places = not first.layout.name.endswith(" channels")
        is_mixed = (is_surround_mixed and is_surround(n_own) and has_places) or n_channels not in (
            None,
            n_own,
        )
        self._format = _format(first)
        self._n_resampled = 1 if is_mixed else n_own
        self.n_channels = n_channels or self._n_resampled
        self._resampler = new_resampler(layout="mono" if is_mixed else None)

    def takes(self, frame: AudioFrame) -> bool:
        return _format(frame) == self._format

    def resample(self, frame: AudioFrame | None) -> list[Channels]:
        """The frame's samples, as far as they are complete; None gives the rest. Nothing if they make no sense."""
        try:
            resampled = self._resampler.resample(frame)
        except av.error.FFmpegError:
            return []
        return [self._channels(one) for one in resampled]

    def end(self) -> list[Channels]:
        return self.resample(None)

    def _channels(self, frame: AudioFrame) -> Channels:
        samples = frame.to_ndarray().reshape(-1, self._n_resampled).astype(np.int16, copy=False)
        if self._n_resampled == self.n_channels:
            return samples
        return np.repeat(samples[:, :1], self.n_channels, axis=1)


def _format(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def new_resampler(*, layout: str | None) -> AudioResampler:
    """A resampler to 16-bit samples at 16 kHz. Without a `layout` the channels stay as they are, interleaved."""
    return AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
