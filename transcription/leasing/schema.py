"""Whether the database's schema is that of this process's code: its migrations, compared with those applied.

During an upgrade of several machines both differ for a while. Code that is older than the schema could write rows that
break it, and code that is newer would read columns that are not there: such a process takes no work. A worker looks
every few seconds (`workers.watch_schema`); others look when it matters (`look`). Asking `is_fit` costs nothing.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from django.db import Error as DatabaseFailure
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

LOOK_SECONDS = 5.0
"""How often a worker looks: so long it may take work of another schema, which then goes back to the queue."""

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


def seen() -> Schema:
    """What the last look found."""
    return _seen


def look_again(*, is_logged: bool = True) -> bool:
    """Look now, remember it, and log what changed. True if the schema fits. Raises django.db.Error."""
    global _seen
    before, _seen = _seen, look()
    if is_logged and _seen.problem != before.problem:
        log()
    return not _seen.problem


def log() -> None:
    if _seen.problem:
        _logger.error("This worker takes no work. %s", _seen.problem)
    else:
        _logger.info("The database's schema is the one that this worker knows: it takes work.")


_looked_at = -LOOK_SECONDS


def is_fit_by_now() -> bool:
    """The same as `is_fit`, by a look at most every LOOK_SECONDS; a database that does not answer changes nothing.

    For a process that looks by itself, without `workers.watch_schema`; it keeps no connection.
    """
    global _looked_at
    if time.monotonic() - _looked_at >= LOOK_SECONDS:
        _looked_at = time.monotonic()
        try:
            look_again(is_logged=False)
        except DatabaseFailure:
            _logger.debug("The database's schema could not be looked at.", exc_info=True)
        finally:
            connection.close()
    return is_fit()
