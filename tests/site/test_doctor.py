"""`manage.py doctor`: each problem of an installation with what to do, on one page; exit status 1 if there is any."""

import json
import shutil
import time
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from tests.service import ON_SERVERS
from transcriber_site import doctor, readiness
from transcriber_site.backup.making import LAST_BACKUP
from transcriber_site.backup.restoring import MARKER
from transcriber_site.doctor import Finding, Level
from transcription import recordings
from transcription.leasing import leases, schema, workers
from transcription.models import Worker

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.fixture(autouse=True)
def sound(settings: Any, tmp_path: Path) -> Path:
    """An installation without a problem."""
    for folder in (tmp_path / "data", tmp_path / "data" / "files"):
        folder.mkdir(mode=0o700)
    settings.TRANSCRIBER_DATA_DIR = tmp_path / "data"
    settings.TRANSCRIBER_FILES_DIR = settings.MEDIA_ROOT = tmp_path / "data" / "files"
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.TRANSCRIBER_CORS_ORIGINS = []
    for role in readiness.ROLES:
        Worker.objects.create(
            name=f"here/{role}/1",
            machine=leases.machine_name(),
            role=role,
            secret_id=workers.secret_id(),
            files_id=recordings.storage_id(),
            started_at=timezone.now(),
            seen_at=timezone.now(),
        )
    return tmp_path / "data"


def problems(topic: str) -> list[Finding]:
    """The problems, all of which are of one topic."""
    found = [each for each in doctor.examine() if each.level is Level.PROBLEM]
    assert {each.topic for each in found} <= {topic}, found
    return found


def only_problem(topic: str) -> Finding:
    [found] = problems(topic)
    return found


def page() -> tuple[int, str]:
    """The exit status, and what is written."""
    out = StringIO()
    try:
        call_command("doctor", stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_sound_installation_has_no_problem_and_fits_on_a_page() -> None:
    status, text = page()
    assert status == 0, text
    assert text.endswith("No problems.\n")
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) <= 120
    topics = ("database", "addresses", "accounts", "disk", "weights", "queue", "clocks", "workers")
    for topic in (*topics, "permissions", "backups", "checks"):
        assert f" {topic} " in text


def test_a_problem_is_told_with_what_to_do_and_by_the_exit_status(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    status, text = page()
    assert status == 1
    assert "PROBLEM  addresses" in text
    assert "→ Set TRANSCRIBER_ALLOWED_HOSTS" in text
    assert text.endswith("1 problems. Each has what to do below it.\n")


def test_pages_of_other_sites_and_debugging_are_problems(settings: Any) -> None:
    settings.TRANSCRIBER_CORS_ORIGINS = ["*"]
    settings.DEBUG = True
    remedies = [each.remedy for each in problems("addresses")]
    assert remedies == [
        "Set TRANSCRIBER_CORS_ORIGINS to the origins that need it.",
        "Unset TRANSCRIBER_DEBUG.",
    ]


def test_people_who_sign_in_without_tls_are_pointed_out(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    assert [found for found in doctor.examine() if "W009" in found.text]


def test_accounts_without_an_administrator_are_a_problem(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    # There is no TLS here, of which Django's own checks speak too.
    settings.SILENCED_SYSTEM_CHECKS = [
        "transcriber.W009",
        *(f"security.W{n:03}" for n in range(1, 30)),
    ]
    people = get_user_model()._default_manager
    people.create(username="ann")
    assert only_problem("accounts").remedy == "manage.py createsuperuser"
    people.create(username="bob", is_superuser=True, is_active=False)
    assert problems("accounts"), "who may not sign in is none"
    people.create(username="eve", is_superuser=True)
    assert problems("accounts") == []


@pytest.mark.parametrize(
    ("is_open", "who"), [(True, "whoever reaches the port"), (False, "whoever uses this machine")]
)
def test_without_accounts_it_says_who_can_use_the_service(
    settings: Any, is_open: bool, who: str
) -> None:
    settings.TRANSCRIBER_ACCOUNTS, settings.TRANSCRIBER_OPEN = "off", is_open
    [found] = [each for each in doctor.examine() if each.topic == "accounts"]
    assert found.level is Level.NOTE
    assert who in found.text


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1_000_000))
    found = only_problem("disk")
    assert "is full" in found.text
    assert "Delete recordings" in found.remedy


def test_a_machine_without_weights_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "list_models", list)
    assert only_problem("weights").remedy == "manage.py models download base"


