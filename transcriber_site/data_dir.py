"""The data folder, which holds all state, is created on first use, and is closed to all other users."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from transcriber_site.env import SettingError


def create_folder(path: Path, *, variable: str) -> Path:
    """Create a folder, unless it exists, that only this user can read; one of an earlier version is closed to others.

    Raises SettingError, which names `variable`, if it is not writable.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        close_to_others(path)
    except OSError as error:
        raise SettingError(
            variable, f"must name a writable folder; {path}: {error.strerror}"
        ) from error
    return path


def protect_database(path: Path) -> None:
    """Let only this user read an SQLite database. SQLite gives its other files (WAL, shared memory) the same mode.

    So a database that is not there yet is created empty: SQLite would let everybody read it.
    """
    with suppress(OSError):  # a folder that does not exist is an error when the database is opened
        if path.parent.is_dir():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            close_to_others(path.with_name(path.name + suffix))


def close_to_others(path: Path) -> None:
    """Take all rights to a file or folder from everybody but its owner.

    What another user owns is left alone, and so is a folder that all share (sticky, such as /tmp): whoever made
    them decides; `manage.py doctor` names them.
    """
    if is_open_to_others(path):
        found = path.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid == os.geteuid() and not mode & stat.S_ISVTX:
            with suppress(PermissionError):  # a file system without modes
                path.chmod(mode & ~0o077)


def is_open_to_others(path: Path) -> bool:
    """Whether anybody but its owner has rights to a file or folder. Raises OSError if it is not there."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def secret_key(data_dir: Path) -> str:
    """The secret key stored in the data folder, generated on first use.

    Processes that start at the same moment must not race to different keys: each writes its key to
    a temporary file and hard-links that into place, which only the first one can do.
    """
    path = data_dir / "secret-key"
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=data_dir, prefix="secret-key-")  # mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(50))
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:
            pass  # another process was first: use its key
        finally:
            Path(temporary).unlink()
    key = path.read_text().strip()
    if not key:
        raise SettingError(
            "TRANSCRIBER_SECRET_KEY",
            f"is not set and {path} is empty: delete that file, and a new key is generated",
        )
    return key
