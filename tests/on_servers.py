"""`python -m tests.on_servers [pytest's arguments]`: the tests of the service, on PostgreSQL and Redis."""

import os
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

from tests import servers


def main(arguments: list[str]) -> int:
    servers.install()
    with servers.postgres() as database, servers.redis_server() as redis:
        queue = servers.empty_redis_database(redis)
        environment = {
            **os.environ,
            "TEST_DATABASE_URL": database,
            "TEST_REDIS_URL": redis,
            # Of the tests' own process: Django makes a database with another name from it.
            "DATABASE_URL": urlunsplit(
                urlsplit(database)._replace(path=f"/transcriber_{os.getpid()}")
            ),
            "REDIS_URL": queue,
        }
        try:
            return subprocess.run(
                [sys.executable, "-m", "pytest", *arguments], env=environment
            ).returncode
        finally:
            servers.flush(queue)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except servers.MissingServerError as missing:
        sys.exit(str(missing))
