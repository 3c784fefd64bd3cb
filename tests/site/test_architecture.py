"""The architecture page names files and functions that exist, and stays short."""

import re

from tests.service import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
ROOMS = ("", "transcription/", "transcription/speech/", "chat/")


def exists(path: str) -> bool:
    """Whether a path, or a module or function written as one, exists: `jobs/work`, `jobs/work.run`."""
    for room in ROOMS:
        whole = ROOT / (room + path)
        if whole.exists() or whole.with_suffix(".py").exists():
            return True
        module, _, name = path.rpartition(".")
        file = ROOT / f"{room}{module}.py"
        if module and file.exists() and re.search(rf"\b{name}\b", file.read_text()):
            return True
    return False


def test_it_has_at_most_150_lines() -> None:
    assert len(PAGE.splitlines()) <= 150


def test_every_path_in_it_exists() -> None:
    named = {name for name in re.findall(r"`([\w./]+)`", PAGE) if "/" in name}
    in_diagrams = set(re.findall(r"\b((?:jobs|leasing|editing|live|retranslation)/\w+)", PAGE))
    assert len(named) > 20
    assert sorted(path for path in named | in_diagrams if not exists(path)) == []


def test_every_module_that_a_room_lists_is_in_it() -> None:
    rows = re.findall(r"^\| `(transcription/[\w/]*)` \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) >= 6
    for room, description in rows:
        for module in re.findall(r"`(\w+)`", description):
            assert (ROOT / room / f"{module}.py").exists(), f"{room}{module}"


def test_every_room_with_modules_is_listed() -> None:
    folders = {path.parent for path in (ROOT / "transcription").glob("*/*.py")}
    for folder in folders:
        if folder.name not in ("migrations", "management"):
            room = f"`transcription/{folder.name}/`"
            assert room in PAGE, room


def test_functions_that_it_names_exist() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "transcription").rglob("*.py"))
    named = re.findall(r"\b(\w+)\(", PAGE) + re.findall(r"--> \w+: (\w+_\w+)", PAGE)
    for name in named:
        assert re.search(rf"\b(?:def|class) {name}\b", code), name
