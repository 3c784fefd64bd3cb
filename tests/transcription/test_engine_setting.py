"""The engine is chosen by a setting; what comes out has the same shape."""

from pathlib import Path

import pytest

from tests.service import Service

pytestmark = pytest.mark.slow


def test_the_service_runs_on_openai_whisper_when_told_to(tmp_path: Path, audio_dir: Path) -> None:
    with Service(tmp_path, TRANSCRIBER_ENGINE="openai-whisper") as service:
        job_id = service.upload(audio_dir / "jfk.flac")
        assert service.finished(job_id)["status"] == "completed"
        result = service.result(job_id)
        assert "ask not what your country can do for you" in result["text"]
        assert service.debug(job_id)["engine"] == "openai-whisper"
        models = service.client.get("/api/transcribe/models").json()["models"]
        here = {model["name"]: model["is_downloaded"] for model in models}
        assert here["tiny.en"]
        assert not here["large-v3"]
        assert not any(name.startswith("distil") for name in here)  # it cannot run those


def test_a_model_that_the_engine_cannot_run_is_refused(tmp_path: Path, audio_dir: Path) -> None:
    with Service(tmp_path, TRANSCRIBER_ENGINE="openai-whisper") as service:
        with (audio_dir / "jfk.flac").open("rb") as file:
            answer = service.client.post(
                "/api/transcribe/",
                data={"model_name": "distil-large-v3"},
                files={"file": file},
            )
        assert answer.status_code == 400
        assert "openai-whisper cannot run distil-large-v3" in answer.json()["detail"]
