"""The data folder, which holds all state and is created on first use."""

import os
import secrets
import tempfile
from pathlib import Path

from transcriber_site.env import SettingError


def create_folder(path: Path, *, variable: str) -> Path:
    """Create a folder, unless it exists, that only this user and group can read.

    Raises SettingError, which names `variable`, if it is not writable.
    """
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise SettingError(
            variable, f"must name a writable folder; {path}: {error.strerror}"
        ) from error
    return path


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
