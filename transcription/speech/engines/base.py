"""The interface of a speech engine, and its data types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # the web process imports this module, and must not import NumPy for it
    import numpy as np
    import numpy.typing as npt

SAMPLE_RATE = 16_000

LOGPROB_THRESHOLD = -1.0
COMPRESSION_RATIO_THRESHOLD = 2.4
"""A window with a lower avg_logprob, or a higher compression_ratio, is decoded again at a higher temperature.

The values of Radford et al. 2022, section 4.5.
"""

Audio: TypeAlias = "npt.NDArray[np.float32]"
"""Mono audio at 16 kHz: shape (n_samples,), float32 in [-1, 1]."""

OnProgress = Callable[[float], None]
"""A progress callback: the share done, 0 to 1. It may raise to cancel the work."""


class SpeechError(Exception):
    """Inference failed. `can_retry`: whether the same work may succeed later."""

    def __init__(self, message: str, *, can_retry: bool = False) -> None:
        super().__init__(message)
        self.can_retry = can_retry


class ModelUnavailableError(SpeechError):
    """A model's weights are not on this machine and cannot be downloaded."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of audio, in seconds."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Word:
    """A word as Whisper writes it, with a leading space if it needs one. Times are seconds."""

    start: float
    end: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class TranscribedSegment:
    """A phrase or sentence, with the decoder's confidence measures.

    `avg_logprob` is the mean log probability of the tokens of the segment's window,
    `no_speech_prob` the probability that the window contains no speech, and `compression_ratio`
    the length of the window's text over its zlib-compressed length (Radford et al. 2022, section 4.5).
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of an engine."""

    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    compute_type: str = "default"
    """CTranslate2's name of a number format (`int8`, `float16` …); `default`: the engine's fastest reliable one."""
    threads: int = 0
    """The number of concurrent callers; 0: one per core, one on a GPU."""
    beam_size: int = 5


class SpeechEngine(Protocol):
    """A loaded model. Up to `threads` threads may call its methods concurrently."""

    model_name: str
    device: str
    threads: int

    def detect_language(self, audio: Audio) -> str:
        """Detect the language of the first 30 s of `audio`. Returns an ISO 639-1 code."""
        ...

    def transcribe(
        self,
        audio: Audio,
        streams: Sequence[Span],
        *,
        language: str,
        word_times: bool = True,
        on_progress: OnProgress | None = None,
    ) -> list[TranscribedSegment]:
        """Transcribe the streams of `audio`: stretches of mostly speech between silences.

        Times are seconds from the start of `audio`. Returns segments ordered by start. Raises SpeechError.
        """
        ...


def resolve_device(device: str, *, has_gpu: bool, library: str) -> str:
    """Resolve `auto`, `cpu` or `cuda` to `cpu` or `cuda`. Raises SpeechError if a GPU is required but missing."""
    if device == "cuda" and not has_gpu:
        raise SpeechError(f"TRANSCRIBER_DEVICE is cuda, but {library} finds no CUDA GPU.")
    return "cuda" if device != "cpu" and has_gpu else "cpu"
