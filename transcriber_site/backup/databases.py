"""Copies of the database while the service uses it: SQLite by its backup API, PostgreSQL by pg_dump."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.backends.postgresql.client import DatabaseClient

from transcriber_site.backup.manifest import BackupError

SQLITE, POSTGRESQL = "sqlite", "postgresql"
FILE_OF = {SQLITE: "database.sqlite3", POSTGRESQL: "database.dump"}
MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY app, name"
RECORDINGS = "SELECT id, file FROM transcription_recording"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a copy of the database says."""

    migrations: dict[str, list[str]]
    recordings: dict[UUID, str]
    """The file of each recording, by id."""


def kind() -> str:
    """`sqlite` or `postgresql`."""
    return connection.vendor


def is_empty() -> bool:
    """Whether the database has no tables."""
    return not connection.introspection.table_names()


def size_bytes() -> int:
    """About how large a copy becomes."""
    statement = (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        if kind() == SQLITE
        else "SELECT pg_database_size(current_database())"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


def recording_ids() -> set[UUID]:
    """The recordings that there are now."""
    with connection.cursor() as cursor:
        cursor.execute(RECORDINGS)
        return set(_recordings(cursor.fetchall()))


def copy_database(target: Path) -> Snapshot:
    """Write a copy of the database as it is at one moment. Raises BackupError."""
    if is_empty():
        raise BackupError(
            "The database is empty: there is nothing to back up. TRANSCRIBER_DATA_DIR and DATABASE_URL must be "
            "those of the service."
        )
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return copy_sqlite(target) if kind() == SQLITE else _dump(target)


# ---- SQLite


def copy_sqlite(target: Path) -> Snapshot:
    """Copy the SQLite database in one step; in WAL mode writers go on meanwhile.

    Raises BackupError if it is damaged.
    """
    connection.ensure_connection()
    with closing(sqlite3.connect(target)) as copy:
        connection.connection.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a WAL beside it
        problems = [row[0] for row in copy.execute("PRAGMA quick_check(3)")]
        if problems != ["ok"]:
            raise BackupError(
                f"The database is damaged: {'; '.join(problems)}. Keep its files, and restore the last backup."
            )
        migrations = copy.execute(MIGRATIONS).fetchall()
        return Snapshot(_by_app(migrations), _recordings(copy.execute(RECORDINGS).fetchall()))


def restore_sqlite(source: Path) -> None:
    """Put a copy in the place of this installation's database, which has no tables."""
    path = Path(connection.settings_dict["NAME"])
    connection.close()
    temporary = path.with_name(f"{path.name}.restoring")
    with suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        shutil.copyfileobj(reading, writing)
        writing.flush()
        os.fsync(writing.fileno())
    for suffix in ("-wal", "-shm"):  # of the empty one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    temporary.replace(path)


# ---- PostgreSQL


def _dump(target: Path) -> Snapshot:
    """Dump what one transaction sees, which says too what the copy has in it."""
    program = _program("pg_dump")
    with closing(connection.copy()) as own, own.cursor() as cursor:
        own.set_autocommit(True)
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        snapshot_id = cursor.fetchone()[0]
        cursor.execute(MIGRATIONS)
        migrations = _by_app(cursor.fetchall())
        cursor.execute(RECORDINGS)
        files = _recordings(cursor.fetchall())
        command = [program, "--format=custom", "--no-owner", "--no-privileges"]
        _run([*command, f"--snapshot={snapshot_id}", f"--file={target}"])
        cursor.execute("ROLLBACK")
    return Snapshot(migrations, files)


def restore_postgresql(source: Path) -> None:
    """Load a dump into this installation's database, which has no tables: all of it, or nothing."""
    command = [_program("pg_restore"), "--no-owner", "--no-privileges"]
    _run([*command, "--exit-on-error", "--single-transaction", str(source)], database_option=True)


def check_tools(*, for_restore: bool = False) -> None:
    """Raises BackupError if PostgreSQL's program is not here, or older than the server."""
    if kind() == POSTGRESQL:
        _program("pg_restore" if for_restore else "pg_dump")


def _program(name: str) -> str:
    """The path of a program that can talk to this database's server. Raises BackupError."""
    server = _server_version()
    path = shutil.which(name)
    remedy = f"Install PostgreSQL's client programs of version {server} or newer on this machine"
    if path is None:
        raise BackupError(
            f"{name} is not on this machine. {remedy} (Debian: postgresql-client-{server})."
        )
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    found = re.search(r"\)\s+(\d+)", done.stdout)
    if found is None:
        raise BackupError(f"{path} does not work: {(done.stderr or done.stdout).strip()}")
    if int(found[1]) < server:
        raise BackupError(
            f"{path} is of version {found[1]}, the database's server of {server}. {remedy}."
        )
    return path


def _server_version() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        return int(cursor.fetchone()[0]) // 10_000


def _run(command: list[str], *, database_option: bool = False) -> None:
    """Run a program of PostgreSQL on this database; the password goes through its environment. Raises BackupError."""
    arguments, environment = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, [])
    *options, name = arguments[1:]  # without `psql`
    where = [*options, "--dbname", name] if database_option else [*options, name]
    first, *rest = command
    done = subprocess.run(
        [first, *where[: len(options)], *rest, *where[len(options) :]],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BackupError(f"{Path(first).name} failed: {done.stderr.strip()}")


# ---- What is in it


def _by_app(rows: Iterable[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for app, name in rows:
        found.setdefault(app, []).append(name)
    return found


def _recordings(rows: Iterable[Any]) -> dict[UUID, str]:
    return {UUID(str(each)): file for each, file in rows}
