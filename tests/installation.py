"""Installations within a test's own process: data folder, database file and files of their own, to be switched to."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings


@contextmanager
def installed_at(data_dir: Path, *, migrated: bool = True) -> Iterator[Path]:
    """Use the installation in this folder, made if it is not there, until the block ends. On SQLite alone."""
    files = data_dir / "files"
    files.mkdir(parents=True, exist_ok=True)
    before, configured = connections["default"], connections.settings["default"]
    name = configured["NAME"]
    configured["NAME"] = str(data_dir / "transcriber.sqlite3")
    connections["default"] = connections.create_connection("default")
    try:
        with override_settings(TRANSCRIBER_DATA_DIR=data_dir, MEDIA_ROOT=files):
            if migrated:
                _migrate(data_dir)
            yield data_dir
    finally:
        connections["default"].close()
        configured["NAME"] = name
        connections["default"] = before


_template: list[Path] = []


def _migrate(data_dir: Path) -> None:
    """Migrate an empty database; the second time in a process by copying the first."""
    database = data_dir / "transcriber.sqlite3"
    if database.exists():
        return
    if _template and _template[0].exists():
        shutil.copy(_template[0], database)
        return
    call_command("migrate", verbosity=0)
    connections["default"].close()
    template = data_dir / "template.sqlite3"
    shutil.copy(database, template)
    _template[:] = [template]


def table(name: str) -> list[tuple[Any, ...]]:
    """All rows of a table, in order of their ids."""
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT * FROM {name} ORDER BY 1")
        return list(cursor.fetchall())


assert settings.configured
