import fcntl
import http.client
import logging
import os
import socket
import ssl
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from accounts.first_person import adopt_ownerless
from accounts.one_time_links import make_first_person_link
from transcriber_site import exposure, tls
from transcriber_site.backup.restoring import unfinished_restore
from transcriber_site.supervisor import Child, Supervisor
from transcription.leasing import schema
from transcription.leasing.registry import INTERACTIVE, SPEECH

WEB = "web"
ROLES = (WEB, SPEECH, INTERACTIVE)
DATABASE_TIMEOUT_SECONDS = 60
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_MIGRATION_LOCK = 7_203_411  # an advisory lock's key: any number that nothing else uses

_logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Run the service, or some of its roles: migrate, then supervise web process and workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
        )
        parser.add_argument(
            "--port",
            type=_parse_port,
            default=8000,
            help="port to listen on (default: %(default)s)",
        )
        parser.add_argument(
            "--only",
            type=_parse_roles,
            default=ROLES,
            metavar="ROLES",
            help=f"comma-separated roles to run here: {', '.join(ROLES)} (default: all)",
        )
        parser.add_argument(
            "--certificate", type=Path, help="PEM file of the certificate, to speak TLS; with --key"
        )
        parser.add_argument("--key", type=Path, help="PEM file of the certificate's private key")

    def handle(self, *args: Any, **options: Any) -> None:
        host, port, roles = options["host"], options["port"], options["only"]
        endpoint = None
        if WEB in roles:
            if reason := exposure.bind_refusal(host):
                raise CommandError(reason)
            endpoint = _encrypted_endpoint(host, port, options["certificate"], options["key"])
        with ExitStack() as locks:
            for role in roles:
                locks.enter_context(_role_lock(role, settings.TRANSCRIBER_DATA_DIR))
            if WEB in roles:
                _check_port_free(host, port)
            check_restored()
            _migrate_with_retry()
            if settings.TRANSCRIBER_ACCOUNTS != "off":
                adopt_ownerless()
            children, on_tick = _worker_children(roles), _do_nothing
            if WEB in roles:
                _remove_incomplete_uploads()
                children.insert(0, _web_child(host, port, endpoint))
                if settings.TRANSCRIBER_ACCOUNTS != "off":
                    # Behind a proxy that speaks TLS this machine's own address leads nowhere.
                    is_behind_proxy = settings.TRANSCRIBER_HTTPS and endpoint is None
                    address = _shown_address(host, port, is_encrypted=endpoint is not None)
                    address = "https://YOUR-SERVER" if is_behind_proxy else address
                    _say_how_to_begin(address, self.stdout.write)
                on_tick = _StartMessage(
                    host, port, self.stdout.write, is_encrypted=endpoint is not None
                ).write_when_up
            else:
                self.stdout.write(f"Transcriber runs {', '.join(roles)}")
            Supervisor(children).run(on_tick=on_tick)


def _do_nothing() -> None:
    """Without the web process there is no address to report."""


def _say_how_to_begin(address: str, write: Callable[[str], None]) -> None:
    """While there is no administrator: write a link that makes one, good for a day or until the next start."""
    path = make_first_person_link()
    if path is not None:
        write(
            "This service has no administrator yet. Within a day, open "
            f"{address}{path} and become the first one, or use: python manage.py createsuperuser "
            "(in a container: docker compose exec web python manage.py createsuperuser)"
        )


def _shown_address(host: str, port: int, *, is_encrypted: bool) -> str:
    address = _LOOPBACK.get(host, host)
    scheme = "https" if is_encrypted else "http"
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def _environment() -> dict[str, str]:
    root = str(settings.BASE_DIR)
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
    }


