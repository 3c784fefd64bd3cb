"""Weights are fetched over HTTP from a hub that a test serves itself."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import pytest

from tests.service import ROOT
from transcription.speech import fetching, weights
from transcription.speech.catalogue import MODELS
from transcription.speech.engines.base import ModelUnavailableError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "Systran/faster-whisper-small"


def model_bin(n_bytes: int) -> bytes:
    """A CTranslate2 model of one variable: whole, though nothing could be done with it."""
    name = b"encoder/zeros\0"
    return b"".join(
        [
            struct.pack("<IH", 6, 12),
            b"WhisperSpec\0",
            struct.pack("<IIH", 3, 1, len(name)),
            name,
            struct.pack("<BIBI", 1, n_bytes, 1, n_bytes),
            bytes(n_bytes),
            struct.pack("<I", 0),
        ]
    )


FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "vocabulary.txt": b"a\nb\n",
    "model.bin": model_bin(3_000_000),
    "README.md": b"not needed",
}


class FakeHub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks for; `requests` are method, path, and range."""

    requests: list[tuple[str, str, str | None]]
    files: dict[str, bytes]
    url: str

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        asked_range = self.headers.get("Range")
        self.requests.append((self.command, self.path, asked_range))
        path = self.path.partition("?")[0]
        body = self.files.get(path.rpartition("/")[2])
        if path.startswith("/api/models/"):
            siblings = [{"rfilename": n, "size": len(b)} for n, b in self.files.items()]
            body = json.dumps({"id": REPO, "sha": COMMIT, "siblings": siblings}).encode()
        if body is None:
            self.send_error(404)
            return
        first = int(asked_range.removeprefix("bytes=").partition("-")[0]) if asked_range else 0
        self.send_response(206 if asked_range else 200)
        if asked_range:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body[first:])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def hub() -> Iterator[type[FakeHub]]:
    class Hub(FakeHub):
        requests: list[tuple[str, str, str | None]] = []
        files = dict(FILES)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(tmp_path: Path, hub: type[FakeHub]) -> dict[str, str]:
    """For a process of its own, because the hub's client reads its settings when imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return kept | {"HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def download_small(models_dir: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    code = f"""
import json
from pathlib import Path
from transcription.speech import fetching, weights
from transcription.speech.catalogue import MODELS
small, told = MODELS["small"], []
assert fetching.can_download(small, engine="faster-whisper")
weights.ensure_weights(
    small, engine="faster-whisper", models_dir=Path({str(models_dir)!r}),
    on_progress=lambda done, total: told.append((done, total)),
)
print(json.dumps(told))
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_weights_come_from_the_hub(
    hub: type[FakeHub], environment: dict[str, str], tmp_path: Path
) -> None:
    process = download_small(tmp_path / "models", environment)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    done, total = json.loads(output)[-1]
    assert done == total == sum(len(body) for name, body in FILES.items() if name != "README.md")
    found = weights.locate(MODELS["small"], engine="faster-whisper", models_dir=tmp_path / "models")
    assert found is not None
    assert found.source == "folder"
    assert sorted(path.name for path in found.path.iterdir()) == sorted(set(FILES) - {"README.md"})


def test_two_processes_that_need_a_model_fetch_it_once(
    hub: type[FakeHub], environment: dict[str, str], tmp_path: Path
) -> None:
    processes = [download_small(tmp_path / "models", environment) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    fetched = [path for method, path, _ in hub.requests if method == "GET" and "model.bin" in path]
    assert len(fetched) == 1


@pytest.fixture
def checkpoint_hub(
    hub: type[FakeHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> type[FakeHub]:
    """Serves a checkpoint of openai-whisper, under a URL with its checksum as in that package."""
    torch = import_module("torch")
    torch.save({"dims": {}, "noise": torch.rand(1_000_000)}, tmp_path / "noise.pt")
    body = (tmp_path / "noise.pt").read_bytes()
    hub.files["small.pt"] = body
    url = f"{hub.url}/models/{hashlib.sha256(body).hexdigest()}/small.pt"
    monkeypatch.setattr(fetching, "_openai_url", lambda name: url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return hub


def fetch_checkpoint(models_dir: Path) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    weights.ensure_weights(
        MODELS["small"],
        engine="openai-whisper",
        models_dir=models_dir,
        on_progress=lambda done, total: told.append((done, total)),
    )
    return told


def test_an_interrupted_download_goes_on_where_it_stopped(
    checkpoint_hub: type[FakeHub], tmp_path: Path
) -> None:
    body = checkpoint_hub.files["small.pt"]
    (tmp_path / "models" / ".partial" / "small").mkdir(parents=True)
    (tmp_path / "models" / ".partial" / "small" / "small.pt").write_bytes(body[:1_000_000])
    told = fetch_checkpoint(tmp_path / "models")
    assert (tmp_path / "models" / "small.pt").read_bytes() == body
    assert told[-1] == (len(body), len(body))
    assert [asked for _, _, asked in checkpoint_hub.requests] == ["bytes=1000000-"]


def test_a_damaged_download_is_refused_and_not_kept(
    checkpoint_hub: type[FakeHub], tmp_path: Path
) -> None:
    checkpoint_hub.files["small.pt"] = checkpoint_hub.files["small.pt"][:-1] + b"x"
    with pytest.raises(ModelUnavailableError, match="SHA-256"):
        fetch_checkpoint(tmp_path / "models")
    assert not list((tmp_path / "models").rglob("*.pt"))
