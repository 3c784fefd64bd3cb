"""The folder that holds all state, made on first use."""

import os
import secrets
import tempfile
from pathlib import Path

from transcriber_site.env import SettingError


def prepare(path: Path, *, variable: str) -> Path:
    """Make a folder for this user and group alone; SettingError if it cannot be written to."""
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise SettingError(
            variable, f"must name a folder that can be written to; {path}: {error.strerror}"
        ) from error
    return path


def secret_key(data_dir: Path) -> str:
    """The secret key kept in the data folder, made on first use.

    Several processes may start at the same moment: the key is written aside and then linked into
    place, which only the first of them can do, so that all of them return the same one.
    """
    kept = data_dir / "secret-key"
    if not kept.exists():
        descriptor, draft = tempfile.mkstemp(dir=data_dir, prefix="secret-key-")  # mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(50))
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, kept)
        except FileExistsError:
            pass  # another process was first: its key counts
        finally:
            Path(draft).unlink()
    key = kept.read_text().strip()
    if not key:
        raise SettingError(
            "TRANSCRIBER_SECRET_KEY",
            f"is not set and {kept} is empty: delete that file to have a new key made",
        )
    return key
