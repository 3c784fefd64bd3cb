"""Makes a backup while the service runs. Why the database comes before the files: see the package."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from transcriber_site import __version__
from transcriber_site.backup import databases
from transcriber_site.backup.files import Copied, Found, copy_files, list_files, unchanged_since
from transcriber_site.backup.manifest import (
    FILES,
    SETTINGS,
    BackupError,
    Manifest,
    backups_in,
    entry_of,
    read_manifest,
    write_manifest,
)
from transcriber_site.backup.settings_file import settings_text
from transcription.disk import reserve_bytes

UNFINISHED = ".unfinished-"
LAST_BACKUP = "last-backup.json"
"""In the data folder: where the last backup is, and from when; `manage.py doctor` reads it."""


@dataclass(frozen=True, slots=True)
class Made:
    folder: Path
    manifest: Manifest
    copied: Copied


def make_backup(directory: Path, *, incremental: bool = False) -> Made:
    """Make a backup in the folder `directory`. With `incremental`, files that the last one has are linked to it.

    Raises BackupError; then no backup is there that was not there before.
    """
    directory = directory.expanduser().absolute()
    _check_place(directory)
    databases.check_tools()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _only_one(directory):
            return _make(directory, incremental=incremental)
    except OSError as error:
        raise BackupError(f"The backup in {directory} failed: {error}") from error


def _check_place(directory: Path) -> None:
    root = Path(settings.MEDIA_ROOT).resolve()
    place = directory.resolve()
    if place == root or root in place.parents:
        raise BackupError(
            f"{directory} is in the folder of recordings, which is what is backed up. Choose a folder elsewhere, "
            "best on another disk."
        )


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Let one backup at a time be made in a folder; what an interrupted one left there is deleted."""
    with (directory / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(
                f"Another backup is being made in {directory}. Wait until it is done."
            ) from None
        for left in directory.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left)
        yield


def _make(directory: Path, *, incremental: bool) -> Made:
    earlier = backups_in(directory)
    last = (earlier[-1], read_manifest(earlier[-1])) if incremental and earlier else None
    root = Path(settings.MEDIA_ROOT)
    _check_space(directory, list(list_files(root)), last=last[1] if last else None)
    now = datetime.now(UTC)
    name = _free_name(directory, now)
    folder = directory / f"{UNFINISHED}{name}"
    folder.mkdir(mode=0o700)
    try:
        made = _fill(folder, root, last=last, created_at=now)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # Only what is on the disk is a backup: else a power failure could leave its name without its content.
    os.sync()
    folder.rename(directory / name)
    _sync_folder(directory)
    _remember(directory / name, made.manifest)
    return replace(made, folder=directory / name)


def _fill(
    folder: Path, root: Path, *, last: tuple[Path, Manifest] | None, created_at: datetime
) -> Made:
    kind = databases.kind()
    snapshot = databases.copy_database(folder / databases.FILE_OF[kind])
    copied = copy_files(list(list_files(root)), folder, last=last)
    settings_file = folder / SETTINGS
    settings_file.touch(mode=0o600)
    settings_file.write_text(settings_text(), encoding="utf-8")
    own = {name: entry_of(folder / name) for name in (databases.FILE_OF[kind], SETTINGS)}
    there = databases.recording_ids()
    manifest = Manifest(
        created_at=created_at.isoformat(timespec="seconds"),
        version=__version__,
        database=kind,
        migrations=snapshot.migrations,
        files={**own, **copied.entries},
        deleted=sorted(str(each) for each in snapshot.recordings if each not in there),
        missing=sorted(
            file
            for each, file in snapshot.recordings.items()
            if each in there and f"{FILES}/{file}" not in copied.entries
        ),
    )
    write_manifest(folder, manifest)
    return Made(folder, manifest, copied)


def _check_space(directory: Path, files: list[Found], *, last: Manifest | None) -> None:
    needed = databases.size_bytes() + sum(
        found.size for found in files if unchanged_since(found, last) is None
    )
    free = shutil.disk_usage(directory).free
    if free - needed < reserve_bytes():
        raise BackupError(
            f"{directory} has no room: the backup needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free, and "
            f"{reserve_bytes() / 1e6:.0f} MB are to stay so (TRANSCRIBER_DISK_RESERVE_MB). Delete old backups "
            "there, each a folder, or choose another disk."
        )


def _free_name(directory: Path, now: datetime) -> str:
    base = name = f"{now:%Y-%m-%dT%H-%M-%SZ}"
    number = 1
    while (directory / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remember(folder: Path, manifest: Manifest) -> None:
    document = {"folder": str(folder), "created_at": manifest.created_at}
    path = settings.TRANSCRIBER_DATA_DIR / LAST_BACKUP
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(document))
    temporary.replace(path)
