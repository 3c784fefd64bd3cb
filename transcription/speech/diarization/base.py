"""What every diarizer offers, and the values that cross its boundary."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from transcription.speech.engines.base import SAMPLE_RATE, Audio, OnProgress, Span

PIECE_SECONDS = 60.0


class Samples(Protocol):
    """A recording that is read as it is needed, so that nobody holds four hours of them."""

    @property
    def duration(self) -> float:
        """Seconds."""
        ...

    def read(self, span: Span) -> Audio:
        """The samples from `span.start` to `span.end`, as far as there are any."""
        ...


def whole(samples: Samples) -> Audio:
    """All of a recording in one array, for pipelines that want it so: a gigabyte for four hours."""
    import numpy as np

    audio = np.zeros(round(samples.duration * SAMPLE_RATE), np.float32)
    start = 0.0
    while start < samples.duration:
        begin = round(start * SAMPLE_RATE)
        piece = samples.read(Span(start, min(start + PIECE_SECONDS, samples.duration)))
        audio[begin : begin + len(piece)] = piece[: len(audio) - begin]
        start += PIECE_SECONDS
    return audio


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch in which one person speaks, times in seconds.

    `voice` is how probable it is, by the sound of the voice, that the turn is its speaker's and not another's: 0.5
    where it is as near to both, 1 where it is far from every other. None where there is nothing to compare: one
    speaker, or a pipeline that does not tell.
    """

    start: float
    end: float
    speaker: str
    voice: float | None = None


@dataclass(frozen=True, slots=True)
class SpeakerCount:
    """How many people speak, as far as somebody knows: exactly, at least, at most."""

    exactly: int | None = None
    at_least: int | None = None
    at_most: int | None = None


AUTOMATIC = SpeakerCount()
"""The diarizer finds out how many there are."""


@dataclass(frozen=True, slots=True)
class Diarization:
    """Who speaks when. Speakers are `SPEAKER_1`, `SPEAKER_2` … in order of appearance."""

    turns: tuple[Turn, ...]
    """In order of time; those of several speakers may overlap."""
    exclusive: tuple[Turn, ...]
    """The same with one speaker at a time, whoever is heard best: what words are attributed by."""
    centroids: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """For each speaker the mean of the embeddings of their voice."""


class Diarizer(Protocol):
    """A loaded pipeline. One call at a time."""

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
        """Find who speaks when.

        `on_progress` is told the share that is done (0 to 1), and may raise to end the work.
        Raises SpeechError.
        """
        ...
