"""Conversations of which it is known who speaks when, and how far a diarization is from that."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from transcription.speech import audio
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span

AUDIO = Path(__file__).parent / "audio"
SPEAKERS = AUDIO / "speakers"
CLIPS = AUDIO / "conversation"
TURN_SECONDS = (2.0, 15.0)
GAP_SECONDS = (0.2, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class InMemory:
    """Samples that are all here."""

    audio: Audio

    @property
    def duration(self) -> float:
        return len(self.audio) / SAMPLE_RATE

    def read(self, span: Span) -> Audio:
        return self.audio[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)]


@dataclass(frozen=True, slots=True, eq=False)
class Repeated:
    """Samples over and over, for `duration` seconds; what is held is one time of them."""

    audio: Audio
    duration: float

    def read(self, span: Span) -> Audio:
        end = min(span.end, self.duration)
        places = np.arange(round(span.start * SAMPLE_RATE), round(end * SAMPLE_RATE))
        return self.audio[places % len(self.audio)]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A recording of a real conversation, and who speaks when in it."""

    name: str
    samples: InMemory
    reference: Annotation


def recordings() -> dict[str, list[Audio]]:
    """What each speaker of `tests/audio/speakers` reads; the files' names begin with the speaker's."""
    found: dict[str, list[Audio]] = {}
    for path in sorted(SPEAKERS.glob("*.flac")):
        found.setdefault(path.name.partition("-")[0], []).append(audio.read_all(path))
    return found


def conversation(n_speakers: int, seed: int, seconds: float = 300) -> tuple[Audio, Annotation]:
    """Speakers in turn, with silence between: the samples, and who speaks when.

    The same numbers make the same conversation. It ends with the first turn and silence that reach `seconds`.
    """
    rng = random.Random(seed * 100 + n_speakers)
    of_speaker = recordings()
    chosen = rng.sample(sorted(of_speaker), n_speakers)
    voices = {
        name: np.concatenate(rng.sample(of_speaker[name], len(of_speaker[name]))) for name in chosen
    }
    places = dict.fromkeys(chosen, 0)
    pieces: list[Audio] = []
    reference = Annotation()
    now, last = 0.0, None
    while now < seconds:
        last = name = rng.choice([other for other in chosen if other != last])
        voice, n_samples = voices[name], int(rng.uniform(*TURN_SECONDS) * SAMPLE_RATE)
        if places[name] + n_samples > len(voice):
            places[name] = 0
        piece = voice[places[name] : places[name] + n_samples]
        places[name] += len(piece)
        silence = np.zeros(int(rng.uniform(*GAP_SECONDS) * SAMPLE_RATE), np.float32)
        reference[Segment(now, now + len(piece) / SAMPLE_RATE)] = name
        pieces += [piece, silence]
        now += (len(piece) + len(silence)) / SAMPLE_RATE
    return np.concatenate(pieces), reference


def clips() -> list[Clip]:
    """The ten clips of `tests/audio/conversation`, half a minute each."""
    references = read_rttm(CLIPS / "reference.rttm") | read_rttm(CLIPS / "sample.rttm")
    return [
        Clip(path.stem, InMemory(audio.read_all(path)), references[path.stem])
        for path in sorted(CLIPS.glob("*.flac"))
    ]


def clip(name: str) -> Clip:
    return next(clip for clip in clips() if clip.name == name)


def read_rttm(path: Path) -> dict[str, Annotation]:
    """Who speaks when in each recording that an RTTM file (NIST's Rich Transcription Time Marked) tells of."""
    found: dict[str, Annotation] = {}
    for line in path.read_text().splitlines():
        kind, name, _channel, start, duration, *_, speaker, _score, _lookahead = line.split()
        if kind == "SPEAKER":
            turns = found.setdefault(name, Annotation(uri=name))
            begin = float(start)
            turns[Segment(begin, begin + float(duration)), len(turns)] = speaker
    return found


def annotation(turns: Iterable[Turn]) -> Annotation:
    found = Annotation()
    for number, turn in enumerate(turns):
        found[Segment(turn.start, turn.end), number] = turn.speaker
    return found


def confusion(reference: Annotation, turns: Iterable[Turn]) -> float:
    """The share of the reference's speech that has the wrong speaker, names being mapped as well as they can be."""
    found = annotation(turns)
    whole = reference.get_timeline().union(found.get_timeline()).extent()
    parts = DiarizationErrorRate()(reference, found, uem=Timeline([whole]), detailed=True)
    return float(parts["confusion"] / parts["total"])


def der(
    diarized: Iterable[tuple[Clip, Sequence[Turn]]],
    *,
    collar: float = 0.0,
    skip_overlap: bool = False,
) -> float:
    """The diarization error rate over all clips together.

    `collar` seconds on each side of a reference turn's edges do not count; nor, if that is said, do two voices at once.
    """
    metric = DiarizationErrorRate(collar=2 * collar, skip_overlap=skip_overlap)  # of both sides
    for clip, turns in diarized:
        whole = Timeline([Segment(0.0, clip.samples.duration)])
        metric(clip.reference, annotation(turns), uem=whole)
    return float(abs(metric))
