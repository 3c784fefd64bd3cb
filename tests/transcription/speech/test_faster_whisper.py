"""The default engine on real weights: complete, in time, silent where nobody speaks."""

from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest

from transcription.speech import audio, catalogue, chunks, segments, weights
from transcription.speech.engines import faster_whisper
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    EngineSettings,
    Span,
    SpeechEngine,
    SpeechError,
    TranscribedSegment,
)
from transcription.speech.voice_activity import VoiceActivity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SpeechEngine:
    return load("tiny.en", tmp_path_factory.mktemp("models"))


def load(name: str, models_dir: Path) -> SpeechEngine:
    found = weights.ensure_weights(
        catalogue.resolve(name), engine="faster-whisper", models_dir=models_dir
    )
    return faster_whisper.load(found.path, model_name=name, settings=EngineSettings(device="cpu"))


def speech_in(samples: Audio) -> list[Span]:
    activity = VoiceActivity()
    return activity.feed(samples) + activity.finish()


def transcribed(engine: SpeechEngine, samples: Audio) -> list[TranscribedSegment]:
    found = []
    for chunk in chunks.plan(speech_in(samples), len(samples) / SAMPLE_RATE):
        found += segments.transcribe(engine, samples, chunk.streams, chunk.speech, language="en")
    return found


def test_a_speech_comes_out_in_phrases_with_word_times(
    engine: SpeechEngine, audio_dir: Path
) -> None:
    samples = audio.read_all(audio_dir / "jfk.flac")
    found = transcribed(engine, samples)
    text = " ".join(segment.text for segment in found)
    assert "ask not what your country can do for you" in text
    words = [word for segment in found for word in segment.words]
    assert all(a.end <= b.start + 0.01 for a, b in pairwise(words))
    assert all(0 <= word.start < word.end <= len(samples) / SAMPLE_RATE for word in words)
    assert all(0 < word.probability <= 1 for word in words)
    assert all(-1 < segment.avg_logprob < 0 for segment in found)
    assert all(segment.compression_ratio > 0 for segment in found)


def test_times_follow_the_voice_to_a_fifth_of_a_second(
    engine: SpeechEngine, audio_dir: Path
) -> None:
    """The same utterance at known places: each time it begins and ends where its samples do."""
    utterance = audio.read_all(audio_dir / "2412-153948-0000.flac")
    loud = np.flatnonzero(np.abs(utterance) > 0.02) / SAMPLE_RATE
    places = [1.0, 20.7, 51.3]
    samples = np.zeros(round(70 * SAMPLE_RATE), np.float32)
    for place in places:
        first = round(place * SAMPLE_RATE)
        samples[first : first + len(utterance)] += utterance
    found = transcribed(engine, samples)
    length = len(utterance) / SAMPLE_RATE
    for place in places:
        inside = [s for s in found if place - 0.5 < s.start < place + length]
        assert inside[0].start == pytest.approx(place + loud[0], abs=0.2)
        assert inside[-1].end == pytest.approx(place + loud[-1], abs=0.2)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.05, 0.3])
def test_silence_and_noise_make_no_text(engine: SpeechEngine, noise: float) -> None:
    rng = np.random.default_rng(1)
    samples = (noise * rng.standard_normal(60 * SAMPLE_RATE)).astype(np.float32)
    assert transcribed(engine, samples) == []


def test_ten_minutes_lose_few_words_against_decoding_in_sequence(
    engine: SpeechEngine, audio_dir: Path
) -> None:
    """What faster-whisper's own `transcribe` heard with tiny.en (int8, beam size 5) is stored beside the recording."""
    from whisper.normalizers import EnglishTextNormalizer

    in_sequence = (audio_dir / "reading-10min.in-sequence.txt").read_text()
    samples = audio.read_all(audio_dir / "reading-10min.flac")
    normalize = EnglishTextNormalizer()
    reference = normalize(in_sequence)
    ours = normalize(" ".join(s.text for s in transcribed(engine, samples)))
    compared = jiwer.process_words(reference, ours)
    # Of 1,600 words some are heard otherwise ("a long" for "along"): how many, depends on how a processor rounds.
    # Speech that is passed over is missing several words long.
    lost = [part for part in compared.alignments[0] if part.type == "delete"]
    assert max(part.ref_end_idx - part.ref_start_idx for part in lost) <= 3
    assert compared.deletions <= 20
    assert compared.wer <= 0.05


def test_the_language_is_heard(audio_dir: Path, tmp_path: Path) -> None:
    base = load("base", tmp_path)
    samples = audio.read_all(audio_dir / "multilingual.mp3")
    assert base.detect_language(samples[: 20 * SAMPLE_RATE]) == "en"
    assert base.detect_language(samples[-20 * SAMPLE_RATE :]) != "en"


def test_progress_is_told_and_can_end_the_work(engine: SpeechEngine, audio_dir: Path) -> None:
    samples = audio.read_all(audio_dir / "reading-10min.flac")[: 120 * SAMPLE_RATE]
    streams = [Span(0, 29), Span(29, 58), Span(58, 87), Span(87, 116)]
    told: list[float] = []
    engine.transcribe(samples, streams, language="en", on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1, abs=0.05)

    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.transcribe(samples, streams, language="en", on_progress=stop)


def test_a_loop_of_the_same_words_is_sampled_again(
    engine: SpeechEngine, audio_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the gate so strict that every window fails it, all temperatures are tried; text still comes."""
    monkeypatch.setattr(faster_whisper, "LOGPROB_THRESHOLD", -0.01)
    [*found] = transcribed(engine, audio.read_all(audio_dir / "jfk.flac"))
    assert "country" in " ".join(segment.text for segment in found)


def test_a_cuda_device_that_is_not_there_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 0)
    found = weights.locate(
        catalogue.resolve("tiny.en"), engine="faster-whisper", models_dir=tmp_path
    )
    assert found is not None
    with pytest.raises(SpeechError, match="no CUDA GPU"):
        faster_whisper.load(
            found.path, model_name="tiny.en", settings=EngineSettings(device="cuda")
        )
