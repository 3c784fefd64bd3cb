"""A files folder for each test, and the job that most proposals are about."""

from pathlib import Path

import pytest
from django.conf import LazySettings

from tests.retranslation.builders import ONE
from tests.transcription.builders import make_job
from transcription.models import Job


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, settings: LazySettings) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


@pytest.fixture
def job() -> Job:
    """Three segments by one speaker, from 0 on, each word a second long."""
    job = make_job("how are you", "fine thanks", "good to hear")
    job.segments.update(speaker=ONE, speaker_confidence=0.75)
    return job
