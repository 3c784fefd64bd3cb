"""What the README says that tests show is shown by tests of these names."""

import re
from pathlib import Path

from tests.service import ROOT


def test_all_that_is_said_to_be_shown_by_a_test_is() -> None:
    section = (ROOT / "README.md").read_text().split("## What happens when", 1)[1]
    lines = [line for line in section.split("\n## ", 1)[0].splitlines() if line.startswith("| ")]
    named = [re.findall(r"`(test_\w+)` \|$", line) for line in lines[1:]]
    assert all(named), "a line names no test"
    files = Path(ROOT / "tests").rglob("test_*.py")
    there = {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}
    assert [name for names in named for name in names if name not in there] == []
    assert len(lines) > 20
