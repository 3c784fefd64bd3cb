"""Somebody uploads a recording, waits, and gets the documented transcript."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from tests.media import Samples, noise, samples_of, silence, write
from tests.service import Service

pytestmark = pytest.mark.slow

SAID = "ask not what your country can do for you"
SEGMENT_FIELDS = {
    "id",
    "start",
    "end",
    "text",
    "speaker",
    "speaker_confidence",
    "start_display",
    "end_display",
}

FORMATS: dict[str, dict[str, Any]] = {
    "voice.mp3": {"codec": "libmp3lame", "rate": 44_100, "channels": 2},
    "telephone.wav": {"codec": "pcm_s16le", "rate": 8_000},
    "memo.m4a": {"codec": "aac", "rate": 44_100},
    "message.ogg": {"codec": "libopus", "rate": 48_000},
    "message.opus": {"codec": "libopus", "rate": 48_000, "channels": 2},
    "browser.webm": {"codec": "libopus", "rate": 48_000, "channels": 2},
    "meeting.mp4": {"codec": "aac", "rate": 48_000, "channels": 2, "video": True},
    "studio.flac": {"codec": "flac", "rate": 96_000},
}
MODEL_NAMES = ["tiny.en", "openai/whisper-tiny.en", "whisper-tiny.en"]


@dataclass(frozen=True)
class Done:
    status: dict[str, Any]
    result: dict[str, Any]
    debug: dict[str, Any]


@pytest.fixture(scope="module")
def jfk(audio_dir: Path) -> Samples:
    return samples_of(audio_dir / "jfk.flac")


@pytest.fixture(scope="module")
def german(audio_dir: Path) -> Samples:
    """A multilingual recording's second half, which is German throughout."""
    return samples_of(audio_dir / "multilingual.mp3")[32 * 16_000 : 47 * 16_000]


@pytest.fixture(scope="module")
def done(
    service: Service,
    audio_dir: Path,
    jfk: Samples,
    german: Samples,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Done]:
    """Everything that these tests want transcribed, uploaded at once: the jobs by a short name."""
    folder = tmp_path_factory.mktemp("formats")
    original = audio_dir / "jfk.flac"
    after_noise = np.concatenate([noise(20, amplitude=0.02), silence(15), german])
    jobs = {name: service.upload(original, model_name=name) for name in MODEL_NAMES}
    jobs |= {
        name: service.upload(write(folder / name, jfk, **how)) for name, how in FORMATS.items()
    }
    jobs["english"] = service.upload(original, model_name="base")
    jobs["given"] = service.upload(original, model_name="base", language="EN")
    jobs["noise first"] = service.upload(
        write(folder / "noise-first.flac", after_noise, codec="flac"), model_name="base"
    )
    return {name: _done(service, job_id) for name, job_id in jobs.items()}


def _done(service: Service, job_id: str) -> Done:
    status = service.finished(job_id)
    assert status["status"] == "completed", status
    return Done(status, service.result(job_id), service.debug(job_id))


def test_an_upload_is_transcribed_and_the_result_is_as_documented(done: dict[str, Done]) -> None:
    result = done["tiny.en"].result
    assert set(result) == {"segments", "text", "language", "audio_duration"}
    assert SAID in result["text"].lower()
    assert result["language"] == "en"
    assert result["audio_duration"] == pytest.approx(11.0, abs=0.01)


def test_a_segment_has_exactly_the_documented_fields_and_an_id(done: dict[str, Done]) -> None:
    segments = done["tiny.en"].result["segments"]
    assert segments
    for segment in segments:
        assert set(segment) == SEGMENT_FIELDS
        assert isinstance(segment["id"], int)
        assert 0 <= segment["start"] < segment["end"] <= 11.0
        assert segment["speaker"] is None
        assert segment["speaker_confidence"] is None
        assert segment["text"] == segment["text"].strip() != ""
        for moment in ("start", "end"):
            assert segment[f"{moment}_display"] == f"00:00:{segment[moment]:06.3f}"


def test_the_times_are_those_of_the_speech(done: dict[str, Done]) -> None:
    segments = done["tiny.en"].result["segments"]
    assert segments[0]["start"] == pytest.approx(0.3, abs=0.3)
    assert segments[-1]["end"] == pytest.approx(10.5, abs=0.3)


def test_the_status_of_a_finished_job_is_as_documented(done: dict[str, Done]) -> None:
    status = done["tiny.en"].status
    assert set(status) == {"job_id", "status", "message", "progress", "updated_at"}
    assert status["status"] == "completed"
    assert status["progress"] == 100
    assert "Completed" in status["message"]
    assert isinstance(status["updated_at"], float)