@pytest.mark.parametrize("role", readiness.ROLES)
def test_a_role_without_workers_is_a_problem(role: str) -> None:
    Worker.objects.filter(role=role).update(seen_at=timezone.now() - timedelta(minutes=2))
    found = only_problem("workers")
    assert f"No {role} worker" in found.text
    assert "manage.py serve" in found.remedy


def test_workers_of_another_key_are_a_problem() -> None:
    Worker.objects.create(
        name="attic/1/1",
        machine="attic",
        role="speech",
        secret_id="another",
        files_id=recordings.storage_id(),
        started_at=timezone.now(),
        seen_at=timezone.now(),
    )
    assert "set the same TRANSCRIBER_SECRET_KEY" in only_problem("workers").text


def test_what_others_can_read_is_a_problem(sound: Path) -> None:
    sound.chmod(0o750)
    key = sound / "secret-key"
    key.write_text("secret")
    key.chmod(0o644)
    assert [each.remedy for each in problems("permissions")] == [
        f"As its owner: chmod go= {sound}",
        f"As its owner: chmod go= {key}",
    ]


@pytest.mark.parametrize(
    ("days", "is_there", "told"),
    [(1, True, ""), (8, True, "is 8 days old"), (1, False, "is not there any more")],
)
def test_a_backup_that_is_old_or_gone_is_a_problem(
    sound: Path, tmp_path: Path, days: int, is_there: bool, told: str
) -> None:
    folder = tmp_path / "backups" / "2026-11-20T03-00-00Z"
    folder.mkdir(parents=True)
    if is_there:
        (folder / "manifest.json").touch()
    made_at = datetime.now(UTC) - timedelta(days=days)
    document = {"folder": str(folder), "created_at": made_at.isoformat()}
    (sound / LAST_BACKUP).write_text(json.dumps(document))
    found = problems("backups")
    assert [told in each.text for each in found] == [True] * bool(told)
    for each in found:
        assert each.remedy == f"manage.py backup --incremental {tmp_path / 'backups'}"


def test_a_restore_that_was_interrupted_is_a_problem(sound: Path) -> None:
    (sound / MARKER).write_text("/backups/2026")
    assert only_problem("database").remedy == "Go on with it: manage.py restore /backups/2026"


@pytest.mark.parametrize(
    ("is_newer", "told"),
    [(True, "A newer version has migrated it"), (False, "is not migrated yet")],
)
def test_a_schema_of_another_version_is_a_problem(is_newer: bool, told: str) -> None:
    recorder = MigrationRecorder(connection)
    if is_newer:
        recorder.record_applied("transcription", "9999_later")
    else:
        recorder.record_unapplied(*max(schema._on_disk()[0]))
    assert told in only_problem("database").text


def test_a_database_that_does_not_answer_is_a_problem_and_the_rest_is_still_looked_at(
    monkeypatch: pytest.MonkeyPatch, sound: Path
) -> None:
    def refuse() -> Any:
        raise DatabaseError("no route to host")

    monkeypatch.setattr(connection, "cursor", refuse)
    found = doctor.examine()
    assert "no route to host" in found[0].text
    assert found[0].remedy.startswith("Check DATABASE_URL")
    topics = {each.topic for each in found}
    assert {"disk", "permissions", "addresses"} <= topics
    assert "workers" not in topics


def test_a_clock_that_is_off_is_a_problem_where_there_are_two() -> None:
    with time_machine.travel(time.time() + 3600):
        found = [each for each in doctor.examine() if each.topic == "clocks"]
    [clock] = found
    if ON_SERVERS:
        assert clock.level is Level.PROBLEM
        assert "+3600 s off" in clock.text
        assert "NTP" in clock.remedy
    else:
        assert clock.level is Level.FINE


def test_what_system_checks_find_is_among_it(settings: Any) -> None:
    settings.TRANSCRIBER_DEVICE, settings.TRANSCRIBER_COMPUTE_TYPE = "cpu", "float16"
    found = only_problem("checks")
    assert "(transcriber.E002)" in found.text
    assert found.remedy == "Use int8 or float32 on a CPU."
