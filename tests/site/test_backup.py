"""Backups: made while the service runs, incremental, verified, never half; restored into empty installations alone."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from tests.installation import installed_at, table
from tests.service import ROOT
from transcriber_site import env
from transcriber_site.backup import databases, files, making, restoring
from transcriber_site.backup.manifest import MANIFEST, backups_in, read_manifest
from transcriber_site.backup.settings_file import settings_text
from transcriber_site.management.commands import serve
from transcription import recordings
from transcription.jobs.retry_and_delete import delete_recording
from transcription.models import Job, Recording, Worker

TABLES = ("transcription_recording", "transcription_job", "transcription_segment")


@pytest.fixture
def installation(tmp_path: Path, django_db_blocker: Any) -> Iterator[Path]:
    """An installation with two recordings, which is the one in use."""
    with django_db_blocker.unblock(), installed_at(tmp_path / "data") as folder:
        recordings.storage_id()
        for name in ("first", "second"):
            add_recording(name)
        yield folder


def add_recording(name: str) -> Recording:
    recording = Recording(name=f"{name}.flac", size=len(name))
    folder = recordings.folder(recording)
    content = ContentFile(name.encode())
    recording.file.name = default_storage.save(f"{folder}/original.flac", content)
    default_storage.save(f"{folder}/samples-00000.s16", ContentFile(name.encode() * 1000))
    recording.save(force_insert=True)
    Job.objects.create(recording=recording, model_name="tiny.en", message=f"said {name}")
    return recording


def backup(directory: Path, *options: str) -> str:
    out = StringIO()
    call_command("backup", str(directory), *options, stdout=out, stderr=out)
    return out.getvalue()


def restore(directory: Path) -> str:
    out = StringIO()
    call_command("restore", str(directory), stdout=out)
    return out.getvalue()


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != recordings.STORAGE_ID
    }


def last(directory: Path) -> Path:
    return backups_in(directory)[-1]


# ---- Making


def test_a_backup_is_restored_elsewhere_with_all_rows_and_files(
    installation: Path, tmp_path: Path
) -> None:
    rows = {name: table(name) for name in TABLES}
    stored = contents(installation / "files")
    text = backup(tmp_path / "backups")
    assert "4 files copied" in text
    assert "The secret key and other secrets are not in it" in text
    with installed_at(tmp_path / "other", migrated=False) as other:
        assert "nothing else is lost" in " ".join(restore(tmp_path / "backups").split())
        assert {name: table(name) for name in TABLES} == rows
        assert len(rows["transcription_job"]) == 2
        assert contents(other / "files") == stored
        assert not (other / restoring.MARKER).exists()
        assert add_recording("third").pk, "it goes on"


def test_a_backup_is_for_its_user_alone(installation: Path, tmp_path: Path) -> None:
    backup(tmp_path / "backups")
    for path in (tmp_path / "backups", *last(tmp_path / "backups").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_manifest_says_what_the_backup_is_of(installation: Path, tmp_path: Path) -> None:
    backup(tmp_path / "backups")
    manifest = read_manifest(last(tmp_path / "backups"))
    assert manifest.database == "sqlite"
    assert manifest.version
    assert "0001_initial" in manifest.migrations["transcription"]
    assert 0 <= manifest.age_seconds() < 600
    assert set(manifest.files) == {
        "database.sqlite3",
        "settings.env",
        *(f"files/{name}" for name in contents(installation / "files")),
    }
    assert manifest.deleted == manifest.missing == []


def test_what_is_written_during_a_backup_waits_for_nothing_and_leaves_it_consistent(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording that is added between the copy of the database and that of the files is in neither's way."""
    copy = databases.copy_database

    def copy_then_add(target: Path) -> Any:
        done = copy(target)
        add_recording("meanwhile")
        return done

    monkeypatch.setattr(databases, "copy_database", copy_then_add)
    backup(tmp_path / "backups")
    with installed_at(tmp_path / "other", migrated=False) as other:
        restore(tmp_path / "backups")
        assert sorted(Recording.objects.values_list("name", flat=True)) == [
            "first.flac",
            "second.flac",
        ]
        for recording in Recording.objects.all():
            assert (other / "files" / str(recording.file.name)).is_file()


