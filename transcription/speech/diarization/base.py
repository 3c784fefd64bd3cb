"""The interface of a diarizer, and its data types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from transcription.speech.engines.base import SAMPLE_RATE, Audio, OnProgress, Span

BLOCK_SECONDS = 60.0


class Samples(Protocol):
    """The samples of a recording, read on demand, so that four hours need not be in memory."""

    @property
    def duration(self) -> float:
        """The length of the recording in seconds."""
        ...

    def read(self, span: Span) -> Audio:
        """Read the samples of `span`; fewer at the end of the recording."""
        ...


def read_all(samples: Samples) -> Audio:
    """Read a whole recording into one array, for pipelines that require it: a gigabyte for four hours."""
    import numpy as np

    audio = np.zeros(round(samples.duration * SAMPLE_RATE), np.float32)
    start = 0.0
    while start < samples.duration:
        first = round(start * SAMPLE_RATE)
        block = samples.read(Span(start, min(start + BLOCK_SECONDS, samples.duration)))
        audio[first : first + len(block)] = block[: len(audio) - first]
        start += BLOCK_SECONDS
    return audio


@dataclass(frozen=True, slots=True)
class Turn:
    """A speaker turn: a span in which one person speaks, times in seconds.

    `voice` is the probability, by the speaker embedding, that the turn is its speaker's and not another's: 0.5 if it
    is equally close to another speaker, 1 if it is far from all others. None with a single speaker, or if the
    pipeline has no embeddings.
    """

    start: float
    end: float
    speaker: str
    voice: float | None = None


@dataclass(frozen=True, slots=True)
class SpeakerCount:
    """The number of speakers, as far as it is known."""

    exactly: int | None = None
    at_least: int | None = None
    at_most: int | None = None


AUTOMATIC = SpeakerCount()
"""The diarizer estimates the number of speakers."""


@dataclass(frozen=True, slots=True)
class Diarization:
    """The result of diarization. Speakers are `SPEAKER_1`, `SPEAKER_2` … in order of appearance."""

    turns: tuple[Turn, ...]
    """Ordered by start; turns of different speakers may overlap."""
    exclusive: tuple[Turn, ...]
    """The same without overlap: only the most prominent speaker at a time. Words are attributed by these."""
    centroids: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """For each speaker, the mean of their embeddings."""


class Diarizer(Protocol):
    """A loaded pipeline. Not thread-safe."""

    name: str
    model: str
    device: str

    def diarize(
        self,
        samples: Samples,
        *,
        count: SpeakerCount = AUTOMATIC,
        on_progress: OnProgress | None = None,
    ) -> Diarization:
        """Find who speaks when. Raises SpeechError."""
        ...
