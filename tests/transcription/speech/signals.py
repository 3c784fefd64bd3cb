"""Two people's voices, as signals from which scenes on several channels are made."""

import re
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from tests.transcription.speech.test_faster_whisper import transcribed
from transcription.speech import audio
from transcription.speech.engines.base import SAMPLE_RATE, SpeechEngine

Signal = npt.NDArray[np.float64]
SPEAKERS = ("3331", "533")
"""The thresholds were chosen with the voices of 2609, 3005, 3080 and 367."""
VOICE_RMS = 0.06
TURNS = 3


def decibels(value: float) -> float:
    return float(10 ** (value / 20))


def noise(n_samples: int, *, level: float, seed: int) -> Signal:
    """White noise; `level` in dB, full scale being 0."""
    return np.random.default_rng(seed).standard_normal(n_samples) * decibels(level)


def two_voices(audio_dir: Path) -> tuple[Signal, Signal]:
    """Two people who take turns, each alone on a channel."""
    turns: list[list[Signal]] = [[], []]
    for turn in range(TURNS):
        for speaker, name in enumerate(SPEAKERS):
            path = sorted((audio_dir / "speakers").glob(f"{name}-*.flac"))[turn]
            utterance = audio.read_all(path).astype(np.float64)
            utterance *= VOICE_RMS / np.sqrt((utterance**2).mean())
            silence = np.zeros(len(utterance))
            pause = np.zeros(SAMPLE_RATE // 2)
            turns[speaker] += [utterance, pause]
            turns[1 - speaker] += [silence, pause]
    first, second = (np.concatenate(parts) for parts in turns)
    return first, second


def pcm(*channels: Signal) -> npt.NDArray[np.int16]:
    samples = np.stack(channels, axis=1) * 32767
    return samples.round().clip(-32768, 32767).astype(np.int16)


def rms(signal: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt((np.asarray(signal, np.float64) ** 2).mean()))


def room(signal: Signal, *, seed: int) -> Signal:
    """The signal with 0.4 s of reverberation."""
    n = round(0.4 * SAMPLE_RATE)
    response = np.random.default_rng(seed).standard_normal(n) * 0.06
    response *= 10 ** (-3 * np.arange(n) / n)
    response[0] = 1.0
    size = 1 << (len(signal) + n).bit_length()
    spectrum = np.fft.rfft(signal, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(signal)]


def words(engine: SpeechEngine, samples: npt.NDArray[np.floating]) -> list[str]:
    found = transcribed(engine, samples.astype(np.float32))
    return re.findall(r"[a-z']+", " ".join(segment.text for segment in found).lower())


def write_tracks(
    path: Path, *tracks: Signal, languages: tuple[str, ...] = (), layout: str = "mono"
) -> Path:
    with av.open(str(path), "w") as container:
        streams = []
        for number in range(len(tracks)):
            stream = container.add_stream("aac", rate=SAMPLE_RATE, layout=layout)
            if languages:
                stream.metadata["language"] = languages[number]
            streams.append(stream)
        for stream, track in zip(streams, tracks, strict=True):
            if not len(track):
                continue
            frame = av.AudioFrame.from_ndarray(pcm(track).T.copy(), format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path
