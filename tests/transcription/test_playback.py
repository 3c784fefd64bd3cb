"""Playback: the recording as WAV, whole and in byte ranges, and the peaks of its waveform."""

import hashlib
import os
import re
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psutil
import pytest
from asgiref.sync import async_to_sync
from django.core.files.storage import default_storage
from django.http import StreamingHttpResponse
from django.test import Client, override_settings

from tests import UNKNOWN_ID
from tests.browser import browser
from tests.media import Samples
from tests.retranslation.builders import make_recorded_job
from tests.service import ROOT, Service, peak_memory, wait_for
from transcription.models import Job, Recording
from transcription.recordings import PIECE_BYTES, PIECE_SAMPLES, delete_files, folder

N_SAMPLES = PIECE_SAMPLES + 12_345
HEADER_BYTES = 44
SIZE = HEADER_BYTES + 2 * N_SAMPLES
LAST = SIZE - 1
PIECE_END = HEADER_BYTES + PIECE_BYTES


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path) -> Iterator[None]:
    with override_settings(MEDIA_ROOT=tmp_path):
        yield


@pytest.fixture(scope="module")
def samples() -> Samples:
    return np.random.default_rng(7).integers(-32768, 32767, N_SAMPLES).astype(np.int16)


@pytest.fixture
def job(db: None, samples: Samples) -> Job:
    return make_recorded_job(samples, segments=())


@pytest.fixture(scope="module")
def whole(samples: Samples) -> bytes:
    return wav_of(samples.tobytes())


def wav_of(samples: bytes) -> bytes:
    """Return the WAV file of `samples` as the standard library writes it."""
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples)
    return buffer.getvalue()


def audio_of(job: Job) -> str:
    return f"/app/jobs/{job.pk}/audio"


def peaks_of(job: Job) -> str:
    return f"/app/jobs/{job.pk}/peaks"


@async_to_sync
async def body_of(response: Any) -> bytes:
    assert isinstance(response, StreamingHttpResponse)
    assert response.is_async
    return b"".join([part async for part in response])


# ---- Audio


def test_the_recording_is_a_wav_of_its_samples(client: Client, job: Job, whole: bytes) -> None:
    response = client.get(audio_of(job))
    assert response.status_code == 200
    assert response["Content-Type"] == "audio/wav"
    assert response["Accept-Ranges"] == "bytes"
    assert response["Content-Length"] == str(SIZE)
    assert "Content-Disposition" not in response
    assert body_of(response) == whole


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, LAST),
        ("bytes=0-0", 0, 0),
        ("bytes=0-43", 0, 43),
        ("bytes=10-99", 10, 99),
        ("bytes=43-44", 43, 44),
        ("bytes=44-45", 44, 45),
        (f"bytes={PIECE_END - 3}-{PIECE_END + 2}", PIECE_END - 3, PIECE_END + 2),
        (f"bytes={PIECE_END}-{PIECE_END + 7}", PIECE_END, PIECE_END + 7),
        (f"bytes={LAST}-{LAST}", LAST, LAST),
        (f"bytes={LAST - 5}-99999999999", LAST - 5, LAST),
        ("bytes=-100", SIZE - 100, LAST),
        ("bytes=-99999999999", 0, LAST),
        (" bytes=7-8 ", 7, 8),
    ],
)
def test_a_range_request_returns_206_with_that_range(
    client: Client, job: Job, whole: bytes, asked: str, first: int, last: int
) -> None:
    response = client.get(audio_of(job), headers={"Range": asked})
    assert response.status_code == 206
    assert response["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert response["Content-Length"] == str(last - first + 1)
    assert body_of(response) == whole[first : last + 1]


@pytest.mark.parametrize(
    "asked", ["bytes=0-9,20-29", "bytes=9-5", "bytes", "bytes=", "bytes=a-b", "seconds=1-2"]
)
def test_several_or_malformed_ranges_return_the_whole_file(
    client: Client, job: Job, whole: bytes, asked: str
) -> None:
    response = client.get(audio_of(job), headers={"Range": asked})
    assert response.status_code == 200
    assert "Content-Range" not in response
    assert body_of(response) == whole


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}"])
def test_a_range_beyond_the_end_returns_416(client: Client, job: Job, asked: str) -> None:
    response = client.get(audio_of(job), headers={"Range": asked})
    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{SIZE}"
    assert "end" in response.json()["detail"]


@pytest.mark.django_db(transaction=True)  # an answer that is not read closes its connection
def test_if_range_returns_the_range_only_if_the_etag_matches(client: Client, job: Job) -> None:
    etag = client.head(audio_of(job))["ETag"]
    for condition, status in [(etag, 206), ('"another"', 200), (f"W/{etag}", 200)]:
        headers = {"Range": "bytes=0-9", "If-Range": condition}
        response = client.get(audio_of(job), headers=headers)
        assert response.status_code == status, condition


