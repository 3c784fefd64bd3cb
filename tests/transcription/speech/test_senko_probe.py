"""senko's compiled library is tried in a child process: where it kills that, the worker lives and says why."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from tests.rows import reload
from tests.service import ROOT
from tests.transcription.builders import make_job, spoken
from transcriber_site import checks
from transcription import recordings
from transcription.jobs import diarize
from transcription.leasing import leases, workers
from transcription.models import Job, Worker
from transcription.speech.diarization import senko_probe
from transcription.speech.engines.base import ModelUnavailableError, SpeechError

REMEDY = "Set TRANSCRIBER_DIARIZATION_ENGINE=pyannote"
DIES_OF = "import os, signal; os.kill(os.getpid(), signal.{})"
SIGILL = DIES_OF.format("SIGILL")

senko_is_chosen = override_settings(TRANSCRIBER_DIARIZATION_ENGINE="senko")

Probe = Callable[[str], None]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Probe:
    """Let the probe's child process run other code, and note in `tmp_path / "ran"` each time it does."""

    def replace(code: str) -> None:
        noted = f"open({str(tmp_path / 'ran')!r}, 'a').write('x')\n{code}"
        monkeypatch.setattr(senko_probe, "COMMAND", (sys.executable, "-c", noted))

    return replace


def n_ran(tmp_path: Path) -> int:
    noted = tmp_path / "ran"
    return len(noted.read_text()) if noted.exists() else 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (SIGILL, "This processor cannot run senko (the probe ended with SIGILL)"),
        (
            DIES_OF.format("SIGSEGV"),
            "senko cannot run on this machine (the probe ended with SIGSEGV)",
        ),
        ("raise OSError('no libstdc++')", "(the probe failed: OSError: no libstdc++)"),
        ("import sys; sys.exit(3)", "(the probe failed: exit status 3)"),
    ],
)
def test_what_kills_the_probe_is_an_error_with_its_reason_and_the_remedy(
    probe: Probe, tmp_path: Path, code: str, reason: str
) -> None:
    probe(code)
    for _ in range(2):
        with pytest.raises(ModelUnavailableError) as caught:
            senko_probe.check_processor("cpu")
        assert reason in str(caught.value)
        assert REMEDY in str(caught.value)
        assert not caught.value.can_retry
    assert n_ran(tmp_path) == 1, "the answer is kept"


def test_a_processor_that_can_is_asked_once(probe: Probe, tmp_path: Path) -> None:
    probe("pass")
    senko_probe.check_processor("cpu")
    senko_probe.check_processor("cpu")
    assert n_ran(tmp_path) == 1


def test_a_probe_that_does_not_end_is_tried_again(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senko_probe, "TIMEOUT_SECONDS", 0.5)
    probe("import time; time.sleep(60)")
    for _ in range(2):
        with pytest.raises(
            SpeechError, match="The check whether this processor can run senko failed"
        ) as caught:
            senko_probe.check_processor("cpu")
        assert caught.value.can_retry
    assert n_ran(tmp_path) == 2


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@senko_is_chosen
def test_a_worker_survives_such_a_processor_and_its_jobs_complete_without_speakers(
    probe: Probe, tmp_path: Path
) -> None:
    probe(SIGILL)
    for _ in range(2):
        job = make_job("how are you")
        assert diarize.diarize_next()
        assert reload(job).status == Job.Status.COMPLETED
        reason = "This processor cannot run senko (the probe ended with SIGILL)"
        assert reload(job).message.startswith(f"Completed, without speakers: {reason}. {REMEDY}")
        assert spoken(job) == [("how are you", None)]
    assert n_ran(tmp_path) == 1


# ---- What is said before a job needs it


def test_the_start_warns_of_a_processor_that_cannot_run_senko(probe: Probe) -> None:
    probe(SIGILL)
    with senko_is_chosen:
        [warning] = checks.check_senko_processor(None)
    assert warning.id == "transcriber.W007"
    assert "This processor cannot run senko" in warning.msg
    assert REMEDY in warning.msg


def test_the_start_says_nothing_of_a_processor_that_can(probe: Probe) -> None:
    probe("pass")
    with senko_is_chosen:
        assert checks.check_senko_processor(None) == []


def test_who_does_not_choose_senko_is_not_probed(probe: Probe, tmp_path: Path) -> None:
    probe(SIGILL)
    assert checks.check_senko_processor(None) == []
    assert n_ran(tmp_path) == 0


def test_the_start_imports_nothing_heavy_to_find_out(tmp_path: Path) -> None:
    heavy = ("senko", "torch", "numba", "numpy")
    code = (
        "import sys, django\n"
        "django.setup()\n"
        "from django.core.checks import run_checks\n"
        "told = [message.id for message in run_checks()]\n"
        f"print('transcriber.W007' in told, [name for name in {heavy} if name in sys.modules])\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
            "TRANSCRIBER_DATA_DIR": str(tmp_path),
            "TRANSCRIBER_DIARIZATION_ENGINE": "senko",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert output.split(maxsplit=1) == [str(not _can_run_senko()), "[]\n"]


def _can_run_senko() -> bool:
    command = [*senko_probe.COMMAND, "cpu"]
    ended = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, check=False)
    assert ended.returncode in (0, -signal.SIGILL), ended.stderr
    return ended.returncode == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("machine", "engine", "warned"),
    [("here", "senko", True), ("here", "pyannote", False), ("elsewhere", "senko", False)],
)
def test_readiness_warns_if_speech_workers_of_this_machine_cannot_run_senko(
    client: Client,
    probe: Probe,
    tmp_path: Path,
    machine: str,
    engine: str,
    warned: bool,
) -> None:
    probe(SIGILL)
    with override_settings(TRANSCRIBER_DIARIZATION_ENGINE=engine, MEDIA_ROOT=tmp_path):
        for role in ("speech", "interactive"):
            Worker.objects.create(
                name=f"{machine}/{role}",
                machine=leases.machine_name() if machine == "here" else machine,
                role=role,
                secret_id=workers.secret_id(),
                files_id=recordings.storage_id(),
                started_at=timezone.now(),
                seen_at=timezone.now(),
            )
        answer = client.get("/health/ready")
    assert answer.status_code == 200, "transcripts are made without speakers"
    warnings = answer.json()["warnings"]
    assert [REMEDY in warning for warning in warnings] == [True] * warned
    assert n_ran(tmp_path) == warned
