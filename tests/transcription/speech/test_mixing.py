"""Channels and tracks become one signal in which every voice is heard that one of them holds."""

from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import pytest

from tests.transcription.speech.signals import (
    Signal,
    decibels,
    noise,
    pcm,
    rms,
    room,
    two_voices,
    words,
    write_tracks,
)
from tests.transcription.speech.test_faster_whisper import load
from transcription.speech import audio
from transcription.speech.engines.base import SAMPLE_RATE, Audio, SpeechEngine
from transcription.speech.mixing import Mixer


def mixed(*channels: Signal, block_seconds: float = 10.0) -> Audio:
    samples, n_block = pcm(*channels), round(block_seconds * SAMPLE_RATE)
    mixer = Mixer(len(channels))
    blocks = [mixer.mix(samples[i : i + n_block]) for i in range(0, len(samples), n_block)]
    return audio.to_float(np.concatenate(blocks))


@pytest.fixture(scope="module")
def voices(audio_dir: Path) -> tuple[Signal, Signal]:
    return two_voices(audio_dir)


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


def late(signal: Signal) -> Signal:
    return np.roll(signal, 3)


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
