"""What all tests share: the recordings, and the real service in processes of its own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.core.management import call_command
from django.db import connection, connections

from chat.llm import loading
from tests import queued, scheduling
from tests.service import NO_PROVIDER, ON_SERVERS, OTHER_SITE, Service
from transcription import access

# What a test itself does to rows is not limited; the requests that it makes are.
access.become_service()

AUDIO = Path(__file__).parent / "audio"
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process a core for `pytest -m 'not slow'`; for a few tests their start would take longer than it saves."""
    is_fast_part = config.option.markexpr == "not slow" and not config.option.file_or_dir
    return scheduling.N_CORES if is_fast_part else 0


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.ByModule | None:
    if config.option.dist == "loadscope":
        return scheduling.ByModule(config, log)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests of this column.

    Embedded (SQLite, queue in the database): all but those marked `servers`. On PostgreSQL and Redis: those marked
    `both` or `servers`. `both` is for tests of code that differs there or depends on it: locks, races, queue,
    wake-ups, search, constraints, recovery, SQL of one dialect. All else uses the ORM alike, and runs once; so does
    what is marked `embedded` in a module that is marked `both`, such as inference.
    """
    selected = [item for item in items if _is_in_column(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in selected])
    items[:] = selected
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: scheduling.place(item.path))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and item.get_closest_marker("slow"):
        scheduling.be_as_nice_as_a_worker(item.path)


def _is_in_column(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    if not ON_SERVERS:
        return "servers" not in marks
    return bool(marks & {"both", "servers"}) and "embedded" not in marks


@pytest.fixture(autouse=True)
def _no_messages_of_another_test(request: pytest.FixtureRequest) -> None:
    """What a test did to the database is undone after it; Redis has no such thing."""
    if ON_SERVERS and request.node.get_closest_marker("django_db"):
        queued.lose_messages()


@pytest.fixture(scope="session")
def audio_dir() -> Path:
    return AUDIO


@pytest.fixture(autouse=True)
def _no_provider(settings: Any) -> None:
    """Whatever the environment says: no test talks to a language model that it did not start itself."""
    for name in NO_PROVIDER:
        setattr(settings, name, "")
    settings.TRANSCRIBER_LLM_CONTEXT_TOKENS = 0
    # A provider of another test may have had the same port a moment ago, with other models.
    loading._listings.clear()


@pytest.fixture(scope="session")
def files_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(autouse=True)
def _no_files_of_a_service(settings: Any, files_dir: Path) -> None:
    """Recovery deletes files that no row names, and the tests' database has no row of a developer's own service."""
    settings.MEDIA_ROOT = files_dir


@pytest.fixture(autouse=True)
def _static_files_are_found_when_asked_for(settings: Any) -> None:
    """Else each test's first request would list all of them, which takes longer than most of these tests do."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`manage.py serve` with a data folder of its own, for all tests that do it no harm.

    One other site's pages may use it, so that tests see which answers these can read.
    """
    with Service(
        tmp_path_factory.mktemp("service"), TRANSCRIBER_CORS_ORIGINS=OTHER_SITE
    ) as running:
        yield running


@pytest.fixture
def fresh_service(tmp_path: Path) -> Iterator[Service]:
    """A service for one test that kills parts of it."""
    with Service(tmp_path / "data") as running:
        yield running


@pytest.fixture
def database_file(tmp_path: Path) -> Iterator[None]:
    """The database as the service has it: one in memory lets no thread wait for another's transaction."""
    if connection.vendor != "sqlite":
        yield
        return
    in_memory, settings = connections["default"], connections.settings["default"]
    name, settings["NAME"] = settings["NAME"], str(tmp_path / "db.sqlite3")
    connections["default"] = connections.create_connection("default")
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connections["default"].close()
        settings["NAME"] = name
        connections["default"] = in_memory
