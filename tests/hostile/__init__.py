"""Files that are hostile or damaged, made by code: what they declare is more than they hold, or something else."""

from tests.hostile import flac, matroska, mp4, others, riff, tags
from tests.hostile.base import HostileFile


def hostile_files() -> list[HostileFile]:
    """All but the playlists: each is small on the disk, or sparse."""
    return [
        *mp4.files(),
        *riff.files(),
        *flac.files(),
        *tags.files(),
        *matroska.files(),
        *others.other_containers(),
        *others.no_media(),
    ]
