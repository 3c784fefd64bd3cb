"""Channels and tracks become one signal in which every voice is heard that one of them holds."""

import re
from collections.abc import Callable
from pathlib import Path

import av
import jiwer
import numpy as np
import numpy.typing as npt
import pytest

from tests.transcription.speech.test_faster_whisper import load, transcribed
from transcription.speech import audio
from transcription.speech.engines.base import SAMPLE_RATE, Audio, SpeechEngine
from transcription.speech.mixing import Mixer

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


@pytest.fixture(scope="module")
def voices(audio_dir: Path) -> tuple[Signal, Signal]:
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


def mixed(*channels: Signal, block_seconds: float = 10.0) -> Audio:
    samples, n_block = pcm(*channels), round(block_seconds * SAMPLE_RATE)
    mixer = Mixer(len(channels))
    blocks = [mixer.mix(samples[i : i + n_block]) for i in range(0, len(samples), n_block)]
    return audio.to_float(np.concatenate(blocks))


def rms(signal: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt((np.asarray(signal, np.float64) ** 2).mean()))


# ---- Levels


def test_one_channel_is_left_as_it_is(voices: tuple[Signal, Signal]) -> None:
    samples = pcm(voices[0])
    assert np.array_equal(Mixer(1).mix(samples), samples[:, 0])


def test_a_scene_on_two_channels_is_their_mean(voices: tuple[Signal, Signal]) -> None:
    both = voices[0] + voices[1]
    left, right = both * 1.0, both * 0.6
    assert np.allclose(mixed(left, right), (left + right) / 2, atol=2 / 32768)


@pytest.mark.parametrize("right", [-1.0, -0.8])
def test_opposite_phases_do_not_cancel(voices: tuple[Signal, Signal], right: float) -> None:
    both = np.asarray(sum(voices))
    assert rms(mixed(both, right * both)) > 0.8 * rms(both)


@pytest.mark.parametrize("softer", [-20.0, -30.0, -40.0])
def test_a_softer_voice_is_raised(voices: tuple[Signal, Signal], softer: float) -> None:
    loud, soft = voices
    n = len(loud)
    result = mixed(
        loud + noise(n, level=-75, seed=1), soft * decibels(softer) + noise(n, level=-90, seed=2)
    )
    own = [np.abs(voice) > 0.01 for voice in voices]
    of_loud, of_soft = (rms(result[heard]) for heard in own)
    assert 0.5 < of_soft / of_loud < 2


def test_noise_is_not_raised(voices: tuple[Signal, Signal]) -> None:
    voice = voices[0]
    silent = np.abs(voice) < 1e-6
    result = mixed(voice, noise(len(voice), level=-50, seed=3))
    assert rms(result[silent]) < 1.5 * decibels(-50)


def test_a_softer_copy_of_what_is_on_the_other_channel_is_not_raised(
    voices: tuple[Signal, Signal],
) -> None:
    both = voices[0] + voices[1]
    silent = np.abs(both) < 1e-6
    result = mixed(both, decibels(-30) * both + noise(len(both), level=-60, seed=4))
    assert rms(result[silent]) < 1.5 * decibels(-60)


def test_nothing_jumps_where_blocks_meet(voices: tuple[Signal, Signal]) -> None:
    n = len(voices[0])
    tone = 0.1 * np.sin(np.arange(n) / 20)
    result = mixed(tone, -0.5 * tone, block_seconds=1.0)
    assert np.abs(np.diff(result)).max() < 1.2 * np.abs(np.diff(tone)).max()


def test_digital_silence_and_full_scale_are_mixed_too() -> None:
    silence, loud = np.zeros(SAMPLE_RATE), np.ones(SAMPLE_RATE)
    assert not mixed(silence, silence).any()
    assert np.isfinite(mixed(loud, -loud, silence)).all()


# ---- Tracks


def write_tracks(path: Path, *tracks: Signal, languages: tuple[str, ...] = ()) -> Path:
    with av.open(str(path), "w") as container:
        streams = []
        for number in range(len(tracks)):
            stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
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


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_silent_first_track_hides_nothing(
    voices: tuple[Signal, Signal], tmp_path: Path, suffix: str
) -> None:
    voice = voices[0][: 20 * SAMPLE_RATE]
    path = write_tracks(tmp_path / f"screen.{suffix}", 0 * voice, voice)
    assert rms(audio.read_all(path)) > 0.7 * rms(voice)


