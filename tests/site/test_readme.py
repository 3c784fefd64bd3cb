"""The README's table of failures names tests that exist."""

import re
from pathlib import Path

from tests.service import ROOT


def test_every_test_that_the_table_names_exists() -> None:
    section = (ROOT / "README.md").read_text().split("## What happens when", 1)[1]
    lines = [line for line in section.split("\n## ", 1)[0].splitlines() if line.startswith("| ")]
    named = [re.findall(r"`(test_\w+)` \|$", line) for line in lines[1:]]
    assert all(named), "a line names no test"
    files = Path(ROOT / "tests").rglob("test_*.py")
    existing = {
        name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    assert [name for names in named for name in names if name not in existing] == []
    assert len(lines) > 20
