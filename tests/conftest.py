"""What all tests share: the recordings, and the real service in processes of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import NO_PROVIDER, Service

AUDIO = Path(__file__).parent / "audio"


@pytest.fixture(scope="session")
def audio_dir() -> Path:
    return AUDIO


@pytest.fixture(autouse=True)
def _no_provider(settings: Any) -> None:
    """Whatever the environment says: no test talks to a language model that it did not start itself."""
    for name in NO_PROVIDER:
        setattr(settings, name, "")
    settings.TRANSCRIBER_LLM_CONTEXT_TOKENS = 0


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`manage.py serve` with a data folder of its own, for all tests that do it no harm."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def fresh_service(tmp_path: Path) -> Iterator[Service]:
    """A service for one test that kills parts of it."""
    with Service(tmp_path / "data") as running:
        yield running