def test_a_first_track_without_a_packet_hides_nothing(
    voices: tuple[Signal, Signal], tmp_path: Path
) -> None:
    voice = voices[0][: 20 * SAMPLE_RATE]
    path = write_tracks(tmp_path / "screen.mkv", voice[:0], voice)
    assert audio.probe(path).codec == "aac"
    assert rms(audio.read_all(path)) > 0.7 * rms(voice)


def test_both_of_two_tracks_are_heard(voices: tuple[Signal, Signal], tmp_path: Path) -> None:
    first, second = (voice[: 20 * SAMPLE_RATE] for voice in voices)
    result = audio.read_all(write_tracks(tmp_path / "call.mp4", first, second))
    for voice in (first, second):
        heard = np.flatnonzero(np.abs(voice) > 0.01)
        assert rms(result[heard]) > 0.6 * rms(voice[heard])


def test_of_several_languages_only_the_first_is_heard(
    voices: tuple[Signal, Signal], tmp_path: Path
) -> None:
    first, second = (voice[: 20 * SAMPLE_RATE] for voice in voices)
    path = write_tracks(tmp_path / "film.mkv", first, second, languages=("eng", "deu"))
    alone = write_tracks(tmp_path / "alone.mkv", first)
    assert np.array_equal(audio.read_all(path), audio.read_all(alone))


def test_a_short_track_ends_before_the_others(
    voices: tuple[Signal, Signal], tmp_path: Path
) -> None:
    voice = voices[0][: 20 * SAMPLE_RATE]
    path = write_tracks(tmp_path / "short.mp4", voice[: 5 * SAMPLE_RATE], voice)
    assert len(audio.read_all(path)) == pytest.approx(20 * SAMPLE_RATE, abs=2048)


# ---- Words


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SpeechEngine:
    return load("tiny.en", tmp_path_factory.mktemp("models"))


def words(engine: SpeechEngine, samples: npt.NDArray[np.floating]) -> list[str]:
    found = transcribed(engine, samples.astype(np.float32))
    return re.findall(r"[a-z']+", " ".join(segment.text for segment in found).lower())


def late(signal: Signal) -> Signal:
    return np.roll(signal, 3)


def room(signal: Signal, *, seed: int) -> Signal:
    """The signal with 0.4 s of reverberation."""
    n = round(0.4 * SAMPLE_RATE)
    response = np.random.default_rng(seed).standard_normal(n) * 0.06
    response *= 10 ** (-3 * np.arange(n) / n)
    response[0] = 1.0
    size = 1 << (len(signal) + n).bit_length()
    spectrum = np.fft.rfft(signal, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(signal)]


SCENES: dict[str, Callable[[Signal, Signal], tuple[Signal, Signal]]] = {
    "each on a channel": lambda a, b: (a, b),
    "one 30 dB softer": lambda a, b: (a, b * decibels(-30)),
    "one 40 dB softer, with crosstalk": lambda a, b: (a, b * decibels(-40) + a * decibels(-55)),
    "opposite phases": lambda a, b: (a + b, -(a + b)),
    "nearly opposite phases": lambda a, b: (a + b, -0.8 * late(a + b)),
    "a softer copy in noise": lambda a, b: (
        a + b,
        decibels(-30) * (a + b) + noise(len(a), level=-60, seed=5),
    ),
    "hum on one channel": lambda a, b: (a + b, 0.05 * np.sin(np.arange(len(a)) / 51)),
}


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_no_voice_is_lost(voices: tuple[Signal, Signal], engine: SpeechEngine, scene: str) -> None:
    n = len(voices[0])
    left, right = SCENES[scene](*voices)
    result = mixed(left + noise(n, level=-75, seed=1), right + noise(n, level=-90, seed=2))
    spoken = words(engine, np.asarray(sum(voices)))
    compared = jiwer.process_words(" ".join(spoken), " ".join(words(engine, result)))
    assert compared.deletions <= 0.02 * len(spoken)
    assert compared.substitutions <= 0.08 * len(spoken)


@pytest.mark.slow
def test_a_room_with_two_microphones_is_heard_as_well_as_by_the_mean(
    voices: tuple[Signal, Signal], engine: SpeechEngine
) -> None:
    a, b = voices
    left = room(a, seed=1) + decibels(-12) * room(b, seed=2)
    right = decibels(-12) * room(a, seed=3) + room(b, seed=4)
    spoken = " ".join(words(engine, a + b))
    errors = [
        jiwer.process_words(spoken, " ".join(words(engine, samples)))
        for samples in (mixed(left, right), (left + right) / 2)
    ]
    ours, mean = (one.deletions + one.substitutions + one.insertions for one in errors)
    assert ours <= mean + 0.03 * len(spoken.split())