def test_head_returns_the_headers_without_a_body(client: Client, job: Job) -> None:
    response = client.head(audio_of(job), headers={"Range": "bytes=0-9"})
    assert response.status_code == 200  # ranges are for GET
    assert response["Content-Length"] == str(SIZE)
    assert response["Content-Type"] == "audio/wav"
    assert response["Accept-Ranges"] == "bytes"
    assert response.content == b""


@pytest.mark.django_db(transaction=True)  # an answer that is not read closes its connection
def test_a_matching_etag_returns_304(client: Client, job: Job) -> None:
    for path in (audio_of(job), peaks_of(job)):
        seen = client.head(path)
        assert seen["Cache-Control"] == "private"
        response = client.get(path, headers={"If-None-Match": seen["ETag"]})
        assert response.status_code == 304
        assert response["ETag"] == seen["ETag"]


def test_a_download_has_the_name_of_the_recording(client: Client, job: Job) -> None:
    Recording.objects.filter(pk=job.recording_id).update(name='Größe "M".m4a')
    response = client.head(f"{audio_of(job)}?download=1")
    assert response["Content-Disposition"].startswith("attachment; filename")
    assert response["Content-Disposition"].endswith("Gr%C3%B6%C3%9Fe%20%22M%22.wav")


def test_a_piece_deleted_while_streaming_ends_the_response_with_an_error(
    client: Client, job: Job
) -> None:
    response = client.get(audio_of(job))
    default_storage.delete(f"{folder(job.recording)}/samples-00001.s16")
    with pytest.raises(FileNotFoundError):
        body_of(response)


def test_a_truncated_piece_ends_the_response_with_an_error(client: Client, job: Job) -> None:
    response = client.get(audio_of(job))
    os.truncate(default_storage.path(f"{folder(job.recording)}/samples-00000.s16"), 1000)
    with pytest.raises(EOFError, match="truncated"):
        body_of(response)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (Job.Status.RUNNING, "still being read"),
        (Job.Status.FAILED, "The job is failed"),
        (Job.Status.CANCELLED, "The job is cancelled"),
    ],
)
def test_there_is_no_audio_before_the_recording_is_prepared(
    client: Client, job: Job, status: Job.Status, why: str
) -> None:
    Recording.objects.filter(pk=job.recording_id).update(duration=None)
    Job.objects.filter(pk=job.pk).update(status=status)
    response = client.get(audio_of(job))
    assert response.status_code == 409
    assert response["Cache-Control"] == "no-store"
    assert why in response.json()["detail"]


@pytest.mark.parametrize("piece", [0, 1])
def test_a_recording_with_a_missing_piece_has_no_audio(
    client: Client, job: Job, piece: int
) -> None:
    default_storage.delete(f"{folder(job.recording)}/samples-{piece:05d}.s16")
    response = client.get(audio_of(job))
    assert response.status_code == 404
    assert "files were deleted" in response.json()["detail"]


@pytest.mark.parametrize("what", ["audio", "peaks"])
@pytest.mark.parametrize("job_id", [UNKNOWN_ID, "no-id"])
def test_an_unknown_job_returns_404(client: Client, db: None, what: str, job_id: str) -> None:
    response = client.get(f"/app/jobs/{job_id}/{what}")
    assert response.status_code == 404
    assert response.json() == {"detail": "Transcription job not found or expired"}


@pytest.mark.parametrize("what", ["audio", "peaks"])
def test_post_returns_405(client: Client, job: Job, what: str) -> None:
    assert client.post(f"/app/jobs/{job.pk}/{what}").status_code == 405


# ---- Peaks


