"""Which slow tests run in the same process, and which begin first: for pytest-xdist, see tests/__main__.py.

Groups are by names of modules: the process that gives tests to the others has not collected any, and knows names alone.
(`--dist=loadgroup`, which is for this, does nothing with pytest 9.1 and later.)
"""

import os
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

N_CORES = os.cpu_count() or 1
INFERENCE = (
    "test_ranges",
    "test_diarizer",
    "test_faster_whisper",
    "test_language_model",
    "test_diarizer_models",
    "test_openai_whisper",
    "test_attribution",
)
"""Modules that load models into the tests' own process and keep every core busy: one after the other."""
LONGEST = (
    "test_live",
    "test_recovery",
    "test_bad_input",
    "test_serve",
    "test_diarize_stage",
    "test_service",
)
"""Of the others those that begin first."""
WATCHING = ("test_live", "test_jobs_api")
"""Modules that look at the same job, which takes long: see `watched` in tests/transcription/conftest.py."""
SHARING_NOTHING = ("test_recovery", "test_faults", "test_serve")
"""Modules each of whose tests starts a service of its own."""
NICENESS = 10
"""As speech workers have it: inference in the tests' process would keep those of the other tests from theirs."""


def place(path: Path) -> int:
    """What to sort tests by."""
    order = (*INFERENCE, *LONGEST)
    return order.index(path.stem) if path.stem in order else len(order)


def be_as_nice_as_a_worker(path: Path) -> None:
    """Before a test of this module, in a process of pytest-xdist. There is no way back, nor need for one."""
    if path.stem in INFERENCE and os.nice(0) < NICENESS:
        os.nice(NICENESS)


class ByModule(LoadScopeScheduling):  # type: ignore[misc]
    """All tests of a module, which share models and recordings, run in one process."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        name = Path(path).stem
        if name in SHARING_NOTHING:
            return nodeid
        if name in INFERENCE:
            return "inference"
        return "watched" if name in WATCHING else path
