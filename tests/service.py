"""The real service: `manage.py serve` as its own tree of processes, and what a client does with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from websockets.sync.client import connect

ROOT = Path(__file__).parent.parent
NO_PROVIDER = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TRANSCRIBER_LLM_MODEL")
Found = TypeVar("Found")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(look: Callable[[], Found | None], *, what: str, seconds: float = 60.0) -> Found:
    """What `look` finds, as soon as it finds something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


def peak_memory(pid: int) -> int:
    """The most bytes of memory that a process has held at once.

    Not `ru_maxrss`: that begins with what the process held that started this one.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Service:
    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "TRANSCRIBER_DATA_DIR": str(self.data_dir),
            "HF_HUB_OFFLINE": "1",
            **dict.fromkeys(NO_PROVIDER, ""),
            **self.settings,
        }
        with (self.data_dir / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(self.port)],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(self._is_healthy, what="the start of the service")

    def _is_healthy(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"The service did not start:\n{self.log()}")
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """kill -9 of every process of the service at once."""
        processes = self.processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)
        assert self.process is not None
        self.process.wait()

    def processes(self) -> list[psutil.Process]:
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def log(self) -> str:
        return (self.data_dir / "service.log").read_text()

    def upload(self, path: Path, **fields: str) -> str:
        """The id of a job for `path`; fields default to tiny.en without speakers."""
        fields = {"model_name": "tiny.en", "diarize": "false", **fields}
        with path.open("rb") as file:
            answer = self.client.post("/api/transcribe/", data=fields, files={"file": file})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.get(f"/api/transcribe/status/{job_id}").json()
        return answer

    def debug(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.get(f"/api/transcribe/debug/{job_id}").json()
        return answer

    def finished(self, job_id: str, *, seconds: float = 120.0) -> dict[str, Any]:
        """The status document once the job has ended."""

        def ended() -> dict[str, Any] | None:
            status = self.status(job_id)
            return status if status["status"] != "processing" else None

        return wait_for(ended, what=f"the end of job {job_id}", seconds=seconds)

    def result(self, job_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/api/transcribe/result/{job_id}")
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def transcribe(self, path: Path, **fields: str) -> dict[str, Any]:
        job_id = self.upload(path, **fields)
        status = self.finished(job_id)
        assert status["status"] == "completed", status
        return self.result(job_id)

    def listen(self, job_id: str, query: str = "") -> Iterator[dict[str, Any]]:
        """The messages of the live socket, until the service closes it."""
        url = f"ws://127.0.0.1:{self.port}/api/transcribe/live/{job_id}{query}"
        with connect(url) as socket:
            for message in socket:
                yield json.loads(message)
