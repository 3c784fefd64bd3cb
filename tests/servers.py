"""PostgreSQL and Redis for tests.

`python -m tests.servers` installs them where they are not. A test that stops a server starts one of its own.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

PACKAGES = ("postgresql", "redis-server")
N_REDIS_DATABASES = 64
START_SECONDS = 60.0


class MissingServerError(Exception):
    """A server that tests need is neither here nor can be brought here."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- What a service under test has for itself


def create_database(server_url: str) -> str:
    """The URL of a new database on the server."""
    name = f"transcriber_test_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def drop_database(url: str, *, server_url: str) -> None:
    name = urlsplit(url).path.removeprefix("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def empty_redis_database(server_url: str) -> str:
    """The URL of a database that holds nothing: whatever else the server is for is left alone."""
    with closing(redis.from_url(server_url)) as client:
        n_databases = int(str(client.config_get("databases")["databases"]))
    for number in range(n_databases - 1, 0, -1):
        url = f"{server_url.rstrip('/')}/{number}"
        with closing(redis.from_url(url)) as client:
            # Taken by writing to it, so that the next who asks gets another one.
            if client.dbsize() == 0 and client.set("taken by a test", 1, nx=True):
                return url
    raise MissingServerError(f"None of the databases of {server_url} is empty.")


def flush(redis_database_url: str) -> None:
    with closing(redis.from_url(redis_database_url)) as client:
        client.flushdb()


# ---- Servers of a test's own


NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """A PostgreSQL server on a port of its own, to be stopped, killed and started again.

    One that is not `durable` waits for no disk, and may lose commits when it is stopped at once.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._durability = {} if durable else NOT_DURABLE
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        # Not below pytest's folders: root alone may enter those, and PostgreSQL does not run as root.
        self._folder = Path(tempfile.mkdtemp(prefix="transcriber-postgres-"))
        self._data = self._folder / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)

    def __enter__(self) -> "Postgres":
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._folder,
            "max_connections": 300,
            **self._durability,
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "-w", "-l", str(self._folder / "log"), "-o", options)

    def stop(self, *, mode: str = "immediate") -> None:
        """`immediate` is as if the power failed: what was committed is recovered at the next start."""
        self._run("pg_ctl", "stop", "-w", "-m", mode)

    def n_transactions(self) -> int:
        """How many there have been: of the service, whose statements for the most part are one each."""
        time.sleep(2.0)  # they are counted with a delay
        with psycopg.connect(self.url) as connection:
            [[n]] = connection.execute("SELECT sum(xact_commit) FROM pg_stat_database")
        return int(n)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_postgres_folder() / program), "-D", str(self._data), *arguments]
        done = subprocess.run(
            command,
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if done.returncode:
            log = self._folder / "log"
            raise AssertionError(f"{program} failed: {log.read_text() if log.exists() else ''}")


class Redis:
    """A Redis server on a port of its own, which keeps nothing on disk: a restart empties it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Redis":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "databases": str(N_REDIS_DATABASES),
            "save": "",
            "appendonly": "no",
        }
        command = [_program("redis-server")]
        for name, value in options.items():
            command += [f"--{name}", value]
        self._process = subprocess.Popen(
            command, cwd=tempfile.gettempdir(), stdout=subprocess.DEVNULL
        )
        _wait_until(lambda: _redis_answers(self.url), what=self.url)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _postgres_folder() -> Path:
    """Where PostgreSQL's programs are: Debian keeps those of a server off the path."""
    if found := shutil.which("pg_ctl"):
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not folders:
        raise MissingServerError("PostgreSQL's server programs are not here (pg_ctl).")
    return folders[-1].parent


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingServerError(f"{name} is not here.")
    return found


# ---- What there is


def install() -> None:
    """Have the programs of both servers here. Raises MissingServerError."""
    try:
        _postgres_folder()
        _program("redis-server")
    except MissingServerError as missing:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise MissingServerError(
                f"{missing} The tests need PostgreSQL 15 and Redis 7, or later ones "
                f"(on Debian: apt-get install {' '.join(PACKAGES)})."
            ) from None
    else:
        return
    sys.stderr.write(f"Installing {', '.join(PACKAGES)} for the tests\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    get = ["apt-get", "-qq", "-y", "--no-install-recommends"]
    for command in ([*get, "update"], [*get, "install", *PACKAGES]):
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of TEST_DATABASE_URL's server, or else of one that is started and does not depend on the machine's."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        if not _postgres_answers(url):
            raise MissingServerError("There is no PostgreSQL at TEST_DATABASE_URL.")
        yield url
    else:
        with Postgres(durable=False) as started:
            yield started.url


@contextmanager
def redis_server() -> Iterator[str]:
    """The same of TEST_REDIS_URL; without the number of a database."""
    if url := os.environ.get("TEST_REDIS_URL"):
        if not _redis_answers(url):
            raise MissingServerError("There is no Redis at TEST_REDIS_URL.")
        yield urlunsplit(urlsplit(url)._replace(path=""))
    else:
        with Redis() as started:
            yield started.url


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _redis_answers(url: str) -> bool:
    try:
        with closing(redis.from_url(url, socket_connect_timeout=5)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def _wait_until(holds: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise MissingServerError(f"{what} does not answer within {START_SECONDS:.0f} s.")
        time.sleep(0.05)


if __name__ == "__main__":
    try:
        install()
    except MissingServerError as missing:
        sys.exit(str(missing))
