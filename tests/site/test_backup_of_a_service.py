"""A backup of a service at work is restored elsewhere: the transcripts are equal, and the job that ran goes on."""

import shutil
from pathlib import Path

import psycopg
import pytest

from tests import servers
from tests.media import RATE, samples_of, write
from tests.running_jobs import completed, in_state, midway, spoken, undisturbed
from tests.service import ON_SERVERS, Service
from tests.waiting_engine import SETTINGS, Gate

pytestmark = [pytest.mark.slow, pytest.mark.both]

CLIP_SECONDS = 200


@pytest.fixture
def clip(audio_dir: Path, tmp_path: Path) -> Path:
    """Three chunks."""
    samples = samples_of(audio_dir / "reading-10min.flac")[: CLIP_SECONDS * RATE]
    return write(tmp_path / "clip.wav", samples)


def elsewhere(folder: Path, service: Service) -> Service:
    """Another installation, which has nothing yet: no files, no database, no key of the first one's."""
    made: dict[str, str] = {}
    if ON_SERVERS:
        server = service.settings["DATABASE_URL"]
        made = {
            "DATABASE_URL": servers.create_database(server),
            "REDIS_URL": service.settings["REDIS_URL"],
        }
    return Service(folder, **SETTINGS, **made)


def test_a_restored_backup_has_equal_transcripts_and_goes_on(
    tmp_path: Path, clip: Path, audio_dir: Path
) -> None:
    gate = Gate(tmp_path / "gate", limit=2)
    backups = tmp_path / "backups"
    with Service(tmp_path / "data", **gate.environment) as service:
        done = service.upload(audio_dir / "jfk.flac")
        before = completed(service, done)
        segment = before["segments"][0]
        answer = service.client.patch(
            f"/api/transcribe/segments/{segment['id']}",
            json={"text": "By hand.", "was": {"text": segment["text"]}},
        )
        assert answer.status_code == 200, answer.text
        before = service.result(done)
        service.run("django", "backup", str(backups))
        running = service.upload(clip)
        held = midway(service, running)
        said = service.run("django", "backup", "--incremental", str(backups))
        assert " 0 unchanged" not in said
        assert "is whole" in service.run("django", "backup", "--verify", str(backups))
        deleted = service.upload(audio_dir / "jfk.flac")  # after it: it is in no backup
        gate.open()
        finished = completed(service, running)
        other = elsewhere(tmp_path / "other", service)
        other.data_dir.mkdir()
        try:
            assert "Restored" in other.run("django", "restore", str(backups))
            key = (other.data_dir / "secret-key").read_text()
            assert key != (service.data_dir / "secret-key").read_text()
            service.stop()
            shutil.rmtree(service.data_dir / "files")  # nothing is read there any more
            other.start()
            assert other.result(done) == before
            assert spoken(completed(other, running)) == spoken(finished)
            chunks = other.debug(running)["chunks"]
            for chunk in in_state(held, "done"):
                assert chunk in chunks, "what was done is not done again"
            assert other.status(deleted)["status"] == "not_found"
            assert spoken(other.transcribe(clip)) == undisturbed(other, clip)
            sound = other.client.get(f"/app/jobs/{done}/audio")
            assert sound.status_code == 200
            assert len(sound.content) > 100_000
        finally:
            other.client.close()
            other.stop()
            if "DATABASE_URL" in other.settings:
                servers.drop_database(
                    other.settings["DATABASE_URL"], server_url=service.settings["DATABASE_URL"]
                )


@pytest.mark.servers
@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("", "pg_dump is not on this machine. Install PostgreSQL's client programs of version"),
        (
            "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'",
            "is of version 9, the database's server of",
        ),
        ("#!/bin/sh\nexit 3", "does not work"),
    ],
)
def test_without_a_pg_dump_that_fits_the_server_there_is_no_backup(
    tmp_path: Path, program: str, told: str
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if program:
        (folder / "pg_dump").write_text(program + "\n")
        (folder / "pg_dump").chmod(0o755)
    with Service(tmp_path / "data", roles="web", **SETTINGS) as service:
        done = service.attempt("django", "backup", str(tmp_path / "backups"), PATH=str(folder))
        assert done.returncode == 1
        assert told in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "backups").exists()


@pytest.mark.servers
def test_a_database_in_use_is_not_restored_over(tmp_path: Path) -> None:
    with Service(tmp_path / "data", roles="web", **SETTINGS) as service:
        service.run("django", "backup", str(tmp_path / "backups"))
        with psycopg.connect(service.settings["DATABASE_URL"]) as database:
            tables = database.execute("SELECT count(*) FROM pg_tables").fetchone()
        done = service.attempt("django", "restore", str(tmp_path / "backups"))
        assert done.returncode == 1
        assert "its database has tables" in done.stderr
        with psycopg.connect(service.settings["DATABASE_URL"]) as database:
            assert database.execute("SELECT count(*) FROM pg_tables").fetchone() == tables
