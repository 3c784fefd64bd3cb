"""Which slow tests run in the same process, and which begin first: for pytest-xdist, see tests/__main__.py.

Groups are by names of modules: the process that gives tests to the others has not collected any, and knows names alone.
(`--dist=loadgroup`, which is for this, does nothing with pytest 9.1 and later.)
"""

from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

LONGEST = (
    "test_ranges",
    "test_serve",
    "test_faster_whisper",
    "test_bad_input",
    "test_diarizer",
    "test_recovery",
    "test_language_model",
)
"""Modules that begin first, inference and what waits for it in turn."""
WATCHING = ("test_live", "test_jobs_api", "test_suspects")
"""Modules that look at the same job, which takes long: see `watched` in tests/transcription/conftest.py."""
SHARING_NOTHING = ("test_recovery", "test_faults", "test_serve")
"""Modules each of whose tests starts a service of its own."""


def place(path: Path) -> int:
    """What to sort tests by."""
    return LONGEST.index(path.stem) if path.stem in LONGEST else len(LONGEST)


class ByModule(LoadScopeScheduling):  # type: ignore[misc]
    """All tests of a module, which share models and recordings, run in one process."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        name = Path(path).stem
        if name in SHARING_NOTHING:
            return nodeid
        return "watched" if name in WATCHING else path
