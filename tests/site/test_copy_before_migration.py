"""Before a migration changes the SQLite database, it is copied; without room for that nothing is migrated."""

import shutil
import sqlite3
import stat
from collections import namedtuple
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from tests.installation import installed_at
from transcriber_site.backup.before_migration import copies
from transcriber_site.management.commands import serve
from transcription.models import Recording

BEFORE, LATEST = "0007_channels", "0008_segment_times"
"""Two of the app's migrations, one after the other."""


@pytest.fixture
def installation(tmp_path: Path, django_db_blocker: Any) -> Iterator[Path]:
    """An installation of an earlier version, with a recording."""
    with django_db_blocker.unblock(), installed_at(tmp_path / "data") as folder:
        Recording.objects.create(name="kept.flac", size=1, file="kept.flac")
        with override_settings(TRANSCRIBER_BACKUP_BEFORE_MIGRATION=False):
            call_command("migrate", "transcription", BEFORE, verbosity=0)
        assert copies() == []
        yield folder


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


def applied() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM django_migrations WHERE app = 'transcription'")
        return {name for (name,) in cursor.fetchall()}


def test_a_migration_leaves_a_copy_of_what_was_there(installation: Path) -> None:
    serve._migrate()
    assert LATEST in applied()
    [copy] = copies()
    assert copy.parent == installation / "backups"
    assert rows(copy, "SELECT name FROM transcription_recording") == [("kept.flac",)]
    names = rows(copy, "SELECT name FROM django_migrations WHERE app = 'transcription'")
    assert (BEFORE,) in names
    assert (LATEST,) not in names
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_without_anything_to_migrate_there_is_no_copy(installation: Path) -> None:
    serve._migrate()
    n_copies = len(copies())
    serve._migrate()
    assert len(copies()) == n_copies == 1


def test_a_new_installation_has_nothing_to_copy(tmp_path: Path, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), installed_at(tmp_path / "data", migrated=False):
        serve._migrate()
        assert LATEST in applied()
        assert copies() == []


def test_it_can_be_turned_off(installation: Path) -> None:
    with override_settings(TRANSCRIBER_BACKUP_BEFORE_MIGRATION=False):
        serve._migrate()
    assert LATEST in applied()
    assert copies() == []


def test_the_last_three_are_kept(installation: Path) -> None:
    seen: list[Path] = []
    for target in (LATEST, BEFORE, LATEST, BEFORE):
        call_command("migrate", "transcription", target, verbosity=0)
        seen.append(copies()[-1])
    assert copies() == seen[1:]
    assert len(set(seen)) == 4


def test_without_room_for_the_copy_nothing_is_changed(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 200_000_001))
    with pytest.raises(CommandError, match=r"so it was not migrated: .* are free") as told:
        serve._migrate()
    assert "TRANSCRIBER_BACKUP_BEFORE_MIGRATION=false" in str(told.value)
    assert LATEST not in applied()
    assert copies() == []
    assert list((installation / "backups").iterdir()) == []


def test_a_copy_that_was_interrupted_is_none(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = installation / "backups" / "before-migration-2020.unfinished"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert copies() == []
    serve._migrate()
    assert not left.exists()
    assert len(copies()) == 1
