"""`make soak`: does the canary notice it if one place forgets whose rows it reads?

Each mutant is a copy of the project in which one place is changed: it reads all rows, or one of the conditions in
`transcription/access.py` is gone. The canary must fail for each, except where a reason stands here.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CANARY = tuple(
    f"tests/accounts/{name}.py" for name in ("test_canary", "test_canary_in_admin", "test_sockets")
)
NOT_COPIED = (".venv", ".git", "data", "build", "results", "__pycache__", ".*_cache", "*.egg-info")
ENTRIES = (
    "transcription/api.py",
    "transcription/pages.py",
    "transcription/request_checks.py",
    "transcription/editing/api.py",
    "transcription/editing/services.py",
    "transcription/live/consumers.py",
    "transcription/sharing/links.py",
    "transcription/sharing/pages.py",
    "transcription/sharing/services.py",
    "transcription/transcript/search.py",
    "transcription/locks.py",
    "summaries/api.py",
    "summaries/services.py",
    "retranslation/api.py",
    "retranslation/proposals.py",
    "retranslation/services.py",
)
"""Modules that read rows for a request."""
QUERY = re.compile(r"\b([A-Z]\w+)\.objects\b")
CONDITIONS = {
    "transcription/access.py": (
        (
            "return rows.filter(_is_covered(self.model.scope, access))",
            "return rows",
        ),
        ("shares = shares.filter(role=share.Role.EDITOR)", "pass"),
        ("if not is_owner(recording):", "if False:"),
        ("shown = Q(pk__in=() if access.changes else access.recording_ids)", "shown = Q()"),
        ("Q(owner=access.user_id)\n", "Q()\n"),
        ("Q(user=access.user_id) | Q(group", "Q() | Q(group"),
        ('recording=OuterRef("pk")', "pk__gt=0"),
        ('": True}, owner=access.user_id)', '": True})'),
    ),
    "accounts/middleware.py": (
        ("if not who.can_write and request.method not in access.SAFE_METHODS:", "if False:"),
        ("if not (who.is_known or shown or ", "if not (True or "),
    ),
}
"""Conditions that a mutant drops: file, what stands there, and what stands there then."""
NEVER_ALONE = {
    ("transcription/editing/services.py", "Diarization"): "of a job that was found before",
    ("transcription/editing/services.py", "SegmentEdit"): "of a job that was found before",
    ("transcription/editing/services.py", "Edit"): "creates a row of a job that was found before",
    ("transcription/editing/services.py", "Segment"): "its job is looked for among one's own",
    ("transcription/editing/api.py", "SegmentEdit"): "of edits of a job that was found before",
    ("transcription/api.py", "Diarization"): "of a job that was found before",
    ("transcription/locks.py", "Job"): "of a job or segment that was found before",
    ("transcription/pages.py", "Job"): "of a job that was found before",
    ("transcription/pages.py", "Segment"): "of jobs that were found before",
    (
        "transcription/transcript/search.py",
        "Segment",
    ): "only ids, then jobs that are found among one's own",
    ("transcription/sharing/links.py", "ShareLink"): "creates a row, of a recording whose owner "
    "asks, or of a token or cookie that is checked first",
    ("transcription/sharing/pages.py", "Job"): "of a link that was opened by its token",
    ("transcription/sharing/services.py", "Share"): "of a recording whose owner asks",
    ("transcription/sharing/services.py", "Group"): "names of groups, which are nobody's own",
    ("transcription/sharing/services.py", "Job"): "only ids, of jobs that were found before",
    ("summaries/services.py", "Summary"): "creates a row, or a worker's",
    ("retranslation/services.py", "Retranslation"): "creates a row, or a worker's",
    ("retranslation/services.py", "Batch"): "creates a row",
    ("retranslation/proposals.py", "Retranslation"): "of one that was found before",
    ("retranslation/proposals.py", "SegmentChange"): "of one that was found before",
    ("retranslation/proposals.py", "Chunk"): "of a job that was found before",
    ("retranslation/proposals.py", "Diarization"): "of a job that was found before",
}
"""Places behind another that has asked already: a mutant there is no leak, with the reason."""


@dataclass(frozen=True)
class Mutant:
    path: str
    start: int
    end: int
    text: str

    def __str__(self) -> str:
        lines = (ROOT / self.path).read_text()[: self.start].count("\n") + 1
        return f"{self.path}:{lines} → {self.text}"


def mutants() -> Iterator[Mutant]:
    for path in ENTRIES:
        for match in QUERY.finditer((ROOT / path).read_text()):
            if (path, match[1]) not in NEVER_ALONE:
                yield Mutant(path, match.start(), match.end(), f"{match[1]}._base_manager")
    for path, changes in CONDITIONS.items():
        source = (ROOT / path).read_text()
        for before, after in changes:
            if source.count(before) != 1:
                raise SystemExit(f"{path} has not exactly one {before!r}: adapt {__file__}.")
            start = source.index(before)
            yield Mutant(path, start, start + len(before), after)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the project, to be changed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        yield copy


def is_noticed(mutant: Mutant, copy: Path, *, canary: Sequence[str] = CANARY) -> bool:
    """Whether the canary, run on the mutant, fails by an assertion of its own."""
    source = (ROOT / mutant.path).read_text()
    target = copy / mutant.path
    target.write_text(source[: mutant.start] + mutant.text + source[mutant.end :])
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "-p", "no:cacheprovider"]
    # It is no worker of the pytest that runs this one, if any does.
    environment = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}
    try:
        run = subprocess.run(
            [*command, *canary],
            cwd=copy,
            env={**environment, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            timeout=600,
        )
    finally:
        target.write_text(source)
    return run.returncode == 1 and "FAILED" in run.stdout and "AssertionError" in run.stdout


def main() -> int:
    survivors = []
    with copied() as copy:
        for mutant in mutants():
            noticed = is_noticed(mutant, copy)
            verdict = "noticed " if noticed else "SURVIVES"
            sys.stdout.write(f"{verdict} {mutant}\n")
            sys.stdout.flush()
            survivors += [] if noticed else [mutant]
    return len(survivors)


if __name__ == "__main__":
    sys.exit(main())
