"""`manage.py models`: what an operator sees and types."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings


@pytest.fixture(autouse=True)
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "models"
    with override_settings(TRANSCRIBER_ENGINE="faster-whisper", TRANSCRIBER_MODELS_DIR=folder):
        yield folder


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("models", *arguments, stdout=output)
    return output.getvalue()


def test_the_list_names_every_model() -> None:
    lines = run("list").splitlines()
    assert len(lines) == 16
    assert lines[0].startswith("tiny.en ")
    assert any(line.startswith("large-v3-turbo ") and "1617.9 MB" in line for line in lines)


def test_a_bundled_model_is_made_ready_by_downloading_it(models_dir: Path) -> None:
    assert "base is on this machine (folder)" in run("download", "openai/whisper-base")
    assert "Deleted base: 147.9 MB" in run("delete", "base")
    assert not (models_dir / "base").exists()


def test_a_model_that_cannot_be_fetched_is_an_error() -> None:
    with pytest.raises(CommandError, match="'small' are not on this machine"):
        run("download", "small")


def test_an_unknown_name_stops_before_anything_is_done(models_dir: Path) -> None:
    with pytest.raises(CommandError, match="Unknown model 'hugo'"):
        run("download", "base", "hugo")
    assert not models_dir.exists()


def test_a_model_of_a_package_is_not_deleted() -> None:
    with pytest.raises(CommandError, match="uninstall the package"):
        run("delete", "tiny.en")
