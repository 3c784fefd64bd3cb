"""A provider that says what a test wants, and the settings that lead to it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from summaries import services
from summaries.models import Summary
from tests.summaries.making import now
from tests.summaries.provider import MODEL, Script, serving


@pytest.fixture
def script() -> Script:
    script = Script()
    script.may_answer.set()
    return script


@pytest.fixture
def provider(script: Script, settings: LazySettings) -> Iterator[str]:
    """The base URL; the context is so small that a talk has several parts."""
    with serving(script) as url:
        settings.OPENAI_BASE_URL = url
        settings.OPENAI_API_KEY = "a key"
        settings.TRANSCRIBER_LLM_MODEL = MODEL
        settings.TRANSCRIBER_LLM_CONTEXT_TOKENS = 1024
        settings.TRANSCRIBER_LLM_TIMEOUT_SECONDS = 5
        yield url


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Progress and message, each time that they were written."""
    found: list[tuple[int, str]] = []
    write = services._write

    def spy(lease: Any, summary: Summary, values: dict[str, Any]) -> None:
        write(lease, summary, values)
        if "message" in values:
            row = now(summary)
            found.append((row.progress, row.message))

    monkeypatch.setattr(services, "_write", spy)
    return found
