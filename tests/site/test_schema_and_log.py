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


UNKNOWN, INVALID, CONFLICT = "404", "400", "409"
ANSWERS = {
    ("post", "/api/transcribe/"): {INVALID},
    ("get", "/api/transcribe/result/{job_id}"): {INVALID, UNKNOWN, CONFLICT},
    ("get", "/api/transcribe/export/{job_id}"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/transcribe/cancel/{job_id}"): {UNKNOWN, CONFLICT},
    ("delete", "/api/transcribe/jobs/{job_id}"): {UNKNOWN},
    ("post", "/api/transcribe/diarize/{job_id}"): {INVALID, UNKNOWN, CONFLICT},
    ("get", "/api/transcribe/suspects/{job_id}"): {UNKNOWN, CONFLICT},
    ("get", "/api/transcribe/segments/{segment_id}"): {UNKNOWN},
    ("patch", "/api/transcribe/segments/{segment_id}"): {INVALID, UNKNOWN, CONFLICT},
    ("delete", "/api/transcribe/segments/{segment_id}"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/transcribe/segments/{segment_id}/split"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/transcribe/segments/{segment_id}/merge"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/transcribe/speakers/{job_id}"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/transcribe/edits/{job_id}/{edit_id}/undo"): {UNKNOWN, CONFLICT},
    ("post", "/api/summary/"): {INVALID, UNKNOWN, CONFLICT},
    ("get", "/api/summary/{job_id}"): {UNKNOWN, CONFLICT},
    ("get", "/api/summary/status/{job_id}"): {UNKNOWN},
    ("post", "/api/chat/"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/retranslate/segment"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/retranslate/segment-from-full"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/retranslate/suspects"): {INVALID, UNKNOWN, CONFLICT},
    ("post", "/api/retranslate/{retranslation_id}/accept"): {UNKNOWN, CONFLICT},
    ("post", "/api/retranslate/{retranslation_id}/reject"): {UNKNOWN, CONFLICT},
    ("post", "/api/retranslate/{retranslation_id}/undo"): {UNKNOWN, CONFLICT},
}


def test_the_schema_lists_what_is_answered_to_bad_input_unknown_ids_and_conflicts(
    client: Client,
) -> None:
    schema = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    paths = schema.json()["paths"]
    lacking = {
        (method, path): missing
        for (method, path), codes in ANSWERS.items()
        if (missing := codes - set(paths[path][method]["responses"]))
    }
    assert lacking == {}


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
