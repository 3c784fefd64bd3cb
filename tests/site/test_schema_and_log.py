"""The schema is built once, and the log has one harmless line for each record."""

import logging
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from transcriber_site import schema
from transcriber_site.logs import LineFormatter


def test_the_schema_is_built_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    schema._schema.cache_clear()
    built = []
    build: Any = SchemaGenerator.get_schema

    def counted(generator: SchemaGenerator, *args: object, **options: object) -> object:
        built.append(generator)
        return build(generator, *args, **options)

    monkeypatch.setattr(SchemaGenerator, "get_schema", counted)
    first, second = client.get("/api/schema"), client.get("/api/schema")
    assert first.content == second.content
    assert b"/api/transcribe/" in first.content
    assert len(built) == 1


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("C1 \x9b31m and \x7f", r"C1 \x9b31m and \x7f"),
        ("\u2028a line", r"\u2028a line"),
        ("Grüße 你好 🎤", "Grüße 你好 🎤"),
    ],
)
def test_no_control_character_reaches_the_log(said: str, written: str) -> None:
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, "%s", (said,), None)
    assert LineFormatter().format(record).endswith(f" {written}")
