import fcntl
import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from transcriber_site.supervisor import Child, Supervisor

_MIGRATION_LOCK = 7_203_411  # any number that nothing else in the database uses


class Command(BaseCommand):
    help = "Run the whole service here: migrate, then the web process and the workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
        )
        parser.add_argument(
            "--port", type=_port, default=8000, help="port to listen on (default: %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        with _only_service_of(settings.TRANSCRIBER_DATA_DIR):
            _check_free(host, port)
            _migrate()
            _remove_broken_uploads()
            announcement = _Announcement(host, port, self.stdout.write)
            Supervisor(_children(host, port)).run(on_tick=announcement.when_up)


def _children(host: str, port: int) -> list[Child]:
    root = str(settings.BASE_DIR)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
    }
    web = [
        *(
            "-m",
            "transcriber_site.web",
            "--bind",
            host,
            "--port",
            str(port),
            "--verbosity",
            "0",
            "--no-server-name",
        ),
        *("--websocket_timeout", "-1", "transcriber_site.asgi:application"),
    ]
    # daphne keeps uploads in the folder for temporary files until they are complete: let it be on
    # the disk that is meant for them.
    web_environment = {
        **environment,
        "TMPDIR": settings.FILE_UPLOAD_TEMP_DIR,
        "MALLOC_ARENA_MAX": "2",  # each request has a thread: without this each keeps memory of its own
    }
    children = [Child("web", [sys.executable, *web], web_environment)]
    for name, count in (
        ("speech", settings.TRANSCRIBER_SPEECH_WORKERS),
        ("interactive", settings.TRANSCRIBER_INTERACTIVE_WORKERS),
    ):
        command = [sys.executable, "-m", "django", "qcluster", "--skip-checks", "--name", name]
        for number in range(1, count + 1):
            title = name if count == 1 else f"{name} {number}"
            children.append(Child(title, command, {**environment, "Q_CLUSTER_NAME": name}))
    return children


class _Announcement:
    """Says once where the service is, as soon as it answers there."""

    def __init__(self, host: str, port: int, write: Callable[[str], None]) -> None:
        self._host, self._port, self._write = host, port, write
        self._next_try = 0.0
        self._done = False

    def when_up(self) -> None:
        if self._done or time.monotonic() < self._next_try:
            return
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        client = http.client.HTTPConnection(address, self._port, timeout=1)
        try:
            client.request("GET", "/health")
            self._done = (
                client.getresponse().status < 500
            )  # 400 where the name is not one of the allowed hosts
        except (OSError, http.client.HTTPException):
            self._next_try = time.monotonic() + 0.2
        finally:
            client.close()
        if self._done:
            shown = f"[{address}]" if ":" in address else address
            self._write(f"Transcriber is at http://{shown}:{self._port}")


@contextmanager
def _only_service_of(data_dir: Path) -> Iterator[None]:
    with (data_dir / "serve.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"Another `serve` runs on {data_dir}. "
                "Stop it, or give this one another folder: TRANSCRIBER_DATA_DIR."
            ) from None
        yield


def _check_free(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Try another --host or --port."
        ) from None


def _migrate() -> None:
    """Bring the database up to date; on PostgreSQL other machines may be doing so too."""
    shared = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if shared:
            cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        try:
            call_command("migrate", interactive=False, verbosity=0)
        finally:
            if shared:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])
    connection.close()


def _remove_broken_uploads() -> None:
    """What uploads left behind whose web process was killed; no other one uses this folder."""
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir():
        if path.is_file():
            path.unlink(missing_ok=True)


def _port(value: str) -> int:
    number = int(value)
    if not 0 < number < 65536:
        raise ValueError(value)
    return number
