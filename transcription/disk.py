"""The space that uploads and running work leave free on a disk."""

import errno
import shutil
from pathlib import Path

from django.conf import settings


def reserve_bytes() -> int:
    return int(settings.TRANSCRIBER_DISK_RESERVE_MB) * 1000**2


def require_space(folder: Path, n_bytes: int = 0) -> None:
    """Raise OSError, as a full disk does, unless `n_bytes` more leave the reserve free on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free - n_bytes < reserve_bytes():
        raise OSError(
            errno.ENOSPC,
            f"{free / 1e6:.0f} MB are free, {reserve_bytes() / 1e6:.0f} MB are to stay so",
            str(folder),
        )


def are_on_one_disk(first: Path, second: Path) -> bool:
    return first.stat().st_dev == second.stat().st_dev