def test_a_writer_is_not_kept_waiting_by_a_backup(installation: Path, tmp_path: Path) -> None:
    """In WAL mode; the copy holds a read transaction for one step."""
    stop, n_written, failures = threading.Event(), [0], []

    def write() -> None:
        try:
            while not stop.is_set():
                Job.objects.update(message=f"written {n_written[0]}")
                n_written[0] += 1
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            backup(tmp_path / "backups")
    finally:
        stop.set()
        writer.join()
    assert not failures
    assert n_written[0] > 0
    assert len(backups_in(tmp_path / "backups")) == 3
    for folder in backups_in(tmp_path / "backups"):
        assert "is whole" in backup(folder, "--verify")


def test_recordings_deleted_during_a_backup_are_deleted_in_what_is_restored(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One before its files are listed, one while files are copied."""
    add_recording("third")
    first, second = (Recording.objects.get(name=f"{name}.flac") for name in ("first", "second"))
    copy_database, copy_file = databases.copy_database, files.copy_file

    def copy_then_delete(target: Path) -> Any:
        done = copy_database(target)
        delete_recording(recording_id=first.pk)
        return done

    def delete_then_copy(source: Path, target: Path) -> Any:
        delete_recording(recording_id=second.pk)
        return copy_file(source, target)

    monkeypatch.setattr(databases, "copy_database", copy_then_delete)
    monkeypatch.setattr(files, "copy_file", delete_then_copy)
    backup(tmp_path / "backups")
    manifest = read_manifest(last(tmp_path / "backups"))
    assert {UUID(each) for each in manifest.deleted} == {first.pk, second.pk}
    assert manifest.missing == []
    assert "is whole" in backup(tmp_path / "backups", "--verify")
    monkeypatch.undo()
    with installed_at(tmp_path / "other", migrated=False) as other:
        assert "2 recordings were deleted" in restore(tmp_path / "backups")
        assert [each.name for each in Recording.objects.all()] == ["third.flac"]
        stored = " ".join(contents(other / "files"))
        assert str(first.pk) not in stored
        assert str(second.pk) not in stored


def test_files_that_were_lost_before_are_named(installation: Path, tmp_path: Path) -> None:
    lost = str(Recording.objects.get(name="first.flac").file.name)
    default_storage.delete(lost)
    assert f"Not in the backup, because it is lost: {lost}" in backup(tmp_path / "backups")


def test_a_file_that_is_being_written_is_copied_again(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = tmp_path / "piece"
    piece.write_bytes(b"half")
    copy, n_copies = files._copy, 0

    def copy_while_written(source: Path, target: Path) -> tuple[int, str]:
        nonlocal n_copies
        done = copy(source, target)
        n_copies += 1
        if n_copies == 1:
            piece.write_bytes(b"half and half")
        return done

    monkeypatch.setattr(files, "_copy", copy_while_written)
    entry = files.copy_file(piece, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"half and half"
    assert (entry.size, n_copies) == (13, 2)


# ---- Incremental


def test_an_incremental_backup_copies_only_what_is_new(installation: Path, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    backup(directory)
    first = last(directory)
    added = add_recording("third")
    text = backup(directory, "--incremental")
    second = last(directory)
    assert second != first
    assert "2 files copied" in text
    assert "4 unchanged" in text
    old = read_manifest(first).files
    for path in read_manifest(second).files:
        if path.startswith("files/"):
            is_new = str(added.pk) in path
            assert (path not in old) == is_new
            assert os.stat(second / path).st_nlink == (1 if is_new else 2)
    shutil.rmtree(first)
    assert "is whole" in backup(directory, "--verify"), "it is whole by itself"
    with installed_at(tmp_path / "other", migrated=False):
        restore(directory)
        assert Recording.objects.count() == 3


def test_a_piece_that_was_written_again_is_copied_again(installation: Path, tmp_path: Path) -> None:
    """As after a preparation that was interrupted while it wrote."""
    directory = tmp_path / "backups"
    backup(directory)
    first = last(directory)
    [piece] = (installation / "files").glob(
        f"recordings/{Recording.objects.get(name='first.flac').pk}/samples-00000.s16"
    )
    path = f"files/{piece.relative_to(installation / 'files').as_posix()}"
    before = (first / path).read_bytes()
    piece.write_bytes(b"all of it")
    assert "1 files copied" in backup(directory, "--incremental")
    assert (last(directory) / path).read_bytes() == b"all of it"
    assert (first / path).read_bytes() == before, "the earlier backup is as it was"


def test_without_hard_links_an_incremental_backup_copies_all_and_says_so(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no links here")

    backup(tmp_path / "backups")
    monkeypatch.setattr(os, "link", refuse)
    text = backup(tmp_path / "backups", "--incremental")
    assert "4 files copied" in text
    assert "no hard links" in text
    assert "is whole" in backup(tmp_path / "backups", "--verify")


# ---- Never half


KILLED = """
import os, signal, sys, django
django.setup()
from transcriber_site.backup import files
copy, done = files.copy_file, []
def copy_then_die(source, target):
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(copy(source, target))
    return done[-1]
files.copy_file = copy_then_die
from django.core.management import call_command
call_command("backup", sys.argv[1])
"""


def test_a_backup_that_was_killed_is_none_and_the_next_one_removes_it(
    installation: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "backups"
    environment = {
        **os.environ,
        "TRANSCRIBER_DATA_DIR": str(installation),
        "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
        "DATABASE_URL": "",
    }
    command = [sys.executable, "-c", KILLED, str(directory)]
    assert subprocess.run(command, cwd=ROOT, env=environment).returncode == -signal.SIGKILL
    [left] = directory.glob(".unfinished-*")
    assert backups_in(directory) == []
    with pytest.raises(CommandError, match="There is no backup in"):
        backup(directory, "--verify")
    with pytest.raises(CommandError, match="There is no backup in"):
        restore(left)
    backup(directory)
    assert not left.exists()
    assert len(backups_in(directory)) == 1


def test_a_backup_that_fails_leaves_nothing(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(files, "copy_file", fail)
    with pytest.raises(CommandError, match="No space left on device"):
        backup(tmp_path / "backups")
    assert [each.name for each in (tmp_path / "backups").iterdir()] == [".lock"]
    assert not (installation / making.LAST_BACKUP).exists()


def test_a_disk_without_room_is_told_before_anything_is_written(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 200_000_001))
    with pytest.raises(CommandError, match="has no room: the backup needs") as told:
        backup(tmp_path / "backups")
    assert "Delete old backups" in str(told.value)
    assert [each.name for each in (tmp_path / "backups").iterdir()] == [".lock"]


def test_two_backups_at_once_into_one_folder_are_refused(
    installation: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    with making._only_one(directory), pytest.raises(CommandError, match="Another backup"):
        backup(directory)
    backup(directory)


def test_a_folder_among_the_recordings_is_refused(installation: Path) -> None:
    with pytest.raises(CommandError, match="Choose a folder elsewhere"):
        backup(installation / "files" / "backups")
    assert not (installation / "files" / "backups").exists()


def test_a_database_without_tables_is_not_backed_up(tmp_path: Path, django_db_blocker: Any) -> None:
    with (
        django_db_blocker.unblock(),
        installed_at(tmp_path / "data", migrated=False),
        pytest.raises(CommandError, match="there is nothing to back up"),
    ):
        backup(tmp_path / "backups")


# ---- Verifying


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.unlink(), "is missing"),
        (flip_a_byte, "has another content"),
        (lambda path: path.write_bytes(b"RIFF"), "has 4 bytes; it had"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "is missing"),
    ],
)
@pytest.mark.parametrize("what", ["database.sqlite3", "files/recordings/*/samples-00000.s16"])
def test_a_damaged_backup_is_found_out_and_not_restored(
    installation: Path, tmp_path: Path, what: str, harm: Any, told: str
) -> None:
    backup(tmp_path / "backups")
    harm(next(last(tmp_path / "backups").glob(what)))
    with pytest.raises(CommandError, match=told):
        backup(tmp_path / "backups", "--verify")
    with installed_at(tmp_path / "other", migrated=False) as other:
        with pytest.raises(CommandError, match="Nothing was restored"):
            restore(tmp_path / "backups")
        assert contents(other / "files") == {}
        assert databases.is_empty()
        assert restoring.unfinished_restore() == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda document: document.update(format=2), "in a format that this one does not know"),
        (lambda document: document["files"].update({"files/../../x": {}}), "is damaged"),
        (
            lambda document: document["files"].update(
                {"/etc/passwd": document["files"]["settings.env"]}
            ),
            "is damaged",
        ),
        (lambda document: document.pop("migrations"), "is damaged"),
        (
            lambda document: document["migrations"]["transcription"].append("9999_later"),
            "made by a newer version .* Install that version",
        ),
        (lambda document: document.update(database="postgresql"), "Set DATABASE_URL to an empty"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused(
    installation: Path, tmp_path: Path, change: Any, told: str
) -> None:
    backup(tmp_path / "backups")
    path = last(tmp_path / "backups") / MANIFEST
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with installed_at(tmp_path / "other", migrated=False) as other:
        with pytest.raises(CommandError, match=told):
            restore(tmp_path / "backups")
        assert contents(other / "files") == {}
        assert databases.is_empty()


def test_a_manifest_that_breaks_off_is_found_out(installation: Path, tmp_path: Path) -> None:
    backup(tmp_path / "backups")
    path = last(tmp_path / "backups") / MANIFEST
    path.write_text(path.read_text()[:-100])
    with pytest.raises(CommandError, match="cannot be read"):
        backup(tmp_path / "backups", "--verify")


# ---- Restoring


def test_an_installation_with_anything_in_it_is_left_alone(
    installation: Path, tmp_path: Path
) -> None:
    backup(tmp_path / "backups")
    add_recording("third")
    rows, stored = table("transcription_recording"), contents(installation / "files")
    with pytest.raises(CommandError, match="its database has tables"):
        restore(tmp_path / "backups")
    assert table("transcription_recording") == rows
    assert contents(installation / "files") == stored
    with installed_at(tmp_path / "other", migrated=False) as other:
        (other / "files" / "recordings").mkdir()
        (other / "files" / "recordings" / "something").write_bytes(b"here")
        with pytest.raises(CommandError, match="has files"):
            restore(tmp_path / "backups")
        assert contents(other / "files") == {"recordings/something": b"here"}
        assert databases.is_empty()


@pytest.mark.parametrize("where", ["files", "database", "migrations"])
def test_an_interrupted_restore_goes_on_and_nothing_starts_meanwhile(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    backup(tmp_path / "backups")
    with installed_at(tmp_path / "other", migrated=False) as other:

        def fail(*_: Any, **__: Any) -> None:
            raise OSError("the power failed")

        if where == "files":
            copy_file = files.copy_file
            copied: list[Any] = []

            def copy_one(source: Path, target: Path) -> Any:
                if copied:
                    fail()
                copied.append(copy_file(source, target))
                return copied[0]

            monkeypatch.setattr(restoring, "copy_file", copy_one)
        elif where == "database":
            monkeypatch.setattr(databases, "restore_sqlite", fail)
        else:
            monkeypatch.setattr(restoring, "_remove_what_is_over", fail)
        with pytest.raises((CommandError, OSError), match="the power failed"):
            restore(tmp_path / "backups")
        with pytest.raises(CommandError, match="A restore was interrupted"):
            serve.check_restored()
        monkeypatch.undo()
        restore(tmp_path / "backups")
        serve.check_restored()
        assert Recording.objects.count() == 2
        assert len(contents(other / "files")) == 5 - 1


def test_workers_and_messages_of_the_other_installation_are_not_restored(
    installation: Path, tmp_path: Path
) -> None:
    now = timezone.now()
    Worker.objects.create(
        name="there/1/2", machine="there", role="speech", started_at=now, seen_at=now
    )
    OrmQ.objects.create(key="speech", payload="signed with another key", lock=now)
    backup(tmp_path / "backups")
    with installed_at(tmp_path / "other", migrated=False):
        restore(tmp_path / "backups")
        assert not Worker.objects.exists()
        assert not OrmQ.objects.exists()


# ---- Settings


def test_settings_are_kept_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "TRANSCRIBER_SECRET_KEY": "hidden-one",
        "OPENAI_API_KEY": "hidden-two",
        "HF_TOKEN": "hidden-three",
        "DATABASE_URL": "postgres://ann:hidden-four@db.example.org/x?sslmode=require&password=hidden-five",
        "REDIS_URL": "redis://:hidden-six@db.example.org:6379/0",
        "TRANSCRIBER_SPEECH_WORKERS": "3",
        "TRANSCRIBER_LLM_MODEL": "a model",
    }
    for name in list(os.environ):
        if name.removesuffix("_FILE") in env.known_names():
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_BASE_URL_FILE", "/run/secrets/address")
    text = settings_text()
    assert "hidden" not in text
    assert "postgres://ann:***@db.example.org/x?sslmode=require&password=***" in text
    assert "redis://:***@db.example.org:6379/0" in text
    lines = text.splitlines()
    assert "TRANSCRIBER_SPEECH_WORKERS=3" in lines
    assert "TRANSCRIBER_LLM_MODEL='a model'" in lines
    assert "OPENAI_BASE_URL_FILE=/run/secrets/address" in lines
    for name in ("TRANSCRIBER_SECRET_KEY", "OPENAI_API_KEY", "HF_TOKEN"):
        assert f"# {name} was set; it is not in the backup." in lines
    done = subprocess.run(
        ["sh", "-c", f"{text}\necho $TRANSCRIBER_LLM_MODEL"], capture_output=True, text=True
    )
    assert done.stdout == "a model\n", "a shell can read it"