def _encrypted_endpoint(
    host: str, port: int, certificate: Path | None, key: Path | None
) -> str | None:
    """Where to listen with TLS; None without a certificate. Raises CommandError."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise CommandError("TLS needs both --certificate and --key.")
    try:
        return tls.endpoint(
            host, port, certificate=certificate, key=key, folder=settings.TRANSCRIBER_DATA_DIR
        )
    except tls.CertificateError as error:
        raise CommandError(str(error)) from None


def _web_child(host: str, port: int, endpoint: str | None) -> Child:
    where = ["--endpoint", endpoint] if endpoint else ["--bind", host, "--port", str(port)]
    command = [
        *("-m", "transcriber_site.web", *where, "--verbosity", "0", "--no-server-name"),
        *("--websocket_timeout", "-1", "transcriber_site.asgi:application"),
    ]
    environment = {
        **_environment(),
        "MALLOC_ARENA_MAX": "2",  # glibc otherwise keeps an arena for each of many request threads
    }
    return Child("web", [sys.executable, *command], environment)


def _worker_children(roles: Sequence[str]) -> list[Child]:
    counts = {
        SPEECH: settings.TRANSCRIBER_SPEECH_WORKERS,
        INTERACTIVE: settings.TRANSCRIBER_INTERACTIVE_WORKERS,
    }
    children = []
    for name in (role for role in roles if role in counts):
        command = [sys.executable, "-m", "django", "qcluster", "--skip-checks", "--name", name]
        environment = {**_environment(), "Q_CLUSTER_NAME": name}
        for number in range(1, counts[name] + 1):
            title = name if counts[name] == 1 else f"{name} {number}"
            children.append(Child(title, command, environment))
    return children


class _StartMessage:
    """Writes the service's address once, as soon as it answers there."""

    def __init__(
        self, host: str, port: int, write: Callable[[str], None], *, is_encrypted: bool = False
    ) -> None:
        self._host, self._port, self._write = host, port, write
        self._is_encrypted = is_encrypted
        self._next_try = 0.0
        self._done = False

    def write_when_up(self) -> None:
        if self._done or time.monotonic() < self._next_try:
            return
        address = _LOOPBACK.get(self._host, self._host)
        client = self._connect(address)
        try:
            client.request("GET", "/health")
            # 400 if the address is not one of the allowed hosts: the service is up all the same.
            self._done = client.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            self._next_try = time.monotonic() + 0.2
        finally:
            client.close()
        if self._done:
            shown = _shown_address(self._host, self._port, is_encrypted=self._is_encrypted)
            self._write(f"Transcriber is at {shown}")

    def _connect(self, address: str) -> http.client.HTTPConnection:
        if not self._is_encrypted:
            return http.client.HTTPConnection(address, self._port, timeout=1)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is our own
        return http.client.HTTPSConnection(address, self._port, timeout=1, context=context)


@contextmanager
def _role_lock(role: str, data_dir: Path) -> Iterator[None]:
    """Hold the lock that lets one `serve` at a time run a role on this data folder."""
    with (data_dir / f"serve-{role}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"Another `serve` already runs the role {role} on {data_dir}. "
                "Stop it, or set TRANSCRIBER_DATA_DIR to another folder."
            ) from None
        yield


def _check_port_free(host: str, port: int) -> None:
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


def check_restored() -> None:
    """Raises CommandError if a restore was interrupted: the service would begin with half of it."""
    folder = unfinished_restore()
    if folder:
        raise CommandError(f"A restore was interrupted. Go on with it: manage.py restore {folder}")


def _migrate_with_retry() -> None:
    """Migrate; while a PostgreSQL server does not answer, retry until DATABASE_TIMEOUT_SECONDS.

    Raises CommandError if the database cannot be used.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(OperationalError),
        wait=wait_fixed(1),
        stop=stop_after_delay(DATABASE_TIMEOUT_SECONDS if _is_shared() else 0),
        before_sleep=_log_waiting,
        reraise=True,
    )
    try:
        retrying(_migrate)
    except OperationalError as error:
        raise CommandError(f"The database cannot be used (DATABASE_URL): {error}") from None


def _log_waiting(state: RetryCallState) -> None:
    connection.close()
    if state.attempt_number == 1 and state.outcome is not None:
        _logger.warning("Waiting for the database: %s", state.outcome.exception())


def _migrate() -> None:
    """Run the migrations; on PostgreSQL under a lock, as other machines may do so too."""
    shared = _is_shared()
    with connection.cursor() as cursor:
        if shared:
            cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        try:
            _check_not_newer()
            call_command("migrate", interactive=False, verbosity=0)
        finally:
            if shared:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])
    connection.close()


def _check_not_newer() -> None:
    """Raises CommandError if a newer version has migrated the database: this one would write wrong rows."""
    unknown = schema.look().unknown
    if unknown:
        raise CommandError(
            f"The database was migrated by a newer version (migration {unknown[0]}). Start that version here too; "
            "to go back to this one, restore a backup that it made."
        )


def _is_shared() -> bool:
    return connection.vendor == "postgresql"


def _remove_incomplete_uploads() -> None:
    """Delete the spooled uploads of a web process that was killed; no other process uses this folder."""
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir():
        if path.is_file():
            path.unlink(missing_ok=True)


def _parse_roles(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in ROLES]
    if unknown:
        raise ArgumentTypeError(f"unknown role {unknown[0]!r}. Choose from {', '.join(ROLES)}.")
    return [role for role in ROLES if role in names]


def _parse_port(value: str) -> int:
    number = int(value)
    if not 0 < number < 65536:
        raise ValueError(value)
    return number
