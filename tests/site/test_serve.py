"""`manage.py serve`: a real service is stopped, killed, and started twice."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.servers import free_port
from tests.service import peak_memory

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen[bytes]
    port: int
    data_dir: Path

    def processes(self) -> dict[int, str]:
        """The command lines of all living processes of this service, by process id."""
        return processes_of(self.data_dir)

    def children(self, what: str) -> list[int]:
        """The direct children of `serve` whose command line contains `what`."""
        return [
            pid
            for pid, command in self.processes().items()
            if what in command and parent_of(pid) == self.process.pid
        ]

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/health", timeout=2
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def test_sigterm_leaves_no_process(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.process.terminate()
        assert service.process.wait(TIMEOUT_SECONDS) == 0
        assert service.processes() == {}


def test_kill_of_serve_leaves_no_process(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.process.kill()
        service.process.wait()
        wait_until(lambda: service.processes() == {}, "no process is left")


@pytest.mark.parametrize("what", ["transcriber_site.web", "--name speech", "--name interactive"])
def test_a_killed_child_is_replaced_and_leaves_nothing(tmp_path: Path, what: str) -> None:
    with running(tmp_path) as service:
        [child] = service.children(what)
        family = descendants_of(child, service.processes())
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: service.children(what) not in ([], [child]), f"{what} runs again")
        wait_until(lambda: not family & service.processes().keys(), "the old one's are gone")
        wait_until(service.is_up, "the service answers")


def test_a_cluster_is_replaced_as_a_whole_whichever_of_its_idle_processes_is_killed(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as service:
        for position in range(1, 5):  # sentinel, worker, monitor, pusher, in the order of starting
            [leader] = service.children("--name speech")
            wait_until(partial(is_complete, service, leader), "the cluster is complete")
            family = descendants_of(leader, service.processes())
            os.kill(sorted(family)[position], signal.SIGKILL)
            wait_until(partial(is_replaced, service, leader), "the cluster runs again")
            wait_until(partial(are_gone, service, family), "the old one is gone")


def is_complete(service: Service, leader: int) -> bool:
    return len(descendants_of(leader, service.processes())) == 5


def is_replaced(service: Service, leader: int) -> bool:
    return service.children("--name speech") not in ([], [leader])


def are_gone(service: Service, family: set[int]) -> bool:
    return not family & service.processes().keys()


def test_a_port_in_use_is_an_error_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_refused(port, tmp_path)
    assert done.returncode != 0
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_service_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        done = run_refused(free_port(), tmp_path)
        assert done.returncode != 0
        assert "Another `serve` already runs the role web on" in done.stderr
        assert service.is_up()


def test_the_first_file_waits_for_no_start_of_a_decoder(tmp_path: Path) -> None:
    with running(tmp_path) as service:

        def owners() -> list[str]:
            """The processes that have a spawner of decoders."""
            names = ("transcriber_site.web", "--name speech", "--name interactive")
            commands: list[str] = []
            for process in psutil.Process(service.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has ended since
                    parent = process.parent()
                    if parent and "transcription.speech.media.decoder" in process.cmdline():
                        commands.append(" ".join(parent.cmdline()))
            return sorted(name for command in commands for name in names if name in command)

        expected = ["--name interactive", "transcriber_site.web"]
        wait_until(lambda: owners() == expected, "the web process and a worker have one each")


def test_the_roles_can_be_started_apart(tmp_path: Path) -> None:
    with running(tmp_path, "--only", "web,interactive") as service:
        assert service.children("transcriber_site.web")
        assert service.children("--name interactive")
        assert not service.children("--name speech")
        log = (tmp_path / "other.log").open("w")
        other = subprocess.Popen(
            [*command(service.port), "--only", "speech"],
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=log,
            stderr=log,
        )
        try:
            wait_until(
                lambda: "Transcriber runs speech" in (tmp_path / "other.log").read_text(),
                "the workers run beside it, on the same folder",
            )
            done = run_refused(free_port(), tmp_path, "--only", "speech")
            assert done.returncode != 0
            assert "Another `serve` already runs the role speech" in done.stderr
        finally:
            other.terminate()
            assert other.wait(TIMEOUT_SECONDS) == 0


@pytest.mark.parametrize("roles", ["", "webb", "web;speech", "web,"])
def test_an_unknown_role_is_refused(tmp_path: Path, roles: str) -> None:
    done = run_refused(free_port(), tmp_path, "--only", roles)
    assert done.returncode == 2
    assert "unknown role" in done.stderr
    assert "Choose from web, speech, interactive." in done.stderr


def test_a_database_that_never_answers_is_an_error(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/none"}
    done = subprocess.run(
        [sys.executable, "-c", WITH_SHORT_TIMEOUT, "--port", str(free_port())],
        cwd=ROOT,
        env={
            **environment(tmp_path),
            **settings,
            "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Waiting for the database" in done.stderr
    assert "The database cannot be used (DATABASE_URL)" in done.stderr
    assert "Traceback" not in done.stderr


WITH_SHORT_TIMEOUT = """
import sys, django
django.setup()
from django.core.management import execute_from_command_line
from transcriber_site.management.commands import serve
serve.DATABASE_TIMEOUT_SECONDS = 2
execute_from_command_line(["manage.py", "serve", *sys.argv[1:]])
"""


def test_an_upload_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    megabytes = 100
    head = (
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    tail = b"\r\n--cut--\r\n"
    with running(tmp_path) as service:
        [web] = service.children("transcriber_site.web")
        before = peak_memory(web)
        client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT_SECONDS)
        client.putrequest("POST", "/api/transcribe/")
        client.putheader("Content-Type", "multipart/form-data; boundary=cut")
        client.putheader("Content-Length", str(len(head) + megabytes * 1024**2 + len(tail)))
        client.endheaders(head)
        for _ in range(megabytes):
            client.send(bytes(1024**2))
        client.send(tail)
        client.getresponse().read()
        assert peak_memory(web) - before < 40 * 1024**2


def test_an_incomplete_upload_is_removed_at_start(tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "abc.upload.wav").write_bytes(b"RIFF")
    with running(tmp_path):
        assert list((tmp_path / "uploads").iterdir()) == []


@contextmanager
def running(data_dir: Path, *options: str) -> Iterator[Service]:
    port = free_port()
    process = subprocess.Popen(
        [*command(port), *options],
        cwd=ROOT,
        env=environment(data_dir),
        stdout=(data_dir / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    service = Service(process, port, data_dir)
    try:
        announcement = f"Transcriber is at http://127.0.0.1:{port}\n"
        log = data_dir / "log"
        wait_until(lambda: announcement in log.read_text() or not is_alive(process), "it is up")
        assert announcement in log.read_text(), log.read_text()
        least = 6 if options else 10
        wait_until(lambda: len(service.processes()) >= least, "all clusters are complete")
        yield service
    finally:
        process.kill()
        process.wait()
        for pid in service.processes():
            os.kill(pid, signal.SIGKILL)


def run_refused(port: int, data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `serve`, which is expected to exit by itself."""
    return subprocess.run(
        [*command(port), *options],
        cwd=ROOT,
        env=environment(data_dir),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


def is_alive(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def command(port: int) -> list[str]:
    return [sys.executable, "manage.py", "serve", "--port", str(port)]


def environment(data_dir: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TRANSCRIBER_DATA_DIR": str(data_dir),
        "TRANSCRIBER_INTERACTIVE_WORKERS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_SECONDS:.0f} s: {what}"
        time.sleep(0.1)


def processes_of(data_dir: Path) -> dict[int, str]:
    variable = f"TRANSCRIBER_DATA_DIR={data_dir}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, UnicodeDecodeError):
            continue  # it has exited, or belongs to another user
    return found


def parent_of(pid: int) -> int:
    try:
        # The second field, a name in parentheses, may contain spaces.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def descendants_of(pid: int, among: dict[int, str]) -> set[int]:
    found = {pid}
    while grown := {other for other in among if parent_of(other) in found} - found:
        found |= grown
    return found
