"""A copy of the SQLite database before each migration, in the data folder; the last three are kept.

Connected to Django's `pre_migrate`, so that `manage.py serve` and `manage.py migrate` make it alike. PostgreSQL has no
such copy: its database may be another machine's, and large; its migrations are transactions.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from django.db import Error as DatabaseFailure
from django.db import connections

from transcriber_site.backup import databases
from transcriber_site.backup.manifest import BackupError
from transcription.disk import require_space

FOLDER = "backups"
"""In the data folder."""
KEPT = 3
_PREFIX, _SUFFIX = "before-migration-", ".sqlite3"


def copy_before_migration(*, using: str, plan: list[Any], **_: Any) -> None:
    """Copy the database, if there is something in it and something is about to be changed.

    Raises CommandError, before anything is changed, if that cannot be done.
    """
    connection = connections[using]
    if not plan or not settings.TRANSCRIBER_BACKUP_BEFORE_MIGRATION:
        return
    if connection.vendor != databases.SQLITE:
        return
    if not Path(connection.settings_dict["NAME"]).is_file():
        return  # a test's, in memory
    if not connection.introspection.table_names():
        return  # a new installation
    try:
        _copy()
    except (OSError, BackupError, DatabaseFailure) as error:
        raise CommandError(
            f"The database could not be copied before its migration, so it was not migrated: {error}. "
            f"Free some space on the disk of {settings.TRANSCRIBER_DATA_DIR}, or set "
            "TRANSCRIBER_BACKUP_BEFORE_MIGRATION=false if you have a backup."
        ) from error


def _copy() -> None:
    folder = Path(settings.TRANSCRIBER_DATA_DIR) / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    require_space(folder, databases.size_bytes())
    path = folder / f"{_PREFIX}{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}{_SUFFIX}"
    temporary = path.with_suffix(".unfinished")
    try:
        databases.copy_database(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    for left in folder.glob(f"{_PREFIX}*.unfinished"):  # by a process that was killed
        left.unlink(missing_ok=True)
    for old in copies()[:-KEPT]:
        old.unlink(missing_ok=True)


def copies() -> list[Path]:
    """The copies that there are, the oldest first."""
    return sorted((Path(settings.TRANSCRIBER_DATA_DIR) / FOLDER).glob(f"{_PREFIX}*{_SUFFIX}"))
