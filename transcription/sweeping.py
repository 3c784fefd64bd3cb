"""Sweeps stored files that no row names.

Uploads write a file before its row, and deletions delete the row before the file: a process that is killed in between
leaves a file for ever. Rows are read after the files were listed, and once more before one is deleted. A file must also
be older than MIN_AGE: an upload is stored only when it is complete, and its row follows within seconds.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import QuerySet
from django.db.models.functions import Now

from transcription import recordings

MIN_AGE = timedelta(days=1)
"""Counted from the last byte that was written: moved into the storage, an upload keeps the time of its last byte."""
AT_ONCE = 500
"""Ids that one query looks up."""
CHEAP_SECONDS, MAX_SHARE = 2.0, 0.01
"""A sweep that takes longer than this takes at most this share of its worker's time."""

_logger = logging.getLogger(__name__)
_not_before: dict[str, float] = {}
"""When to sweep a folder again, by time.monotonic()."""


def sweep_recordings(rows: "QuerySet[Any]") -> None:
    sweep(recordings.ROOT, rows=rows, delete=recordings.delete_folder)


def sweep(folder: str, *, rows: "QuerySet[Any]", delete: Callable[[str], None]) -> None:
    """Delete each file or subfolder of a folder of the storage whose name begins with an id that is not among the rows.

    Idempotent; several workers may sweep at once. Files of another database are left alone.
    """
    began = time.monotonic()
    if began < _not_before.get(folder, began):
        return
    names = [name for name in _list(folder) if _id_in(name)]
    if not names:
        return
    database_id, now = _database()
    without_row = list(_without_row(names, rows))
    owner = _owner(database_id, may_own=len(without_row) < len(names))
    if owner != database_id:
        if owner is not None:
            _warn_of_another_database()
        return
    old = [name for name in without_row if _is_older(name, now - MIN_AGE)]
    for name in _without_row(old, rows):
        try:
            delete(name)
        except OSError:
            _logger.warning("%s could not be deleted, which no row names.", name, exc_info=True)
        else:
            _logger.info("Deleted %s, which no row names.", name)
    took = time.monotonic() - began
    if took > CHEAP_SECONDS:
        _not_before[folder] = time.monotonic() + took / MAX_SHARE


def sweep_uploads() -> None:
    """Delete what uploads to a killed web process of this machine left in the folder for uploads in progress."""
    oldest = time.time() - MIN_AGE.total_seconds()
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir():
        with suppress(FileNotFoundError):  # it was complete meanwhile
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()


def _list(folder: str) -> list[str]:
    """The paths of what is in a folder."""
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:  # nothing was stored yet
        return []
    return [f"{folder}/{name}" for name in (*folders, *files)]


def _without_row(names: Iterable[str], rows: "QuerySet[Any]") -> Iterator[str]:
    """Those that have an id, but no row. Other names are not ours."""
    by_id = {row_id: name for name in names if (row_id := _id_in(name))}
    ids = list(by_id)
    for begin in range(0, len(ids), AT_ONCE):
        batch = ids[begin : begin + AT_ONCE]
        found = set(rows.filter(pk__in=batch).values_list("pk", flat=True))
        yield from (by_id[each] for each in batch if each not in found)


def _id_in(name: str) -> UUID | None:
    try:
        return UUID(PurePath(name).stem)
    except ValueError:
        return None


def _is_older(name: str, limit: datetime) -> bool:
    """Whether a file, or all files of a folder, were last written before `limit`; an empty folder counts itself."""
    try:
        files = [f"{name}/{each}" for each in default_storage.listdir(name)[1]]
    except (FileNotFoundError, NotADirectoryError):
        files = []
    try:
        return all(default_storage.get_modified_time(each) < limit for each in files or [name])
    except FileNotFoundError:  # another worker sweeps it
        return False


# ---- Whose files these are

OWNER = "database-id"


def _database() -> tuple[str, datetime]:
    """What tells the database from all others but its copies, and what time it is there."""
    migrations = MigrationRecorder(connection).migration_qs.order_by("id").annotate(now=Now())
    first_applied_at, now = migrations.values_list("applied", "now")[0]
    return first_applied_at.isoformat(), now


def _owner(database_id: str, *, may_own: bool) -> str | None:
    """The id of the database that the storage belongs to: the first one that sweeps it and knows something in it.

    None if it belongs to none yet, or another process is writing its id just now.
    """
    if not may_own and not default_storage.exists(OWNER):
        return None
    with suppress(OSError):
        return recordings.read_or_save(OWNER, database_id)
    return None


@cache
def _warn_of_another_database() -> None:
    _logger.warning(
        "Files that no row names are not deleted: %s belongs to another database. If that one is no more in use, "
        "delete the file %s there.",
        settings.TRANSCRIBER_FILES_DIR,
        OWNER,
    )
