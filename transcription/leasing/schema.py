"""Whether the database's schema is that of this process's code: its migrations, compared with those applied.

During an upgrade of several machines both differ for a while. Code that is older than the schema could write rows that
break it, and code that is newer would read columns that are not there, so such a process takes no work. A worker
looks every few seconds (`watch`); others look when it matters (`look`). Work asks `is_fit`, which costs nothing.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from transcription.leasing import workers

LOOK_SECONDS = 5.0
REPEAT_LOG_SECONDS = 60.0

_logger = logging.getLogger(__name__)

Migration = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Schema:
    """`unknown` are migrations that were applied and that this code does not have; `missing` those not applied yet."""

    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """Why this process can do no work, and what to do; empty if it can."""
        if self.unknown:
            return (
                f"The database was migrated by a newer version (migration {self.unknown[0]}). "
                "Restart this process with the new version."
            )
        if self.missing:
            return (
                f"The database is not migrated yet (migration {self.missing[0]} and {len(self.missing) - 1} more). "
                "Start `manage.py serve` of this version, which migrates it, or run `manage.py migrate`."
            )
        return ""


FITS = Schema()
_seen = FITS


def look() -> Schema:
    """Compare the schema with this code now: two queries. Raises django.db.Error if the database does not answer."""
    known, replaced = _on_disk()
    applied = set(MigrationRecorder(connection).applied_migrations())
    missing = tuple(_name(one) for one in sorted(known - applied - replaced))
    return Schema(tuple(unknown_migrations(applied)), missing)


def unknown_migrations(applied: Iterable[Migration]) -> list[str]:
    """Those of `applied` that this code does not have, as `app.name`; apps that are not installed do not count."""
    known, replaced = _on_disk()
    apps = {app for app, _ in known}
    return [
        _name(one)
        for one in sorted(set(applied))
        if one[0] in apps and one not in known and one not in replaced
    ]


@cache
def _on_disk() -> tuple[frozenset[Migration], frozenset[Migration]]:
    """The migrations of this process's code, and those that squashed ones replace."""
    found = MigrationLoader(None).disk_migrations
    replaced = {one for migration in found.values() for one in migration.replaces}
    return frozenset(found), frozenset(replaced)


def _name(migration: Migration) -> str:
    return ".".join(migration)


# ---- In workers


def is_fit() -> bool:
    """Whether this process may take work: what the last look found; true where nobody looks."""
    return not _seen.problem


def problem() -> str:
    """What the last look found; empty if this process may take work."""
    return _seen.problem


def is_too_old() -> bool:
    return bool(_seen.unknown)


def look_again() -> bool:
    """Look now, and remember it; logs what changed. True if the schema fits."""
    global _seen
    before, _seen = _seen, look()
    if _seen.problem != before.problem:
        if _seen.problem:
            _logger.error("This worker takes no work. %s", _seen.problem)
        else:
            _logger.info("The database's schema is the one that this worker knows: it takes work.")
    return not _seen.problem


def watch(*, on_fit: Callable[[], object]) -> None:
    """Look now and every LOOK_SECONDS, until this process is to stop; call `on_fit` when the schema comes to fit.

    A look that fails, because the database does not answer, changes nothing.
    """

    def look_and_tell() -> None:
        was_fit = is_fit()
        if look_again() and not was_fit:
            on_fit()

    try:
        look_again()
    except Exception as error:
        _logger.warning("The database's schema could not be looked at: %r", error)
        connection.close()
    workers.repeat_until_stopping(
        look_and_tell, seconds=LOOK_SECONDS, delay=LOOK_SECONDS, name="schema"
    )
