"""What is wrong with this installation, and what to do about it: the findings of `manage.py doctor`.

Readiness and system checks are asked, not repeated; here is what only a person at the machine can mend.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.db import connection

from transcriber_site import data_dir, readiness
from transcriber_site.backup.making import LAST_BACKUP
from transcriber_site.backup.restoring import unfinished_restore
from transcriber_site.readiness import Readiness
from transcription.jobs.installed_models import list_models
from transcription.leasing import schema
from transcription.models import Job

MAX_BACKUP_AGE = timedelta(days=7)
MAX_CLOCK_SECONDS = 30.0


class Level(Enum):
    FINE = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True)
class Finding:
    topic: str
    level: Level
    text: str
    remedy: str = ""


def examine() -> list[Finding]:
    """All findings, topic by topic. What needs the database is left out if it cannot be used."""
    found = [*_database()]
    is_usable = all(finding.level is not Level.PROBLEM for finding in found)
    examinations: list[Callable[[], Iterator[Finding]]] = [
        _addresses,
        _disk,
        _permissions,
        _backups,
    ]
    if is_usable:
        examinations += [_accounts, _clocks, _weights, _queue, _workers]
    for look in (*examinations, _system_checks):
        found += look()
    return found


def _fine(topic: str, text: str) -> Finding:
    return Finding(topic, Level.FINE, text)


def _note(topic: str, text: str, remedy: str = "") -> Finding:
    return Finding(topic, Level.NOTE, text, remedy)


def _problem(topic: str, text: str, remedy: str) -> Finding:
    return Finding(topic, Level.PROBLEM, text, remedy)


def _problems_of(
    topic: str, check: Callable[[Readiness], object], *, remedy: str
) -> tuple[Readiness, list[Finding]]:
    """What a check of the readiness finds, as findings."""
    found = Readiness()
    check(found)
    findings = [_problem(topic, text, remedy) for text in found.problems]
    return found, findings + [_note(topic, text) for text in found.warnings]


# ---- State


def _database() -> Iterator[Finding]:
    _, problems = _problems_of(
        "database",
        readiness.check_database,
        remedy="Check DATABASE_URL, and that the database's server runs.",
    )
    if folder := unfinished_restore():
        yield _problem(
            "database", "A restore was interrupted.", f"Go on with it: manage.py restore {folder}"
        )
    if problems:
        yield from problems
        return
    found = schema.look()
    if found.unknown:
        yield _problem(
            "database",
            f"A newer version has migrated it (migration {found.unknown[0]}).",
            "Install that version here too.",
        )
    elif found.missing:
        yield _problem(
            "database",
            f"It is not migrated yet: {len(found.missing)} migrations are missing.",
            "Start the service (manage.py serve), or run manage.py migrate.",
        )
    else:
        yield _fine("database", f"{connection.vendor}; its schema is this version's.")


def _disk() -> Iterator[Finding]:
    found, problems = _problems_of(
        "disk",
        readiness.check_disk,
        remedy="Delete recordings that are no longer needed, or move TRANSCRIBER_DATA_DIR to a larger disk.",
    )
    yield from problems
    if not problems:
        free = ", ".join(
            f"{each['free_bytes'] / 1e9:.1f} GB free at {each['folder']}"
            for each in found.parts["disk"]
        )
        yield _fine("disk", f"{free}.")


def _permissions() -> Iterator[Finding]:
    paths = [Path(settings.TRANSCRIBER_DATA_DIR), Path(settings.MEDIA_ROOT)]
    paths += [Path(settings.TRANSCRIBER_DATA_DIR) / "secret-key"]
    if connection.vendor == "sqlite":
        database = Path(connection.settings_dict["NAME"])
        paths += [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")]
    is_open = [path for path in paths if path.exists() and data_dir.is_open_to_others(path)]
    for path in is_open:
        yield _problem(
            "permissions",
            f"Other users of this machine have rights to {path}.",
            f"As its owner: chmod go= {path}",
        )
    if not is_open:
        yield _fine("permissions", "Only the service's user can read what it stores.")


def _backups() -> Iterator[Finding]:
    try:
        last = json.loads((Path(settings.TRANSCRIBER_DATA_DIR) / LAST_BACKUP).read_text())
        made_at = datetime.fromisoformat(last["created_at"])
    except (OSError, ValueError, KeyError):
        yield _note("backups", "None was made of this installation.", "manage.py backup DIRECTORY")
        return
    folder, age = last["folder"], datetime.now(UTC) - made_at
    text = f"The last one is {age.days} days old: {folder}."
    again = f"manage.py backup --incremental {Path(folder).parent}"
    if not (Path(folder) / "manifest.json").is_file():
        yield _problem("backups", f"The last one is not there any more: {folder}.", again)
    elif age > MAX_BACKUP_AGE:
        yield _problem("backups", text, again)
    else:
        yield _fine("backups", text)


# ---- People and addresses


def _addresses() -> Iterator[Finding]:
    problems = []
    if "*" in settings.ALLOWED_HOSTS:
        problems.append(
            _problem(
                "addresses",
                "The service answers to any host name: a web page can reach it through a name of its own.",
                "Set TRANSCRIBER_ALLOWED_HOSTS to the names under which it is called.",
            )
        )
    if "*" in settings.TRANSCRIBER_CORS_ORIGINS:
        problems.append(
            _problem(
                "addresses",
                "Every web page that its users visit may use the API.",
                "Set TRANSCRIBER_CORS_ORIGINS to the origins that need it.",
            )
        )
    if settings.DEBUG:
        problems.append(
            _problem(
                "addresses",
                "TRANSCRIBER_DEBUG is on: errors show settings and code to whoever meets them.",
                "Unset TRANSCRIBER_DEBUG.",
            )
        )
    yield from problems
    if not problems:
        names = ", ".join(settings.ALLOWED_HOSTS) or "localhost"
        yield _fine("addresses", f"It answers to {names}.")


def _accounts() -> Iterator[Finding]:
    people = get_user_model()._default_manager.filter(is_active=True)
    n_people, n_administrators = people.count(), people.filter(is_superuser=True).count()
    if settings.TRANSCRIBER_ACCOUNTS == "off":
        who = (
            "whoever reaches the port (TRANSCRIBER_OPEN)"
            if settings.TRANSCRIBER_OPEN
            else "whoever uses this machine"
        )
        yield _note("accounts", f"Off: {who} can use the service.")
    elif not n_administrators:
        yield _problem(
            "accounts",
            f"{n_people} people, and none of them an administrator.",
            "manage.py createsuperuser",
        )
    else:
        yield _fine("accounts", f"{n_people} people, {n_administrators} of them administrators.")


# ---- Work


def _clocks() -> Iterator[Finding]:
    if connection.vendor == "sqlite":
        yield _fine("clocks", "The database is on this machine.")
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        there: datetime = cursor.fetchone()[0]
    apart = (datetime.now(UTC) - there).total_seconds()
    if abs(apart) > MAX_CLOCK_SECONDS:
        yield _problem(
            "clocks",
            f"This machine's clock is {apart:+.0f} s off the database's.",
            "Synchronize both (NTP): uploads and edits carry this machine's time.",
        )
    else:
        yield _fine("clocks", f"This machine and the database differ by {abs(apart):.1f} s.")


def _weights() -> Iterator[Finding]:
    here = [model.name for model in list_models() if model.is_downloaded]
    if here:
        yield _fine("weights", f"Models: {', '.join(here)}.")
    else:
        yield _problem(
            "weights",
            "No speech model is here, and no worker has one.",
            "manage.py models download base",
        )


def _queue() -> Iterator[Finding]:
    found, problems = _problems_of(
        "queue",
        readiness.check_queue,
        remedy="Check REDIS_URL, and that Redis runs."
        if settings.REDIS_URL
        else "See the database.",
    )
    yield from problems
    if not problems:
        n_jobs = Job.objects.filter(status__in=Job.ACTIVE).count()
        waiting = sum(found.parts["queue"]["waiting"].values())
        yield _fine("queue", f"{n_jobs} jobs under way, {waiting} messages waiting.")


def _workers() -> Iterator[Finding]:
    found = Readiness()
    readiness.check_workers(found)
    missing = [role for role, n in found.parts["workers"].items() if not n]
    for role in missing:
        yield _problem(
            "workers",
            f"No {role} worker was seen within the last minute.",
            f"Start the service (manage.py serve), or on another machine: make serve ONLY={role}",
        )
    for text in found.warnings:
        yield Finding("workers", Level.PROBLEM, text)  # which says what to do
    if not missing and not found.warnings:
        counts = ", ".join(f"{n} {role}" for role, n in found.parts["workers"].items())
        yield _fine("workers", f"{counts}.")


def _system_checks() -> Iterator[Finding]:
    is_shared = settings.TRANSCRIBER_ACCOUNTS != "off"
    found = checks.run_checks(include_deployment_checks=is_shared)
    messages = [one for one in found if not one.is_silenced()]
    for message in messages:
        level = Level.PROBLEM if message.level >= checks.WARNING else Level.NOTE
        yield Finding("checks", level, f"{message.msg} ({message.id})", str(message.hint or ""))
    if not messages:
        yield _fine("checks", "manage.py check finds nothing.")
