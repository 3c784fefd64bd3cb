"""What every speech engine offers, and the values that cross its boundary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # the web process knows these values and needs no NumPy for them
    import numpy as np
    import numpy.typing as npt

SAMPLE_RATE = 16_000

Audio: TypeAlias = "npt.NDArray[np.float32]"
"""Mono audio at 16 kHz: shape (n_samples,), float32 in [-1, 1]."""

OnProgress = Callable[[float], None]


class SpeechError(Exception):
    """Inference cannot go on. `can_retry` says whether the same work may succeed later."""

    def __init__(self, message: str, *, can_retry: bool = False) -> None:
        super().__init__(message)
        self.can_retry = can_retry


class ModelUnavailableError(SpeechError):
    """A model's weights are not on this machine and cannot be fetched."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of audio in seconds, from `start` to `end`."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Word:
    """A word as Whisper writes it (a leading space where one belongs), times in seconds."""

    start: float
    end: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class TranscribedSegment:
    """A phrase or sentence, with the decoder's own measures of how sure it was.

    `avg_logprob` is the mean log probability of the tokens of the window that the segment comes
    from, `no_speech_prob` that window's probability of holding no speech, and `compression_ratio`
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
    """How an engine is to be loaded and run."""

    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    compute_type: str = "default"
    """CTranslate2's name of a number format (`int8`, `float16` …); `default` is the fastest sound one."""
    threads: int = 0
    """How many callers may transcribe at once; 0 means one for each core (one on a GPU)."""
    beam_size: int = 5


class SpeechEngine(Protocol):
    """A loaded model. Its methods may be called from `threads` threads at once."""

    model_name: str
    device: str
    threads: int

    def detect_language(self, audio: Audio) -> str:
        """The ISO 639-1 code of the language spoken in `audio` (at most 30 s are looked at)."""
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
        """Transcribe each stream of `audio`: a stretch between two silences, most of it speech.

        Times are seconds from the start of `audio`; segments come in order of time. `on_progress` is
        told the share that is done (0 to 1), and may raise to end the work. Raises SpeechError.
        """
        ...
