"""Copies the files of recordings, with their checksums; what has not changed is a link to the last backup."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from transcriber_site.backup.manifest import BLOCK_BYTES, FILES, Entry, Manifest
from transcription import recordings

LEFT_OUT = frozenset({recordings.STORAGE_ID})
"""The id of a storage is its own: a restored one is another."""
TRIES = 3
"""A file that changes while it is copied is copied so often."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file to be copied, as it was when the storage was listed."""

    name: str
    """Its path in the storage."""
    path: Path
    size: int
    modified_ns: int


@dataclass(slots=True)
class Copied:
    entries: dict[str, Entry] = field(default_factory=dict)
    n_linked: int = 0
    n_copied: int = 0
    bytes_copied: int = 0
    is_without_links: bool = False
    """The backups' file system has no hard links, so that unchanged files were copied too."""


def list_files(root: Path) -> Iterator[Found]:
    """The regular files below a folder; clips first, which are deleted as soon as they are transcribed.

    What is deleted meanwhile is left out.
    """
    if not root.is_dir():
        return
    names = sorted(os.listdir(root), key=lambda name: (name == recordings.ROOT, name))
    for name in names:
        yield from _walk(root / name, root)


def _walk(path: Path, root: Path) -> Iterator[Found]:
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            for name in sorted(os.listdir(path)):
                yield from _walk(path / name, root)
            return
    except FileNotFoundError:
        return
    name = path.relative_to(root).as_posix()
    if stat.S_ISREG(status.st_mode) and name not in LEFT_OUT:
        yield Found(name, path, status.st_size, status.st_mtime_ns)


def unchanged_since(found: Found, last: Manifest | None) -> Entry | None:
    """The entry of the last backup, if it has this very file.

    An upload is written once, under a name of its own; so is a piece of samples, unless its writing was interrupted:
    then it had another size. So name, size and time tell.
    """
    entry = last.files.get(f"{FILES}/{found.name}") if last else None
    if entry and (entry.size, entry.modified_ns) == (found.size, found.modified_ns):
        return entry
    return None


def copy_files(files: list[Found], target: Path, *, last: tuple[Path, Manifest] | None) -> Copied:
    """Copy the files to `target`, a backup's folder; `last` is the backup whose files may be linked to.

    Files that were deleted meanwhile are left out.
    """
    copied = Copied()
    for found in files:
        name = f"{FILES}/{found.name}"
        entry = unchanged_since(found, last[1]) if last else None
        if entry and last and _link(last[0] / name, target / name, entry, copied):
            copied.entries[name] = entry
            copied.n_linked += 1
            continue
        try:
            entry = copy_file(found.path, target / name)
        except FileNotFoundError:
            (target / name).unlink(missing_ok=True)
            continue
        copied.entries[name] = entry
        copied.n_copied += 1
        copied.bytes_copied += entry.size
    return copied


def _link(source: Path, target: Path, entry: Entry, copied: Copied) -> bool:
    """Whether the file could be linked: it is in the last backup, in its length, and links are possible."""
    try:
        if source.lstat().st_size != entry.size:
            return False
        _make_folder(target.parent)
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        copied.is_without_links = True
        return False
    return True


def copy_file(source: Path, target: Path) -> Entry:
    """Copy a file; the entry is that of what was written. A file that changes meanwhile is copied again.

    Raises FileNotFoundError if it was deleted.
    """
    _make_folder(target.parent)
    for _ in range(TRIES):
        before = source.stat()
        size, digest = _copy(source, target)
        after = source.stat()
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and (
            size == before.st_size
        ):
            break
    # The time before: if it changes still, the next backup does not take it for unchanged.
    return Entry(size, digest, before.st_mtime_ns)


def _copy(source: Path, target: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        while block := reading.read(BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
            size += len(block)
    return size, digest.hexdigest()


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, for this user alone."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
