"""Files that no row names are deleted after a day; what a row names, or may name soon, is kept."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.test import override_settings

from tests.threads import run_concurrently
from transcription import recordings, sweeping
from transcription.jobs import lifecycle, recovery
from transcription.models import Job, Recording
from transcription.speech.audio import AudioInfo

pytestmark = [pytest.mark.both]

DAY = 86_400.0


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    sweeping._warn_of_another_database.cache_clear()
    monkeypatch.setattr(sweeping, "_not_before", {})
    with override_settings(MEDIA_ROOT=tmp_path):
        yield tmp_path


def store(name: str, *, days_old: float) -> Path:
    path = Path(default_storage.path(default_storage.save(name, ContentFile(b"a file"))))
    grow_old(path, days=days_old)
    return path


def grow_old(path: Path, *, days: float) -> None:
    written = time.time() - days * DAY
    os.utime(path, (written, written))


def make_recording(*, days_old: float) -> Recording:
    recording = Recording(name="a.flac", size=6)
    recording.file.name = f"{recordings.folder(recording)}/original.flac"
    store(recording.file.name, days_old=days_old)
    recording.save(force_insert=True)
    return recording


def is_there(recording: Recording) -> bool:
    return Path(recording.file.path).exists()


@pytest.mark.django_db
def test_files_that_no_row_names_are_swept() -> None:
    make_recording(days_old=2)
    lost = f"recordings/{uuid4()}"
    paths = [store(f"{lost}/{name}", days_old=2) for name in ("original.flac", "samples-00000.s16")]
    empty = Path(default_storage.path(f"recordings/{uuid4()}"))
    empty.mkdir()
    grow_old(empty, days=2)
    recovery.recover()
    assert not any(path.exists() for path in (*paths, paths[0].parent, empty))


@pytest.mark.django_db
def test_files_that_a_row_names_are_kept() -> None:
    kept = [make_recording(days_old=days) for days in (0, 2, 1000)]
    recovery.recover()
    assert all(is_there(recording) for recording in kept)


@pytest.mark.django_db
def test_files_whose_row_may_follow_are_kept() -> None:
    young = store(f"recordings/{uuid4()}/original.flac", days_old=0.9)
    folder = f"recordings/{uuid4()}"
    begun, being_written = (store(f"{folder}/{n}", days_old=days) for n, days in ((1, 2), (2, 0)))
    empty = Path(default_storage.path(f"recordings/{uuid4()}"))
    empty.mkdir()
    recovery.recover()
    assert all(path.exists() for path in (young, begun, being_written, empty))


@pytest.mark.django_db
def test_what_the_service_did_not_name_is_kept() -> None:
    notes = store("recordings/lost+found/notes.txt", days_old=9)
    recovery.recover()
    assert notes.exists()


class SlowStorage(FileSystemStorage):
    """A storage that takes so long to say how old a file is that its row comes meanwhile."""

    def get_modified_time(self, name: str) -> Any:
        recording_id = Path(name).parent.name
        Recording.objects.create(id=recording_id, name="a.flac", size=6, file=name)
        return super().get_modified_time(name)


@pytest.mark.django_db
def test_a_row_that_comes_while_files_are_looked_at_keeps_them(settings: Any, files: Path) -> None:
    slow = {"BACKEND": f"{__name__}.SlowStorage", "OPTIONS": {"location": str(files)}}
    settings.STORAGES = {**settings.STORAGES, "default": slow}
    path = store(f"recordings/{uuid4()}/original.flac", days_old=2)
    recovery.recover()
    assert path.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
def test_uploads_lose_nothing_while_several_workers_sweep() -> None:
    lost = [store(f"recordings/{uuid4()}/original.flac", days_old=2) for _ in range(20)]
    jobs: list[Job] = []

    def upload() -> None:
        for _ in range(10):
            with TemporaryUploadedFile("a.flac", "audio/flac", 6, None) as file:
                file.write(b"a file")
                file.flush()
                info = AudioInfo("flac", "flac", 1.0, (1,))
                recording = recordings.store_upload(upload=file, info=info)
            jobs.append(
                lifecycle.create_job(
                    recording=recording, model_name="tiny.en", language="en", diarize=False
                )
            )

    def sweep() -> None:
        for _ in range(10):
            sweeping.sweep_recordings(Recording.objects.all())

    assert run_concurrently(upload, upload, sweep, sweep) == [None] * 4
    assert len(jobs) == 20
    assert all(is_there(job.recording) for job in jobs)
    assert not any(path.exists() for path in lost)


@pytest.mark.django_db
def test_files_of_another_database_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Started with the wrong DATABASE_URL, the service would take all files for lost."""
    path = store(f"recordings/{uuid4()}/original.flac", days_old=2)
    default_storage.save("database-id", ContentFile(b"another"))
    with caplog.at_level(logging.WARNING):
        recovery.recover()
        recovery.recover()
    assert path.exists()
    assert caplog.text.count("belongs to another database") == 1


@pytest.mark.django_db
def test_a_database_that_knows_nothing_there_sweeps_nothing() -> None:
    """The files are of a service that never swept, and this database is a fresh one."""
    paths = [store(f"recordings/{uuid4()}/original.flac", days_old=300) for _ in range(3)]
    recovery.recover()
    assert all(path.exists() for path in paths)
    make_recording(days_old=0)
    recovery.recover()
    assert not any(path.exists() for path in paths)


@pytest.mark.django_db
def test_a_long_sweep_is_not_repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "CHEAP_SECONDS", 0.0)
    monkeypatch.setattr(sweeping, "MAX_SHARE", 1e-6)
    make_recording(days_old=2)
    paths = [store(f"recordings/{uuid4()}/original.flac", days_old=2)]
    recovery.recover()
    paths.append(store(f"recordings/{uuid4()}/original.flac", days_old=2))
    recovery.recover()
    assert [path.exists() for path in paths] == [False, True]


@pytest.mark.django_db
def test_what_is_left_of_an_upload_is_swept_once_nothing_was_written_for_a_day(
    settings: Any, tmp_path: Path
) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    left, in_progress = tmp_path / "left.upload", tmp_path / "in-progress.upload"
    for path, days in ((left, 2), (in_progress, 0.9)):
        path.write_bytes(b"a part")
        grow_old(path, days=days)
    recovery.recover()
    assert (left.exists(), in_progress.exists()) == (False, True)
