"""Channels that hold a speaker each: recognized as such, and what each speaker says, by itself and once."""

from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import numpy.typing as npt
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
from transcription.speech.channels import SeparateVoices, Separator, TrackMixer
from transcription.speech.engines.base import SAMPLE_RATE, Audio, SpeechEngine

BLOCK_SAMPLES = 10 * SAMPLE_RATE
CROSSTALK_DB = (-12, -20, -30)
HEARD = 0.01
"""A sample of a voice that is larger is heard, full scale being 1."""


@pytest.fixture(scope="module")
def voices(audio_dir: Path) -> tuple[Signal, Signal]:
    """They take turns; the thresholds were chosen with the voices of others."""
    return two_voices(audio_dir)


@pytest.fixture(scope="module")
def at_once(voices: tuple[Signal, Signal]) -> tuple[Signal, Signal]:
    """They speak at once for some time."""
    first, second = voices
    return first, np.roll(second, -3 * SAMPLE_RATE)


def separated(*channels: Signal) -> list[Audio]:
    samples, separator = pcm(*channels), Separator(len(channels))
    blocks = [
        separator.separate(samples[begin : begin + BLOCK_SAMPLES])
        for begin in range(0, len(samples), BLOCK_SAMPLES)
    ]
    return [audio.to_float(channel) for channel in np.concatenate(blocks).T]


def heard_separately(*channels: Signal) -> bool:
    samples, voices = pcm(*channels), SeparateVoices(len(channels))
    for begin in range(0, len(samples), BLOCK_SAMPLES):
        voices.hear(samples[begin : begin + BLOCK_SAMPLES])
    return voices.were_heard


def loudness_where(
    heard: Signal, silent: Signal, result: npt.NDArray[np.floating]
) -> tuple[float, float]:
    """Of the result, where one voice is heard, and where only the other one is."""
    is_heard = np.abs(heard) > HEARD
    half = SAMPLE_RATE // 2
    n_before = np.cumsum(np.pad(is_heard, (half, half)))
    near = n_before[2 * half :] > n_before[: -2 * half]
    return rms(result[is_heard]), rms(result[(np.abs(silent) > HEARD) & ~near])


# ---- What each speaker says


def test_voices_without_crosstalk_stay_as_they_are(at_once: tuple[Signal, Signal]) -> None:
    for voice, result in zip(at_once, separated(*at_once), strict=True):
        heard = np.abs(voice) > HEARD
        softer = np.abs(result[heard]) < 0.95 * np.abs(voice[heard])
        assert softer.mean() < 0.001


@pytest.mark.parametrize("level", CROSSTALK_DB)
@pytest.mark.parametrize("delay", [0, 80, 3000])
def test_a_voice_that_comes_over_to_another_channel_is_silenced(
    voices: tuple[Signal, Signal], level: int, delay: int
) -> None:
    """At once, after 5 ms of air, or after the 190 ms of an echo on the line."""
    n = len(voices[0])
    first, second = (
        voice + decibels(level) * np.roll(other, delay) + noise(n, level=-75, seed=seed)
        for voice, other, seed in ((*voices, 1), (*voices[::-1], 2))
    )
    for voice, other, result in zip(voices, voices[::-1], separated(first, second), strict=True):
        own, crosstalk = loudness_where(voice, other, result)
        assert own > 0.9 * rms(voice[np.abs(voice) > HEARD])
        assert crosstalk < 0.1 * decibels(level) * own


def test_a_voice_that_comes_over_through_a_room_is_silenced(
    voices: tuple[Signal, Signal],
) -> None:
    n = len(voices[0])
    channels = [
        voice + decibels(-15) * room(np.roll(other, 60), seed=seed) + noise(n, level=-75, seed=seed)
        for voice, other, seed in ((*voices, 1), (*voices[::-1], 2))
    ]
    for voice, other, result in zip(voices, voices[::-1], separated(*channels), strict=True):
        own, crosstalk = loudness_where(voice, other, result)
        assert crosstalk < 0.3 * decibels(-15) * own


def test_what_is_the_same_on_two_channels_stays_on_the_first(
    voices: tuple[Signal, Signal],
) -> None:
    first, second = separated(voices[0], -voices[0])
    heard = np.abs(voices[0]) > HEARD
    assert np.all(np.abs(first[heard]) > 0.95 * np.abs(voices[0][heard]))
    assert not second[SAMPLE_RATE:].any()


@pytest.mark.parametrize("step", [0, 0.8, -0.8, 3])
def test_of_three_channels_with_one_voice_one_is_left(
    voices: tuple[Signal, Signal], step: float
) -> None:
    voice = voices[0]
    channels = separated(*(voice * decibels(number * step) for number in range(3)))
    assert sum(rms(channel[SAMPLE_RATE:]) > 0.5 * rms(voice) for channel in channels) == 1


def test_a_soft_voice_is_raised(voices: tuple[Signal, Signal]) -> None:
    loud, soft = separated(voices[0], decibels(-40) * voices[1])
    assert 0.3 < rms(soft) / rms(loud) < 3


def test_nothing_jumps_where_blocks_meet(voices: tuple[Signal, Signal]) -> None:
    tone = 0.02 * np.sin(np.arange(len(voices[0])) / 20)
    result = separated(tone, 0.3 * voices[1])[0]
    steps = np.abs(np.diff(result[SAMPLE_RATE:]))
    raised = 0.06 * 2**0.5  # its peak
    assert steps.max() < 1.2 * raised / 20 + 2 / 32768


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.5])
def test_the_shortest_blocks_are_taken(seconds: float) -> None:
    block = np.full((round(seconds * SAMPLE_RATE), 3), 100, np.int16)
    assert Separator(3).separate(block).shape == block.shape
    assert not heard_separately(*(block / 32768).T)


