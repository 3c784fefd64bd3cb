"""Whatever is sent in place of a recording: a clear refusal, and nothing left behind."""

import resource
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any

import httpx
import numpy as np
import pytest

from tests import UNKNOWN_ID
from tests.media import first_half, noise, samples_of, silence, write
from tests.service import OTHER_SITE, Service, wait_for
from transcription.speech.catalogue import MODELS

pytestmark = pytest.mark.slow

UPLOAD = "/api/transcribe/"
ORIGIN = {"Origin": OTHER_SITE}
MEGABYTE = 1024**2
File = tuple[str, bytes, str]


def png() -> bytes:
    """A picture of one grey pixel."""

    def part(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    head = pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\x80")
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixels) + part(b"IEND", b"")


TEXT = b"Dear diary, nothing to be heard today. " * 2_000
PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n" * 50
EMPTY_WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0" + pack(
    "<IIHH4sI", 16_000, 32_000, 2, 16, b"data", 0
)
SLOW_WAV = b"RIFF\x24\0\1\0WAVEfmt \x10\0\0\0\x01\0\x01\0" + pack(
    "<IIHH4sI65536x", 1, 2, 2, 16, b"data", 65_536
)
UNDECLARED = "application/octet-stream"
NOT_AUDIO: dict[str, File] = {
    "text named mp3": ("notes.mp3", TEXT, "audio/mpeg"),
    "text": ("notes.txt", TEXT, UNDECLARED),
    "short text named wav": ("notes.wav", b"hello", "audio/wav"),
    "PDF": ("paper.pdf", PDF, UNDECLARED),
    "PDF named mp3": ("paper.mp3", PDF, "audio/mpeg"),
    "picture": ("picture.png", png(), UNDECLARED),
    "picture named mp3": ("x.mp3", png(), UNDECLARED),
    "picture named wav": ("x.wav", png(), "audio/wav"),
    "wav of a header alone": ("nothing.wav", EMPTY_WAV, "audio/wav"),
    "wav of one sample a second": ("slow.wav", SLOW_WAV, "audio/wav"),
    "random bytes": ("noise.wav", np.random.default_rng(1).bytes(100_000), "audio/wav"),
}


