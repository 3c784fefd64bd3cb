"""The real service: `manage.py serve` as its own tree of processes, and what a client does with it."""

import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg
import redis
from psycopg.types.json import set_json_loads
from websockets.sync.client import connect

from tests import servers
from tests.servers import free_port

ROOT = Path(__file__).parent.parent
ON_SERVERS = bool(os.environ.get("REDIS_URL"))
"""Whether these are the tests on PostgreSQL and Redis: see on_servers.py."""
OTHER_SITE = "https://notes.example.org"
NO_PROVIDER = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TRANSCRIBER_LLM_MODEL")
Found = TypeVar("Found")


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


def _stop(process: psutil.Process) -> None:
    """Suspend a process, and wait until it stands still: its threads run on until one of them takes the signal."""

    def stands_still() -> bool:
        threads = Path(f"/proc/{process.pid}/task").glob("*/stat")
        states = [thread.read_text().rpartition(")")[2].split()[0] for thread in threads]
        return all(state in "TtZX" for state in states)

    process.suspend()
    wait_for(stands_still, what="the stop of a process")


def _as_text(data: str | bytes) -> str:
    return data if isinstance(data, str) else bytes(data).decode()


def _on_machine(name: str) -> list[str]:
    if not name:
        return []
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    unshare = ["unshare", *as_root, "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*unshare, "sh", "-c", 'hostname "$0" && exec "$@"', name]


class Service:
    """`settings` are environment variables; `roles` are those of `serve --only`, all of them if empty.

    With the name of a `machine`, it has that as its host's, and sees no process but its own: as on another one.
    `options` are further ones of `serve`; with the file of an `authority`, it speaks TLS with a certificate of that.

    In the tests on servers each service has a database of either for itself, unless `settings` name others.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        roles: str = "",
        machine: str = "",
        options: Sequence[str] = (),
        authority: str = "",
        **settings: str,
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"{'https' if authority else 'http'}://127.0.0.1:{self.port}"
        self.options = options
        self._verify = ssl.create_default_context(cafile=authority) if authority else True
        self.roles = roles
        self.machine = machine
        self.settings = settings
        self.client = httpx.Client(base_url=self.url, timeout=60, verify=self._verify)
        self.process: subprocess.Popen[bytes] | None = None
        self._made: dict[str, str] = {}

    def __enter__(self) -> "Service":
        if ON_SERVERS and "REDIS_URL" not in self.settings:
            self._made = {
                "DATABASE_URL": servers.create_database(os.environ["TEST_DATABASE_URL"]),
                "REDIS_URL": servers.empty_redis_database(os.environ["TEST_REDIS_URL"]),
            }
            self.settings = {**self._made, **self.settings}
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        try:
            self.stop()
        finally:
            if self._made:
                servers.flush(self._made["REDIS_URL"])
                servers.drop_database(
                    self._made["DATABASE_URL"], server_url=os.environ["TEST_DATABASE_URL"]
                )

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TRANSCRIBER_DATA_DIR": str(self.data_dir),
            "HF_HUB_OFFLINE": "1",
            **dict.fromkeys(NO_PROVIDER, ""),
            **self.settings,
        }

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        only = ["--only", self.roles] if self.roles else []
        with (self.data_dir / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *_on_machine(self.machine),
                    *(sys.executable, "manage.py", "serve", "--port", str(self.port), *only),
                    *self.options,
                ],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if not self.roles or "web" in self.roles:
            wait_for(self._is_healthy, what="the start of the service")

    def run(self, module: str, *arguments: str) -> str:
        """What `python -m module` writes in the environment of the service."""
        done = self.attempt(module, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attempt(
        self, module: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m module` in the environment of the service, which may fail."""
        environment = {
            "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
            **self.environment(),
            **variables,
        }
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    def _is_healthy(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"The service did not start:\n{self.log()}")
        try:
            return httpx.get(f"{self.url}/health", verify=self._verify).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        for process in self.processes()[1:2] if self.machine else [self.process]:
            process.send_signal(signal.SIGTERM)
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

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a statement of SQL with `%s` for values gives, if any; JSON as text."""
        if url := self.settings.get("DATABASE_URL"):
            with psycopg.connect(url) as database:
                set_json_loads(_as_text, database)
                cursor = database.execute(statement, values)
                return list(cursor) if cursor.description else []
        path = self.data_dir / "transcriber.sqlite3"
        with closing(sqlite3.connect(path, timeout=20)) as file, file:
            return file.execute(statement.replace("%s", "?"), values).fetchall()

    def has_no_open_transaction(self) -> bool:
        """Whether no process is in the midst of a transaction that others may wait for."""
        if self.settings.get("DATABASE_URL"):
            statement = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type = 'client backend'"
            )
            return bool(self.query(statement)[0][0] == 0)
        path = self.data_dir / "transcriber.sqlite3"
        with closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as file:
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            file.execute("ROLLBACK")
        return True

    @contextmanager
    def suspended(self, processes: Sequence[psutil.Process]) -> Iterator[None]:
        """Suspend processes and their children, at a moment when they hold no lock: on SQLite others would wait."""
        held: list[psutil.Process] = []

        def suspend() -> bool:
            held[:] = processes
            for process in held:
                _stop(process)
                held.extend(child for child in process.children() if child not in held)
            if self.has_no_open_transaction():
                return True
            resume()
            return False

        def resume() -> None:
            for process in held:
                process.resume()

        wait_for(suspend, what="a moment without a transaction")
        try:
            yield
        finally:
            resume()

    def lose_messages(self) -> int:
        """Empty the queues; returns how many messages waited there."""
        if url := self.settings.get("REDIS_URL"):
            with closing(redis.from_url(url)) as client:
                keys = [f"django_q:{name}:q" for name in ("speech", "interactive")]
                n_lost = sum(int(client.llen(key)) for key in keys)
                client.flushdb()
                return n_lost
        n_lost = self.query("SELECT count(*) FROM django_q_ormq")[0][0]
        self.query("DELETE FROM django_q_ormq")
        return int(n_lost)

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
