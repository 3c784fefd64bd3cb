"""A backup's manifest: what is in it, with sizes and checksums, and what it was made from."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = "manifest.json"
FILES = "files"
"""The folder of recordings in a backup."""
SETTINGS = "settings.env"
FORMAT = 1
BLOCK_BYTES = 1024**2
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


class BackupError(Exception):
    """A backup cannot be made, read or restored; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a backup. `modified_ns` is when the original was last written, 0 if that does not matter."""

    size: int
    sha256: str
    modified_ns: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    created_at: str
    """UTC, ISO 8601; when the database was copied."""
    version: str
    """The service's."""
    database: str
    """`sqlite` or `postgresql`."""
    migrations: dict[str, list[str]]
    """What was applied to the database, by app: its schema."""
    files: dict[str, Entry]
    """By path in the backup, with slashes."""
    deleted: list[str] = field(default_factory=list)
    """Ids of recordings that were deleted while their files were copied."""
    missing: list[str] = field(default_factory=list)
    """Files that rows name, and that were not there although nobody deleted them."""
    format: int = FORMAT

    def age_seconds(self) -> float:
        return (datetime.now(UTC) - datetime.fromisoformat(self.created_at)).total_seconds()

    def n_bytes(self) -> int:
        return sum(entry.size for entry in self.files.values())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest to disk: when this returns, it is there even if the power fails."""
    path = folder / MANIFEST
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupError if the folder holds no backup, or one that this version cannot read."""
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}.") from None
    except (OSError, ValueError) as error:
        raise BackupError(f"{path} cannot be read: {error}. Use another backup.") from None
    found_format = document.get("format") if isinstance(document, dict) else None
    if isinstance(found_format, int) and found_format > FORMAT:
        raise BackupError(
            f"{folder} was made by a newer version ({document.get('version')}), in a format that this one does not "
            "know. Install that version, or a newer one."
        )
    try:
        return _parse(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackupError(f"{path} is damaged: {error!r}. Use another backup.") from None


def _parse(document: dict[str, Any]) -> Manifest:
    files = {
        str(path): Entry(int(entry["size"]), str(entry["sha256"]), int(entry["modified_ns"]))
        for path, entry in document["files"].items()
    }
    for path in files:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\0" in path or not parts.parts:
            raise ValueError(f"{path!r} lies outside the backup")
    datetime.fromisoformat(document["created_at"])
    return Manifest(
        created_at=str(document["created_at"]),
        version=str(document["version"]),
        database=str(document["database"]),
        migrations={str(app): list(names) for app, names in document["migrations"].items()},
        files=files,
        deleted=[str(each) for each in document["deleted"]],
        missing=[str(each) for each in document["missing"]],
        format=int(document["format"]),
    )


def backups_in(directory: Path) -> list[Path]:
    """The complete backups in a folder, the oldest first."""
    if not directory.is_dir():
        return []
    folders = [each for each in directory.iterdir() if _NAME.fullmatch(each.name)]
    return sorted(folder for folder in folders if (folder / MANIFEST).is_file())


def find_backup(directory: Path) -> Path:
    """The folder itself if it is a backup, else the last backup in it. Raises BackupError if there is none."""
    if (directory / MANIFEST).is_file():
        return directory
    found = backups_in(directory)
    if not found:
        raise BackupError(
            f"There is no backup in {directory}. Make one: manage.py backup {directory}"
        )
    return found[-1]


def verify(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Each problem of a backup: a file that is missing, of another size, or of another content."""
    for path, entry in manifest.files.items():
        try:
            size, digest = _digest(folder / path)
        except FileNotFoundError:
            yield f"{path} is missing."
        except OSError as error:
            yield f"{path} cannot be read: {error.strerror}."
        else:
            if size != entry.size:
                yield f"{path} has {size} bytes; it had {entry.size}."
            elif digest != entry.sha256:
                yield f"{path} has another content than when it was written."


def _digest(path: Path) -> tuple[int, str]:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise FileNotFoundError(path)  # a link would lead out of the backup
    entry = entry_of(path)
    return entry.size, entry.sha256


def entry_of(path: Path) -> Entry:
    """The entry of a file that was written for the backup, such as the database's copy."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return Entry(size, digest.hexdigest())
