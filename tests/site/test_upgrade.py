"""Several machines are upgraded one after the other while a job runs: nothing is lost, and nothing is done twice.

The newer version is `tests.newer_version`: its migration adds a column that the present version cannot fill.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.media import RATE, samples_of, write
from tests.running_jobs import (
    chunks_when,
    completed,
    in_state,
    midway,
    spoken,
    undisturbed,
)
from tests.service import ROOT, Service, wait_for
from tests.waiting_engine import SETTINGS, Gate

pytestmark = [pytest.mark.slow, pytest.mark.both]

NEWER = {"DJANGO_SETTINGS_MODULE": "tests.newer_version.settings"}
CLIP_SECONDS = 200
QUICK_RECOVERY = {"TRANSCRIBER_RECOVERY_SECONDS": "2"}


@pytest.fixture
def clip(audio_dir: Path, tmp_path: Path) -> Path:
    """Three chunks."""
    samples = samples_of(audio_dir / "reading-10min.flac")[: CLIP_SECONDS * RATE]
    return write(tmp_path / "clip.wav", samples)


def shared(service: Service) -> dict[str, str]:
    """The settings of another machine of the same installation."""
    return {
        "DATABASE_URL": f"sqlite:///{service.data_dir / 'transcriber.sqlite3'}",
        "TRANSCRIBER_FILES_DIR": str(service.data_dir / "files"),
        "TRANSCRIBER_SECRET_KEY": (service.data_dir / "secret-key").read_text(),
        **service.settings,
        **NEWER,
    }


@contextmanager
def cluster(folder: Path, environment: dict[str, str], *, name: str) -> Iterator[Path]:
    """A worker that is started by itself, without `serve`; the path of its log."""
    log = folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster", "--name", name],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(60)


def test_old_workers_leave_the_work_to_new_ones_and_nothing_is_lost(
    tmp_path: Path, clip: Path
) -> None:
    gate = Gate(tmp_path / "gate", limit=1)
    with Service(tmp_path / "old", **gate.environment, **QUICK_RECOVERY) as old:
        job_id = old.upload(clip)
        before = midway(old, job_id)
        newer = Service(tmp_path / "new", roles="speech,interactive", **shared(old))
        newer.settings.pop("TEST_GATE")
        with newer:
            wait_for(lambda: "This worker takes no work" in old.log(), what="that it is told")
            gate.open()  # what the old worker has in hand cannot be committed by it any more
            result = completed(old, job_id)
            assert "goes back to the queue, for a newer version" in old.log()
            chunks = old.debug(job_id)["chunks"]
            ready = old.client.get("/health/ready").json()
        old.stop()
        with pytest.raises(AssertionError, match="migrated by a newer version"):
            old.start()
    with Service(tmp_path / "undisturbed", **SETTINGS) as alone:
        assert spoken(result) == undisturbed(alone, clip)
    assert {chunk["attempts"] for chunk in chunks} == {1}
    done = {chunk["index"] for chunk in in_state(before, "done")}
    assert [chunk for chunk in chunks if chunk["index"] in done] == in_state(before, "done")
    assert "Restart this process with the new version" in ready["detail"]


def test_new_workers_wait_for_the_migration(tmp_path: Path, clip: Path) -> None:
    with Service(tmp_path / "old", roles="web,interactive", **SETTINGS, **QUICK_RECOVERY) as old:
        environment = {
            **old.environment(),
            **shared(old),
            "TRANSCRIBER_DATA_DIR": str(tmp_path / "new"),
        }
        with cluster(tmp_path, environment, name="speech") as log:
            job_id = old.upload(clip)
            wait_for(
                lambda: "The database is not migrated yet" in log.read_text(),
                what="that it says what it waits for",
            )
            chunks = chunks_when(
                old, job_id, lambda rows: len(rows) >= 3, what="that the recording is prepared"
            )
            assert {(chunk["state"], chunk["attempts"]) for chunk in chunks} == {("todo", 0)}
            subprocess.run(
                [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
                cwd=ROOT,
                env=environment,
                check=True,
            )
            result = completed(old, job_id)
            assert "it takes work" in log.read_text()
    with Service(tmp_path / "undisturbed", **SETTINGS) as alone:
        assert spoken(result) == undisturbed(alone, clip)
