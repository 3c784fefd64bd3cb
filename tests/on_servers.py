"""`python -m tests.on_servers [pytest's arguments]`: the tests marked `both` or `servers`, on PostgreSQL and Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from tests import servers


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The environment of a pytest that runs on servers, as long as these run."""
    servers.install()
    with servers.postgres() as database, servers.redis_server() as redis:
        yield {
            **os.environ,
            "TEST_DATABASE_URL": database,
            "TEST_REDIS_URL": redis,
            # Of the tests' own processes: Django makes databases with other names from it, one for each process.
            "DATABASE_URL": urlunsplit(
                urlsplit(database)._replace(path=f"/transcriber_{os.getpid()}")
            ),
            "PYTEST_PLUGINS": "tests.redis_database",
        }


def main(arguments: list[str]) -> int:
    with environment() as variables:
        command = [sys.executable, "-m", "pytest", *arguments]
        return subprocess.run(command, env=variables).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except servers.MissingServerError as missing:
        sys.exit(str(missing))