def refused(answer: httpx.Response, status: int) -> str:
    """The detail of an answer that is an error as every error is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-Request-ID"]
    assert answer.headers["Access-Control-Allow-Origin"] == OTHER_SITE
    body = answer.json()
    assert list(body) == ["detail"]
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert "Traceback" not in answer.text
    return str(body["detail"])


@dataclass(frozen=True)
class Traces:
    jobs: frozenset[str]
    recordings: frozenset[str]
    uploads: frozenset[str]


def traces(service: Service) -> Traces:
    """What an upload leaves behind: a job, files of a recording, a file of an upload."""
    jobs = service.client.get("/api/transcribe/jobs", params={"limit": 1000}).json()["jobs"]
    return Traces(
        jobs=frozenset(job["job_id"] for job in jobs),
        recordings=_names(service.data_dir / "files" / "recordings"),
        uploads=_names(service.data_dir / "uploads"),
    )


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir()) if folder.exists() else frozenset()


@pytest.fixture
def without_trace(service: Service) -> Iterator[None]:
    """The test must leave the service as it found it."""
    before = traces(service)
    yield
    assert traces(service) == before


def post(service: Service, file: File | None, **fields: str) -> httpx.Response:
    files: dict[str, Any] = {"file": file} if file else {"other": ("a.mp3", b"a", "audio/mpeg")}
    return service.client.post(UPLOAD, data=fields, files=files, headers=ORIGIN)


@pytest.fixture(scope="module")
def jfk(audio_dir: Path) -> bytes:
    return (audio_dir / "jfk.flac").read_bytes()


# ---- What is no recording


@pytest.mark.usefixtures("without_trace")
@pytest.mark.parametrize("kind", NOT_AUDIO)
def test_a_file_that_is_no_audio_is_refused(service: Service, kind: str) -> None:
    detail = refused(post(service, NOT_AUDIO[kind]), 400)
    assert "Send audio or video" in detail


@pytest.mark.usefixtures("without_trace")
def test_an_empty_file_is_refused(service: Service) -> None:
    assert "empty" in refused(post(service, ("nothing.mp3", b"", "audio/mpeg")), 400)


@pytest.mark.usefixtures("without_trace")
def test_an_m4a_that_breaks_off_before_its_index_is_refused(
    service: Service, audio_dir: Path, tmp_path: Path
) -> None:
    whole = write(tmp_path / "whole.m4a", samples_of(audio_dir / "jfk.flac"), codec="aac")
    data = first_half(whole, tmp_path / "half.m4a").read_bytes()
    refused(post(service, ("half.m4a", data, "audio/mp4")), 400)


@pytest.mark.usefixtures("without_trace")
def test_a_video_without_sound_is_refused_with_the_reason(service: Service, tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.mp4", None, video=True).read_bytes()
    detail = refused(post(service, ("silent.mp4", silent, "video/mp4")), 400)
    assert "without an audio track" in detail


@pytest.mark.usefixtures("without_trace")
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_audio_of_zero_length_is_refused(service: Service, tmp_path: Path, kind: str) -> None:
    codec = {"wav": "pcm_s16le", "flac": "flac", "ogg": "libopus"}[kind]
    path = write(tmp_path / f"nothing.{kind}", silence(0), codec=codec, rate=48_000)
    refused(post(service, (path.name, path.read_bytes(), "audio/mpeg")), 400)


# ---- What is hardly one


@pytest.fixture(scope="module")
def ended(
    service: Service, audio_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[dict[str, Any], dict[str, Any]]]:
    """Status and result of recordings that are odd but acceptable, uploaded at once."""
    folder = tmp_path_factory.mktemp("odd")
    flac = audio_dir / "2412-153948-0000.flac"  # its words are the same on every processor
    mp3 = write(folder / "whole.mp3", samples_of(flac), codec="libmp3lame", rate=44_100)
    jobs = {
        "half a flac": service.upload(first_half(flac, folder / "half.flac"), language="en"),
        "half an mp3": service.upload(first_half(mp3, folder / "half.mp3")),
        "silence": service.upload(write(folder / "silence.wav", silence(40))),
        "noise": service.upload(write(folder / "noise.wav", noise(40))),
        "loud noise": service.upload(write(folder / "loud.wav", noise(20, amplitude=0.4))),
        "a moment": service.upload(write(folder / "moment.wav", silence(0.01))),
        "silence, language unknown": service.upload(folder / "silence.wav", model_name="base"),
    }

    def look(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        status = service.finished(jobs[name])
        assert status["status"] == "completed", status
        return status, service.result(jobs[name])

    for name in jobs:
        service.finished(jobs[name])
    return look


Ended = Callable[[str], tuple[dict[str, Any], dict[str, Any]]]


@pytest.mark.parametrize("kind", ["half a flac", "half an mp3"])
def test_a_file_that_breaks_off_gives_what_there_is_and_says_so(ended: Ended, kind: str) -> None:
    status, result = ended(kind)
    assert "I will say nothing of my antecedents" in result["text"]
    assert 4 < result["audio_duration"] < 7
    assert "breaks off" in status["message"]
    assert "12 s" in status["message"]


@pytest.mark.parametrize(
    "kind", ["silence", "noise", "loud noise", "a moment", "silence, language unknown"]
)
def test_silence_and_noise_complete_without_a_segment(ended: Ended, kind: str) -> None:
    status, result = ended(kind)
    assert status["progress"] == 100
    assert "no speech" in status["message"]
    assert "breaks off" not in status["message"]
    assert result["segments"] == []
    assert result["text"] == ""


# ---- The other fields


@pytest.mark.usefixtures("without_trace")
def test_a_form_without_the_file_is_refused(service: Service) -> None:
    assert "`file`" in refused(post(service, None), 400)


@pytest.mark.usefixtures("without_trace")
def test_a_file_sent_as_plain_text_is_refused(service: Service) -> None:
    files = {"file": (None, "~/recordings/jfk.flac")}
    answer = service.client.post(UPLOAD, files=files, headers=ORIGIN)
    assert "multipart form" in refused(answer, 400)


@pytest.mark.usefixtures("without_trace")
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "audio/mpeg"])
def test_a_body_that_is_no_form_is_refused(service: Service, jfk: bytes, kind: str) -> None:
    headers = {**ORIGIN, "Content-Type": kind}
    refused(service.client.post(UPLOAD, content=jfk, headers=headers), 400)


@pytest.mark.usefixtures("without_trace")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"diarize": "perhaps"}, ["diarize", "boolean"]),
        ({"model_name": "gigantic"}, ["gigantic", *MODELS]),
        ({"model_name": "x" * 5_000}, ["model_name"]),
        ({"language": "xx", "model_name": "base"}, ["xx", "base", "en", "de"]),
        ({"language": "xx"}, ["xx", "tiny.en"]),
        ({"language": "de"}, ["de", "tiny.en", "It supports: en"]),
        ({"language": "yue", "model_name": "base"}, ["yue"]),
        ({"language": "\0"}, ["language"]),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    service: Service, jfk: bytes, fields: dict[str, str], said: list[str]
) -> None:
    detail = refused(post(service, ("jfk.flac", jfk, "audio/flac"), **fields), 400)
    assert [word for word in said if word not in detail] == []


@pytest.mark.usefixtures("without_trace")
def test_a_model_that_is_not_here_is_refused_at_once_with_the_remedy(
    service: Service, jfk: bytes
) -> None:
    began = time.monotonic()
    answer = post(service, ("jfk.flac", jfk, "audio/flac"), model_name="small")
    detail = refused(answer, 503)
    assert time.monotonic() - began < 3
    assert "small" in detail
    assert "manage.py models download small" in detail


@pytest.mark.parametrize("job_id", ["1", "not-a-uuid", "%00", UNKNOWN_ID, "é" * 200])
@pytest.mark.parametrize("end", ["", "/"])
def test_the_status_of_an_unknown_job_is_not_found(service: Service, job_id: str, end: str) -> None:
    answer = service.client.get(f"/api/transcribe/status/{job_id}{end}", headers=ORIGIN)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"job_id", "status", "message", "progress", "updated_at"}
    assert (body["status"], body["progress"]) == ("not_found", 0)
    assert body["message"] == "Transcription job not found or expired"


@pytest.mark.parametrize("job_id", ["1", "not-a-uuid", "%00", UNKNOWN_ID])
@pytest.mark.parametrize("what", ["result", "debug"])
@pytest.mark.parametrize("end", ["", "/"])
def test_an_unknown_job_is_a_404_everywhere_else(
    service: Service, what: str, job_id: str, end: str
) -> None:
    answer = service.client.get(f"/api/transcribe/{what}/{job_id}{end}", headers=ORIGIN)
    assert "not found" in refused(answer, 404)


# ---- File names


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd.flac",
        "..\\..\\windows\\system.flac",
        "C:\\Users\\me\\voice.flac",
        "/etc/../cron.d/voice.flac",
        "line\x07feed\x1b[31m\x00.flac",
        "voice.flac/",
        "v" * 1_000 + ".flac",
        "voice." + "f" * 1_000,
        "Grüße 你好 🎤.flac",
        "voice;rm -rf *.flac",
        "<script>.flac",
        ".flac",
        "..",
        "con",
    ],
)
def test_any_file_name_is_made_harmless_or_refused(
    waiting_service: Service, jfk: bytes, name: str
) -> None:
    (waiting_service.data_dir / "files" / "recordings").mkdir(exist_ok=True)  # as after any upload
    before = traces(waiting_service)
    outside = _names(waiting_service.data_dir), _names(waiting_service.data_dir / "files")
    body = (
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.replace("\\", "\\\\").encode()
        + b'"\r\nContent-Type: audio/flac\r\n\r\n'
        + jfk
        + b"\r\n--cut--\r\n"
    )
    headers = {**ORIGIN, "Content-Type": "multipart/form-data; boundary=cut"}
    answer = waiting_service.client.post(UPLOAD, content=body, headers=headers)
    if answer.status_code != 200:
        refused(answer, 400)
        assert traces(waiting_service) == before
        return
    job_id = answer.json()["job_id"]
    assert waiting_service.finished(job_id)["status"] == "completed"
    after = traces(waiting_service)
    assert after.jobs - before.jobs == {job_id}
    [folder] = after.recordings - before.recordings
    kept = _names(waiting_service.data_dir / "files" / "recordings" / folder)
    assert all(file.startswith(("original", "samples-", "peaks-")) for file in kept)
    assert after.uploads == before.uploads
    assert (_names(waiting_service.data_dir), _names(waiting_service.data_dir / "files")) == outside


# ---- Transfers that fail


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.usefixtures("without_trace")
def test_a_client_that_goes_away_leaves_nothing(service: Service, jfk: bytes, share: float) -> None:
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    body = head + jfk + b"\r\n--cut--\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(
            b"POST /api/transcribe/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=cut\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        client.sendall(body[: int(share * len(body))])
        time.sleep(0.3)
    uploads = service.data_dir / "uploads"
    wait_for(lambda: not _names(uploads), what="the end of the upload's file", seconds=5)
    assert service.client.get("/health").status_code == 200


@pytest.mark.usefixtures("without_trace")
def test_a_form_that_ends_too_early_leaves_nothing(service: Service, jfk: bytes) -> None:
    """As a proxy passes it on whose own client went away: complete for HTTP, but not as a form."""
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    headers = {**ORIGIN, "Content-Type": "multipart/form-data; boundary=cut"}
    body = head + jfk[:100]
    refused(service.client.post(UPLOAD, content=body, headers=headers), 400)


@pytest.fixture(scope="module")
def strict_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("strict")
    settings = {
        "TRANSCRIBER_MAX_UPLOAD_BYTES": str(2 * MEGABYTE),
        "TRANSCRIBER_CORS_ORIGINS": OTHER_SITE,
    }
    with Service(folder, **settings) as running:
        yield running


@pytest.mark.parametrize("megabytes", [2.1, 9])
def test_an_upload_over_the_limit_is_refused(strict_service: Service, megabytes: float) -> None:
    before = traces(strict_service)
    file = ("long.flac", b"\0" * round(megabytes * MEGABYTE), "audio/flac")
    detail = refused(post(strict_service, file), 413)
    assert "TRANSCRIBER_MAX_UPLOAD_BYTES" in detail
    assert f"{2 * MEGABYTE:,}" in detail
    assert traces(strict_service) == before


def test_an_upload_under_the_limit_is_taken(strict_service: Service, audio_dir: Path) -> None:
    assert "ask not" in strict_service.transcribe(audio_dir / "jfk.flac")["text"]


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """`folder` on a disk of 8 MB; where mounting is not allowed, files of at most 6 MB in its place.

    The processes started inside inherit the limit; Python turns its signal into an OSError.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if mounted:
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 * MEGABYTE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def crowded_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose disk has room for a short recording and not for a long one."""
    folder = tmp_path_factory.mktemp("crowded") / "data"
    settings = {"TRANSCRIBER_DISK_RESERVE_MB": "0", "TRANSCRIBER_CORS_ORIGINS": OTHER_SITE}
    with small_disk(folder), Service(folder, **settings) as running:
        yield running


@pytest.mark.parametrize("megabytes", [9, 30])
def test_a_full_disk_is_told_and_leaves_nothing(
    crowded_service: Service, audio_dir: Path, megabytes: float
) -> None:
    before = traces(crowded_service)
    file = ("long.flac", b"\0" * round(megabytes * MEGABYTE), "audio/flac")
    detail = refused(post(crowded_service, file), 507)
    assert "disk is full" in detail
    assert traces(crowded_service) == before
    assert "ask not" in crowded_service.transcribe(audio_dir / "jfk.flac")["text"]


def test_a_disk_that_becomes_full_with_a_small_piece_is_told_too(crowded_service: Service) -> None:
    """What is left of it in a buffer cannot be written when the file is closed, either."""
    boundary = "piece"
    head = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="long.flac"\r\n'
        "content-type: audio/flac\r\n\r\n"
    )
    pieces = [head.encode(), bytes(5 * MEGABYTE), *[bytes(1000)] * 4000]
    pieces.append(f"\r\n--{boundary}--\r\n".encode())

    def slowly() -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            time.sleep(0.0005)  # so that each comes by itself

    before = traces(crowded_service)
    headers = {
        "content-type": f"multipart/form-data; boundary={boundary}",
        "content-length": str(sum(map(len, pieces))),
    }
    answer = crowded_service.client.post(UPLOAD, content=slowly(), headers={**ORIGIN, **headers})
    assert "disk is full" in refused(answer, 507)
    assert traces(crowded_service) == before
