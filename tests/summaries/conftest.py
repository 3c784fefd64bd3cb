"""The fake provider and the settings for it, and the progress that summaries report."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from summaries import services
from summaries.models import Summary
from tests.rows import reload
from tests.summaries.fake_provider import MODEL, Script, serve


@pytest.fixture
def script() -> Script:
    script = Script()
    script.may_answer.set()
    return script


@pytest.fixture
def provider(script: Script, settings: LazySettings) -> Iterator[str]:
    """The base URL. The context window is so small that a long transcript has several parts."""
    with serve(script) as url:
        settings.OPENAI_BASE_URL = url
        settings.OPENAI_API_KEY = "a key"
        settings.TRANSCRIBER_LLM_MODEL = MODEL
        settings.TRANSCRIBER_LLM_CONTEXT_TOKENS = 1024
        settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS = 5
        yield url


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Progress and message of each write of them."""
    updates: list[tuple[int, str]] = []
    write = services._write

    def spy(lease: Any, summary: Summary, values: dict[str, Any]) -> None:
        write(lease, summary, values)
        if "message" in values:
            row = reload(summary)
            updates.append((row.progress, row.message))

    monkeypatch.setattr(services, "_write", spy)
    return updates
