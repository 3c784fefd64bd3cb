"""The openai-whisper engine, on real weights."""

import shutil
from importlib import import_module
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest

from transcription.speech import weights
from transcription.speech.catalogue import MODELS
from transcription.speech.engines import ct2_checkpoint, openai_whisper
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    EngineSettings,
    Span,
    SpeechEngine,
    SpeechError,
    TranscribedSegment,
)

CPU = EngineSettings(device="cpu")


@pytest.fixture(scope="module")
def tiny_folder() -> Path:
    found = weights.locate(
        MODELS["tiny.en"], engine="faster-whisper", models_dir=Path("does-not-exist")
    )
    assert found is not None
    return found.path


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> SpeechEngine:
    return openai_whisper.load(tiny_folder, model_name="tiny.en", settings=CPU)


@pytest.fixture
def speech(audio_dir: Path) -> Audio:
    decode_audio = import_module("faster_whisper").decode_audio
    samples: Audio = decode_audio(str(audio_dir / "jfk.flac"), sampling_rate=SAMPLE_RATE)
    return samples


def text_of(segments: list[TranscribedSegment]) -> str:
    return "".join(segment.text for segment in segments)


def requantize(folder: Path, target: Path, compute_type: str) -> None:
    """Write the model in `folder` to `target` in another number format, as CTranslate2 does."""
    specs = import_module("ctranslate2").specs
    checkpoint = ct2_checkpoint.load(folder)
    dims = checkpoint.dims
    spec = specs.WhisperSpec(
        dims["n_audio_layer"], dims["n_audio_head"], dims["n_text_layer"], dims["n_text_head"]
    )
    for name, array in ct2_checkpoint.read_tensors(folder / "model.bin").items():
        parent, _, key = name.rpartition("/")
        if array.ndim:
            setattr(specs.model_spec.index_spec(spec, parent), key, np.array(array))
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    spec.register_vocabulary([""] * dims["n_vocab"])
    spec.validate()
    spec.optimize(compute_type)
    spec._serialize(str(target / "model.bin"))
    shutil.copy(folder / "config.json", target)


@pytest.mark.slow
def test_speech_is_transcribed_with_words_in_order(tiny: SpeechEngine, speech: Audio) -> None:
    duration = len(speech) / SAMPLE_RATE
    segments = tiny.transcribe(speech, [Span(0.0, duration)], language="en")
    assert "ask not what your country can do for you" in text_of(segments)
    words = list(chain.from_iterable(segment.words for segment in segments))
    assert "".join(word.text for word in words).strip() == text_of(segments).strip()
    assert all(0 <= word.start <= word.end <= duration for word in words)
    assert all(first.end <= second.start for first, second in pairwise(words))
    assert all(0 < word.probability <= 1 for word in words)
    assert all(segment.avg_logprob < 0 and segment.temperature == 0 for segment in segments)
    ask = next(word for word in words if word.text.strip() == "ask")
    assert ask.start < 3.5 < ask.end


@pytest.mark.slow
def test_times_of_several_streams_count_from_the_start_of_the_audio(
    tiny: SpeechEngine, speech: Audio
) -> None:
    duration = len(speech) / SAMPLE_RATE
    quiet = np.zeros(5 * SAMPLE_RATE, dtype=np.float32)
    audio = np.concatenate([speech, quiet, speech])
    audio.flags.writeable = False
    streams = [Span(duration + 5, 2 * duration + 5), Span(0.0, duration), Span(3.0, 3.001)]
    told: list[float] = []
    segments = tiny.transcribe(
        audio, streams, language="en", word_times=False, on_progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert text_of(segments).count("ask what you can do for your country") == 2
    assert [s.start for s in segments] == sorted(s.start for s in segments)
    assert not any(duration < s.start < duration + 5 for s in segments)
    assert all(s.words == () and s.end <= 2 * duration + 5 for s in segments)


@pytest.mark.slow
def test_an_english_model_hears_english(tiny: SpeechEngine, speech: Audio) -> None:
    assert tiny.detect_language(speech) == "en"


@pytest.mark.slow
def test_a_multilingual_model_detects_the_language(speech: Audio, tmp_path: Path) -> None:
    found = weights.ensure_weights(MODELS["base"], engine="openai-whisper", models_dir=tmp_path)
    base = openai_whisper.load(found.path, model_name="base", settings=CPU)
    assert base.detect_language(speech) == "en"


@pytest.mark.slow
def test_a_checkpoint_file_loads_as_its_ctranslate2_twin_does(
    tiny_folder: Path, tiny: SpeechEngine, speech: Audio, tmp_path: Path
) -> None:
    torch = import_module("torch")
    checkpoint = ct2_checkpoint.load(tiny_folder)
    state = {name: torch.from_numpy(array) for name, array in checkpoint.state.items()}
    torch.save(
        {"dims": checkpoint.dims, "model_state_dict": state},
        tmp_path / "tiny.en.pt",
    )
    twin = openai_whisper.load(tmp_path / "tiny.en.pt", model_name="tiny.en", settings=CPU)
    streams = [Span(0.0, len(speech) / SAMPLE_RATE)]
    assert twin.transcribe(speech, streams, language="en") == tiny.transcribe(
        speech, streams, language="en"
    )


@pytest.mark.slow
@pytest.mark.parametrize("compute_type", ["int8", "int8_float16", "int16", "bfloat16"])
def test_quantized_weights_are_restored(
    tiny_folder: Path, tmp_path: Path, compute_type: str
) -> None:
    exact = ct2_checkpoint.load(tiny_folder).state
    requantize(tiny_folder, tmp_path, compute_type)
    restored = ct2_checkpoint.load(tmp_path).state
    assert restored.keys() == exact.keys()
    for name, array in exact.items():
        error = np.abs(restored[name].astype(np.float32) - array.astype(np.float32)).max()
        assert error <= 0.01 * np.abs(array).max(), name


@pytest.mark.slow
def test_a_language_that_whisper_does_not_know_is_a_speech_error(
    tiny_folder: Path, speech: Audio
) -> None:
    engine = openai_whisper.load(tiny_folder, model_name="tiny.en", settings=CPU)
    with pytest.raises(SpeechError, match="xx"):
        engine.transcribe(speech, [Span(0.0, 2.0)], language="xx")


def test_a_gpu_that_is_not_there_is_a_clear_error(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SpeechError, match="no CUDA GPU"):
        openai_whisper.load(
            tiny_folder, model_name="tiny.en", settings=EngineSettings(device="cuda")
        )


def test_a_number_format_that_pytorch_cannot_do_is_a_clear_error(tiny_folder: Path) -> None:
    with pytest.raises(SpeechError, match="int8"):
        openai_whisper.load(
            tiny_folder,
            model_name="tiny.en",
            settings=EngineSettings(device="cpu", compute_type="int8"),
        )


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x06\x00\x00\x00"])
def test_a_file_that_is_no_model_is_a_speech_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tiny.en.pt").write_bytes(content)
    for path in (tmp_path, tmp_path / "tiny.en.pt", tmp_path / "missing.pt"):
        with pytest.raises(SpeechError):
            openai_whisper.load(path, model_name="tiny.en", settings=CPU)
