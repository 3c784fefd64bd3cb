"""Installations of earlier versions are upgraded, and go on: see tests/installations."""

import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.running_jobs import completed, spoken
from tests.service import ROOT, Service, wait_for
from tests.waiting_engine import SETTINGS
from transcription.leasing import schema

ARCHIVES = sorted((ROOT / "tests" / "installations").glob("*.tar.xz"))

pytestmark = pytest.mark.slow


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack an installation; returns what is expected of it."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return expected


def is_kept(before: Any, after: Any) -> bool:
    """Whether all that was there is there still; a newer version may add fields."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(
            name in after and is_kept(value, after[name]) for name, value in before.items()
        )
    if isinstance(before, list):
        return (
            isinstance(after, list)
            and len(before) == len(after)
            and all(is_kept(one, other) for one, other in zip(before, after, strict=True))
        )
    return bool(before == after)


def answer(service: Service, path: str) -> Any:
    response = service.client.get(path)
    assert response.status_code == 200, (path, response.text)
    is_json = response.headers["content-type"].startswith("application/json")
    return response.json() if is_json else response.text


def applied(database: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(database)) as opened:
        return set(opened.execute("SELECT app, name FROM django_migrations"))


def test_there_is_an_installation_of_an_earlier_version() -> None:
    assert ARCHIVES


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def test_an_installation_of_an_earlier_version_is_upgraded_and_goes_on(
    archive: Path, tmp_path: Path
) -> None:
    expected = unpack(archive, tmp_path)
    database = tmp_path / "transcriber.sqlite3"
    before = applied(database)
    shutil.copy(database, tmp_path / "as-it-was.sqlite3")
    with Service(tmp_path, **SETTINGS) as service:
        assert applied(database) >= before
        assert not schema._on_disk()[0] - applied(database)
        copies = list((tmp_path / "backups").glob("*.sqlite3"))
        is_migrated = bool(applied(database) - before)
        assert len(copies) == int(is_migrated), "it was copied before it was migrated"
        for path, document in expected["answers"].items():
            assert is_kept(document, answer(service, path)), path
        running = completed(service, expected["running"])
        done = spoken(expected["done segments"])
        assert len(done) == 1
        assert set(done) < set(spoken(running)), "what was done is as it was"
        assert [chunk["state"] for chunk in service.debug(expected["running"])["chunks"]] == [
            "done"
        ] * 3
        assert spoken(completed(service, expected["queued"]))
        wait_for(
            lambda: is_summarized(service, expected["summary"]), what="the summary that waited"
        )
        wait_for(lambda: is_batch_done(service, expected["batch"]), what="the range that waited")
        for path, document in expected["answers"].items():
            assert is_kept(document, answer(service, path)), path


def is_summarized(service: Service, summary_id: str) -> bool:
    document = service.client.get(f"/api/summary/status/{summary_id}").json()
    assert document["status"] != "failed", document
    return bool(document["status"] == "completed")


def is_batch_done(service: Service, batch_id: str) -> bool:
    [row] = answer(service, f"/api/retranslate/suspects/{batch_id}")["retranslations"]
    assert row["status"] != "failed", row
    return bool(row["status"] not in ("queued", "running", "processing"))