@pytest.mark.parametrize("path", ["/api/transcribe/", "/api/transcribe"])
def test_the_answer_to_an_upload_names_the_job(
    service: Service, audio_dir: Path, path: str
) -> None:
    with (audio_dir / "jfk.flac").open("rb") as file:
        answer = service.client.post(path, files={"file": file})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"job_id", "status", "message"}
    assert body["status"] == "processing"
    assert body["message"]
    assert str(UUID(body["job_id"])) == body["job_id"]
    assert _done(service, body["job_id"]).debug["model_name"] == "tiny.en"


@pytest.mark.parametrize("path", ["status/{}", "result/{}", "debug/{}", "jobs", "models"])
def test_every_path_answers_with_and_without_trailing_slash(
    service: Service, done: dict[str, Done], path: str
) -> None:
    path = f"/api/transcribe/{path.format(done['tiny.en'].status['job_id'])}"
    plain, slashed = service.client.get(path), service.client.get(f"{path}/")
    assert (plain.status_code, slashed.status_code) == (200, 200)
    assert plain.json() == slashed.json()


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_transcribed(done: dict[str, Done], name: str) -> None:
    result = done[name].result
    assert SAID in result["text"].lower()
    assert result["audio_duration"] == pytest.approx(11.0, abs=0.15)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_answers_to_its_names(done: dict[str, Done], name: str) -> None:
    assert SAID in done[name].result["text"].lower()
    assert done[name].debug["model_name"] == "tiny.en"


def test_a_language_is_detected(done: dict[str, Done]) -> None:
    assert done["english"].result["language"] == "en"
    assert SAID in done["english"].result["text"].lower()


def test_a_language_is_taken_as_given(done: dict[str, Done]) -> None:
    assert done["given"].result["language"] == "en"
    assert SAID in done["given"].result["text"].lower()


def test_the_language_is_heard_from_speech_not_from_what_comes_before(
    done: dict[str, Done],
) -> None:
    # The first 30 s of this file are noise and silence; taken for speech they are not German.
    result = done["noise first"].result
    assert result["language"] == "de"
    assert min(segment["start"] for segment in result["segments"]) > 34


@pytest.mark.parametrize(
    ("fields", "diarize"),
    [({}, True), ({"diarize": "true"}, True), ({"diarize": "1"}, True), ({"diarize": "no"}, False)],
)
def test_speakers_are_asked_for_unless_declined(
    service: Service,
    audio_dir: Path,
    fields: dict[str, str],
    diarize: bool,
) -> None:
    with (audio_dir / "jfk.flac").open("rb") as file:
        answer = service.client.post("/api/transcribe/", data=fields, files={"file": file})
    finished = _done(service, answer.json()["job_id"])
    assert finished.debug["diarize"] is diarize
    speakers = {segment["speaker"] for segment in finished.result["segments"]}
    assert speakers == ({"SPEAKER_1"} if diarize else {None})


def test_undeclared_and_octet_stream_files_are_judged_by_their_content(
    service: Service, audio_dir: Path
) -> None:
    audio = (audio_dir / "jfk.flac").read_bytes()
    for declared in (None, "application/octet-stream"):
        head = b"" if declared is None else f"Content-Type: {declared}\r\n".encode()
        body = (
            b'--cut\r\nContent-Disposition: form-data; name="file"; filename="recording"\r\n'
            + head
            + b"\r\n"
            + audio
            + b"\r\n--cut--\r\n"
        )
        answer = service.client.post(
            "/api/transcribe/",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=cut"},
        )
        assert answer.status_code == 200, answer.text
        assert SAID in _done(service, answer.json()["job_id"]).result["text"].lower()


def test_an_upload_in_chunks_without_a_length_is_taken(service: Service, audio_dir: Path) -> None:
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    parts = [head, (audio_dir / "jfk.flac").read_bytes(), b"\r\n--cut--\r\n"]
    answer = service.client.post(
        "/api/transcribe/",
        content=iter(parts),
        headers={"Content-Type": "multipart/form-data; boundary=cut"},
    )
    assert "transfer-encoding" in answer.request.headers
    assert answer.status_code == 200, answer.text
    assert service.finished(answer.json()["job_id"])["status"] == "completed"


@pytest.mark.parametrize("path", ["/", "/health", "/api/transcribe/jobs"])
def test_a_monitor_may_ask_for_the_head_alone(service: Service, path: str) -> None:
    answer = service.client.head(path)
    assert answer.status_code == 200
    assert answer.content == b""
