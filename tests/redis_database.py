"""A plugin of pytest: each of its processes has a Redis database of its own, as Django gives each its own tables.

It is loaded before Django reads its settings: see on_servers.py.
"""

import os

from tests import servers

os.environ["REDIS_URL"] = servers.empty_redis_database(os.environ["TEST_REDIS_URL"])


def pytest_unconfigure() -> None:
    servers.flush(os.environ["REDIS_URL"])
