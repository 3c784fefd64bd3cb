"""Restores a backup into an empty installation.

Files come first, the database last, in one step: a restore that was interrupted has no database, `serve` refuses to
start, and the same command goes on with it.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django_q.models import OrmQ

from transcriber_site.backup import databases
from transcriber_site.backup.files import LEFT_OUT, copy_file, list_files
from transcriber_site.backup.manifest import (
    FILES,
    BackupError,
    Manifest,
    find_backup,
    read_manifest,
    verify,
)
from transcription.disk import reserve_bytes
from transcription.jobs.retry_and_delete import delete_recording
from transcription.leasing import schema
from transcription.models import Worker

MARKER = "restore-unfinished"
"""In the data folder while a restore is under way; says which backup."""


def unfinished_restore() -> str:
    """The backup whose restore was interrupted; empty if none was."""
    try:
        return (settings.TRANSCRIBER_DATA_DIR / MARKER).read_text().strip()
    except FileNotFoundError:
        return ""


def restore_backup(directory: Path) -> tuple[Path, Manifest]:
    """Restore the backup `directory`, or the last one in it. Returns what was restored.

    Raises BackupError; nothing is changed unless the backup is whole and fits, and the installation is empty.
    """
    folder = find_backup(directory.expanduser().absolute())
    manifest = read_manifest(folder)
    _check_version(manifest)
    _check_database(manifest)
    databases.check_tools(for_restore=True)
    _check_empty(folder)
    _check_whole(folder, manifest)
    _check_space(manifest)
    marker = settings.TRANSCRIBER_DATA_DIR / MARKER
    try:
        marker.write_text(str(folder))
        if databases.is_empty():
            _restore_files(folder, manifest)
            _restore_database(folder, manifest)
    except OSError as error:
        raise BackupError(
            f"The restore was interrupted: {error}. Run the same command again, and it goes on."
        ) from error
    # What follows is done again by a restore that finds the marker and the database.
    call_command("migrate", interactive=False, verbosity=0)
    _remove_what_is_over(manifest)
    marker.unlink()
    return folder, manifest


# ---- Checks


def _check_version(manifest: Manifest) -> None:
    unknown = schema.unknown_migrations(
        (app, name) for app, names in manifest.migrations.items() for name in names
    )
    if unknown:
        raise BackupError(
            f"The backup was made by a newer version ({manifest.version}), whose database this one does not know "
            f"(migration {unknown[0]}). Install that version or a newer one, and restore with it."
        )


def _check_database(manifest: Manifest) -> None:
    if manifest.database not in databases.FILE_OF:
        raise BackupError(f"The backup's database is of an unknown kind: {manifest.database}.")
    if manifest.database != databases.kind():
        remedy = (
            "Leave DATABASE_URL unset"
            if manifest.database == databases.SQLITE
            else "Set DATABASE_URL to an empty PostgreSQL database"
        )
        raise BackupError(
            f"The backup is of a {manifest.database} database, and this installation has {databases.kind()}. {remedy}."
        )
    if databases.FILE_OF[manifest.database] not in manifest.files:
        raise BackupError("The backup's manifest names no database. Use another backup.")


def _check_empty(folder: Path) -> None:
    begun = unfinished_restore()
    if not databases.is_empty() and begun != str(folder):
        raise BackupError(
            "This installation is not empty: its database has tables. Restore into a new one: stop the service, and "
            "set TRANSCRIBER_DATA_DIR to a new folder (on PostgreSQL, DATABASE_URL to a new database too)."
        )
    if begun and begun != str(folder):
        raise BackupError(
            f"The restore of {begun} was interrupted here. Restore that one, or set TRANSCRIBER_DATA_DIR to a "
            "new folder."
        )
    root = Path(settings.MEDIA_ROOT)
    found = next(list_files(root), None)
    if found and not begun:
        raise BackupError(
            f"This installation is not empty: {root} has files ({found.name}). Set TRANSCRIBER_DATA_DIR, or "
            "TRANSCRIBER_FILES_DIR, to a new folder."
        )


def _check_whole(folder: Path, manifest: Manifest) -> None:
    problem = next(verify(folder, manifest), None)
    if problem:
        raise BackupError(
            f"{folder} is damaged: {problem} Nothing was restored. Use another backup; "
            f"manage.py backup --verify {folder} lists all that is wrong with it."
        )


def _check_space(manifest: Manifest) -> None:
    root = Path(settings.MEDIA_ROOT)
    status = os.statvfs(root)
    free, needed = status.f_bavail * status.f_frsize, manifest.n_bytes()
    if free - needed < reserve_bytes():
        raise BackupError(
            f"{root} has no room: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free, and "
            f"{reserve_bytes() / 1e6:.0f} MB are to stay so (TRANSCRIBER_DISK_RESERVE_MB)."
        )


# ---- Restoring


def _restore_files(folder: Path, manifest: Manifest) -> None:
    root, prefix = Path(settings.MEDIA_ROOT), f"{FILES}/"
    for path, entry in manifest.files.items():
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name in LEFT_OUT:
            continue
        copied = copy_file(folder / path, root / name)
        if (copied.size, copied.sha256) != (entry.size, entry.sha256):
            raise OSError(f"{path} changed after it was verified")
        # As old as it was: files that no row names are deleted a day after they were written.
        os.utime(root / name, ns=(entry.modified_ns, entry.modified_ns))


def _restore_database(folder: Path, manifest: Manifest) -> None:
    source = folder / databases.FILE_OF[manifest.database]
    if manifest.database == databases.SQLITE:
        databases.restore_sqlite(source)
    else:
        databases.restore_postgresql(source)


def _remove_what_is_over(manifest: Manifest) -> None:
    """Delete what is of the other installation alone: its workers, its messages, and what was deleted there."""
    Worker.objects.all().delete()
    OrmQ.objects.all().delete()  # signed with its secret key; recovery enqueues from the rows
    for recording_id in _ids(manifest.deleted):
        delete_recording(recording_id=recording_id)
    connection.close()


def _ids(values: Iterable[str]) -> list[UUID]:
    return [UUID(value) for value in values]