def test_each_track_is_one_speaker(voices: tuple[Signal, Signal], tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "call.mkv", *(voice[: 20 * SAMPLE_RATE] for voice in voices))
    assert audio.probe(path).track_channels == (1, 1)
    stereo = np.stack([voices[0], -voices[0], voices[1]], axis=1)
    mixer = TrackMixer((2, 1))
    assert mixer.n_channels == 2
    first, second = mixer.mix(pcm(*stereo.T)).T / 32768
    assert rms(first - second) > 0.5 * rms(first)
    assert np.allclose(second, voices[1], atol=1e-3)
    assert np.allclose(np.abs(first), np.abs(voices[0]), atol=1e-3)


def test_a_track_without_a_packet_keeps_its_width(
    voices: tuple[Signal, Signal], tmp_path: Path
) -> None:
    voice = voices[0][: 5 * SAMPLE_RATE]
    path = write_tracks(tmp_path / "cut.mkv", voice, voice[:0], layout="stereo")
    assert audio.probe(path).track_channels == (2, 2)
    [block] = audio.decode_channels(path)
    assert block.shape[1] == 4


def test_surround_sound_stays_apart_where_it_is_asked_for(
    voices: tuple[Signal, Signal], tmp_path: Path
) -> None:
    import av

    path = tmp_path / "four.wav"
    channels = pcm(*(voice[:SAMPLE_RATE] * share for voice in voices for share in (1, 0.5)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="4.0")
        frame = av.AudioFrame.from_ndarray(channels.reshape(1, -1), format="s16", layout="4.0")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert audio.probe(path).track_channels == (4,)
    [mixed] = audio.decode_channels(path)
    [apart] = audio.decode_channels(path, is_surround_mixed=False)
    assert mixed.shape == (SAMPLE_RATE, 1)
    assert np.array_equal(apart, channels)


# ---- Whether they hold a speaker each

SEPARATE: dict[str, Callable[[Signal, Signal], tuple[Signal, ...]]] = {
    "each on a channel": lambda a, b: (a, b),
    "one 40 dB softer": lambda a, b: (a, decibels(-40) * b),
    "with crosstalk": lambda a, b: (
        a + decibels(-15) * room(b, seed=1),
        b + decibels(-15) * room(a, seed=2),
    ),
    "and a silent channel": lambda a, b: (0 * a, a, b),
}
TOGETHER: dict[str, Callable[[Signal, Signal], tuple[Signal, ...]]] = {
    "the same on both": lambda a, b: (a + b, a + b),
    "opposite phases": lambda a, b: (a + b, -(a + b)),
    "stereo": lambda a, b: (a + 0.5 * b, 0.5 * a + b),
    "two microphones in a room": lambda a, b: (
        room(a, seed=1) + room(np.roll(b, 30), seed=2),
        room(np.roll(a, 40), seed=3) + room(b, seed=4),
    ),
    "all on one channel": lambda a, b: (a + b, 0 * a),
    "a soft, late copy": lambda a, b: (a + b, decibels(-20) * np.roll(a + b, 100)),
    "one channel": lambda a, b: (a + b,),
}


@pytest.mark.parametrize("scene", SEPARATE)
def test_speakers_on_channels_of_their_own_are_recognized(
    voices: tuple[Signal, Signal], at_once: tuple[Signal, Signal], scene: str
) -> None:
    for pair in (voices, at_once):
        channels = SEPARATE[scene](*pair)
        noisy = [
            channel + noise(len(channel), level=-100, seed=seed)
            for seed, channel in enumerate(channels)
        ]
        assert heard_separately(*noisy)


@pytest.mark.parametrize("scene", TOGETHER)
def test_speakers_in_one_scene_are_not_taken_for_it(
    voices: tuple[Signal, Signal], at_once: tuple[Signal, Signal], scene: str
) -> None:
    for pair in (voices, at_once):
        channels = TOGETHER[scene](*pair)
        noisy = [
            channel + noise(len(channel), level=-70, seed=seed)
            for seed, channel in enumerate(channels)
        ]
        assert not heard_separately(*noisy)


def test_a_stereo_recording_is_no_two_speakers(audio_dir: Path) -> None:
    voices = SeparateVoices(2)
    for block in audio.decode_channels(audio_dir / "jfk.flac"):
        voices.hear(block)
    assert not voices.were_heard


# ---- Words


@pytest.mark.slow
@pytest.mark.parametrize("level", [-15, -30])
def test_two_who_speak_at_once_are_complete_and_nobody_speaks_twice(
    at_once: tuple[Signal, Signal],
    tmp_path_factory: pytest.TempPathFactory,
    level: int,
) -> None:
    engine: SpeechEngine = load("tiny.en", tmp_path_factory.mktemp("models"))
    n = len(at_once[0])
    channels = [
        voice + decibels(level) * room(other, seed=seed) + noise(n, level=-75, seed=seed)
        for voice, other, seed in ((*at_once, 1), (*at_once[::-1], 2))
    ]
    for voice, channel, result in zip(at_once, channels, separated(*channels), strict=True):
        spoken = words(engine, voice)
        before, after = (
            jiwer.process_words(" ".join(spoken), " ".join(words(engine, samples)))
            for samples in (channel, result)
        )
        assert after.deletions <= 0.05 * len(spoken)
        assert after.substitutions <= 0.2 * len(spoken)
        # Of what comes over from the other one little is left: a decoder mishears what it cannot hear well.
        assert after.insertions <= 0.25 * before.insertions + 0.05 * len(spoken)