def test_peaks_are_a_byte_for_each_twentieth_of_a_second(
    client: Client, job: Job, samples: Samples
) -> None:
    response = client.get(peaks_of(job))
    assert response.status_code == 200
    assert response["Content-Type"] == "application/octet-stream"
    assert response["X-Peaks-Per-Second"] == "20"
    assert len(response.content) == -(-len(samples) // 800)


def test_peaks_of_a_recording_in_preparation_are_partial_and_not_cached(
    client: Client, job: Job
) -> None:
    Recording.objects.filter(pk=job.recording_id).update(duration=None)
    default_storage.delete(f"{folder(job.recording)}/peaks-00001.u8")
    response = client.get(peaks_of(job))
    assert len(response.content) == 1200
    assert response["Cache-Control"] == "no-store"
    assert "ETag" not in response


@pytest.mark.parametrize(
    ("duration", "status", "why"),
    [
        (None, Job.Status.QUEUED, "still being read"),
        (None, Job.Status.FAILED, "The job is failed"),
        (76.77, Job.Status.COMPLETED, "There is no waveform"),
    ],
)
def test_without_peaks_the_answer_gives_the_reason(
    client: Client, job: Job, duration: float | None, status: Job.Status, why: str
) -> None:
    delete_files(job.recording)
    Recording.objects.filter(pk=job.recording_id).update(duration=duration)
    Job.objects.filter(pk=job.pk).update(status=status)
    response = client.get(peaks_of(job))
    assert response.status_code == (409 if duration is None else 404)
    assert response["Cache-Control"] == "no-store"
    assert why in response.json()["detail"]


# ---- The real service


MINUTES = 180
MOST_READERS = 32  # the most threads of asyncio's default executor, which reads the files
LONG_BYTES = HEADER_BYTES + MINUTES * PIECE_BYTES
ROWS = """
import sys
import django
django.setup()
from transcription import access
access.become_service()
from transcription.models import Chunk, Job, Recording, Segment
recording = Recording.objects.create(id=sys.argv[1], name="a.wav", size=1, duration=float(sys.argv[2]))
job = Job.objects.create(id=sys.argv[1], recording=recording, status="completed", model_name="tiny.en")
chunk = Chunk.objects.create(job=job, index=0, start=0, end=9, streams=[], speech=[], state="done")
Segment.objects.create(
    job=job, chunk=chunk, start=0, end=9, text="word " * 50_000, words=[],
    avg_logprob=-0.2, no_speech_prob=0.0, compression_ratio=1.0, temperature=0.0,
)
"""


@pytest.fixture(scope="module")
def long_job(service: Service) -> str:
    """Return the id of a job in the service's data: three hours, each minute different, and one long segment."""
    job_id = uuid4()
    directory = service.data_dir / "files" / "recordings" / str(job_id)
    directory.mkdir(parents=True)
    for minute in range(MINUTES):
        with (directory / f"samples-{minute:05d}.s16").open("wb") as file:
            file.write(np.full(100_000, minute, "<i2").tobytes())
            file.truncate(PIECE_BYTES)
    add_rows(service, job_id, seconds=MINUTES * 60)
    return str(job_id)


def add_rows(service: Service, job_id: UUID, *, seconds: float) -> None:
    subprocess.run(
        [sys.executable, "-c", ROWS, str(job_id), str(seconds)],
        cwd=ROOT,
        env={
            "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
            **service.environment(),
        },
        check=True,
    )


def web_process(service: Service) -> psutil.Process:
    [web] = [p for p in service.processes() if "transcriber_site.web" in p.cmdline()]
    return web


def ask(service: Service, *requests: str) -> socket.socket:
    """Send requests and return the socket, with a small receive buffer and nothing read yet."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    client.settimeout(60)
    client.connect(("127.0.0.1", service.port))
    client.sendall(b"".join(f"{lines}\r\n\r\n".encode() for lines in requests))
    return client


def get(path: str, *headers: str) -> str:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers])


def read_response(client: socket.socket) -> tuple[bytes, str]:
    """Return a response's head and its body's SHA-256; the body must be as long as its Content-Length."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    [length] = [line for line in head.splitlines() if line.lower().startswith(b"content-length")]
    left, digest = int(length.split(b":")[1]), hashlib.sha256()
    while left:
        data = client.recv(min(left, 1024**2))
        assert data, f"{left:,} bytes are missing"
        digest.update(data)
        left -= len(data)
    return head, digest.hexdigest()


def digest_of(service: Service, job_id: str) -> str:
    """Return the SHA-256 of the WAV file that a client should receive."""
    directory = service.data_dir / "files" / "recordings" / job_id
    pieces = b"".join(piece.read_bytes() for piece in sorted(directory.glob("samples-*")))
    return hashlib.sha256(wav_of(pieces)).hexdigest()


@pytest.mark.slow
def test_a_slow_listener_costs_no_memory_holds_up_nobody_and_gets_every_byte(
    service: Service, long_job: str
) -> None:
    web = web_process(service)
    service.client.get("/health")
    before = peak_memory(web.pid)
    with closing(ask(service, get(f"/app/jobs/{long_job}/audio"))) as client:
        for _ in range(20):
            time.sleep(0.2)
            asked = time.monotonic()
            assert service.client.get("/health").status_code == 200
            assert time.monotonic() - asked < 1.0
        assert peak_memory(web.pid) - before < 60 * 1024**2
        head, digest = read_response(client)
    assert b"200 OK" in head
    assert f"content-length: {LONG_BYTES}".encode() in head.lower()
    assert digest == digest_of(service, long_job)
    assert peak_memory(web.pid) - before < 60 * 1024**2


@pytest.mark.slow
def test_listeners_that_go_away_leave_nothing_behind(service: Service, long_job: str) -> None:
    web = web_process(service)
    path = f"/app/jobs/{long_job}/audio"
    service.client.get(path, headers={"Range": "bytes=0-9"})

    def held() -> tuple[int, int]:
        sockets = sum(c.laddr.port == service.port for c in web.net_connections("tcp"))
        return sockets, web.num_fds()

    sockets, files = held()
    n_threads, n_clients = web.num_threads(), 40
    with ExitStack() as clients:
        for _ in range(n_clients):
            clients.enter_context(closing(ask(service, get(path))))
        # Each request has a thread of its own until its application returns.
        wait_for(lambda: web.num_threads() >= n_threads + n_clients, what="the begin of all")
        time.sleep(2)  # until all buffers are full
        assert held()[0] == sockets + n_clients
    wait_for(lambda: held() <= (sockets, files), what="the closing of all connections")
    most = n_threads + MOST_READERS
    wait_for(lambda: web.num_threads() <= most, what="the end of the applications")
    assert service.client.get("/health").status_code == 200


@pytest.mark.slow
def test_a_slow_listener_may_ask_again_on_the_same_connection(
    service: Service, long_job: str
) -> None:
    path = f"/app/jobs/{long_job}/audio"
    several = [
        get(path, "Range: bytes=0-29999999"),
        get("/health"),
        get(path, "Range: bytes=-9999999"),
        f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1",
    ]
    with closing(ask(service, *several)) as client:
        time.sleep(2)
        first, _ = read_response(client)
        second, _ = read_response(client)
        third, _ = read_response(client)
        assert b"bytes 0-29999999/" in first
        assert b"200 OK" in second
        assert f"-{LONG_BYTES - 1}/{LONG_BYTES}".encode() in third
        fourth = client.recv(64 * 1024)
        assert f"content-length: {LONG_BYTES}".encode() in fourth.lower()
        assert fourth.endswith(b"\r\n\r\n")


@pytest.mark.slow
def test_head_on_a_keep_alive_connection_sends_no_body(service: Service, long_job: str) -> None:
    head = f"HEAD /api/transcribe/result/{long_job} HTTP/1.1\r\nHost: 127.0.0.1"
    with closing(ask(service, head, get("/health", "Connection: close"))) as client:
        received = b"".join(iter(lambda: client.recv(1024**2), b""))
    first, second, rest = received.split(b"\r\n\r\n")
    assert int(re.findall(rb"(?i)content-length: (\d+)", first)[0]) > 250_000
    assert second.startswith(b"HTTP/1.1 200 OK")
    assert rest.startswith(b"{")


@pytest.mark.slow
def test_a_response_that_fails_midway_is_cut_off_and_others_are_still_served(
    service: Service,
) -> None:
    job_id = uuid4()
    directory = service.data_dir / "files" / "recordings" / str(job_id)
    directory.mkdir(parents=True)
    for minute in range(20):
        with (directory / f"samples-{minute:05d}.s16").open("wb") as file:
            file.truncate(PIECE_BYTES)
    add_rows(service, job_id, seconds=20 * 60)
    with closing(ask(service, get(f"/app/jobs/{job_id}/audio"))) as client:
        time.sleep(1)
        (directory / "samples-00015.s16").unlink()
        received = 0
        while data := client.recv(1024**2):
            received += len(data)
    assert 15 * PIECE_BYTES < received < 16 * PIECE_BYTES
    assert service.client.get("/health").status_code == 200


@pytest.mark.slow
async def test_a_browser_plays_and_seeks_a_long_recording(service: Service, long_job: str) -> None:
    async with browser() as running:
        page = await running.new_page(base_url=service.url)
        await page.goto("/health")
        played = await page.evaluate(
            """async (address) => {
                const audio = new Audio(address);
                const event = (name) => new Promise((resolve, reject) => {
                    audio.addEventListener(name, resolve, { once: true });
                    audio.addEventListener("error", () => reject(audio.error.message));
                });
                await event("loadedmetadata");
                const sought = event("seeked");
                audio.currentTime = 5400;
                await sought;
                await audio.play();
                while (audio.currentTime < 5401) await event("timeupdate");
                audio.pause();
                return { duration: audio.duration, at: audio.currentTime };
            }""",
            f"/app/jobs/{long_job}/audio",
        )
    assert played["duration"] == MINUTES * 60
    assert 5401 <= played["at"] < 5410
