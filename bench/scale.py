"""Many workers, and many listeners: what the service itself costs, whatever the model."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.service import row
from tests import crowd, scaling, servers
from tests.service import Service

WORKERS = (8, 32)
CHUNKS_A_WORKER = 10
LEAST_SPEED_UP = {8: 6.5, 32: 20.0}
N_LISTENERS = 1000


def measure() -> list[dict[str, Any]]:
    return [*_overhead(), *_speed_up(), *_fan_out()]


def _overhead() -> list[dict[str, Any]]:
    claim, commit = scaling.overhead()
    return [
        row("claiming a chunk, PostgreSQL, median", 1000 * claim, "ms", None),
        row("committing it with ten segments, median", 1000 * commit, "ms", None),
        row("the two together", 1000 * (claim + commit), "ms", 15.0),
    ]


def _speed_up() -> list[dict[str, Any]]:
    """With an engine that waits two seconds for each chunk."""
    one = scaling.measure(n_workers=1, n_chunks=CHUNKS_A_WORKER)
    rows = [
        row(
            "one worker, chunks a second (two seconds of waiting each)",
            one.chunks_per_second,
            "",
            None,
        ),
        row("all else that it does between two chunks, median", 1000 * one.overhead, "ms", None),
    ]
    for n_workers in WORKERS:
        several = scaling.measure(n_workers=n_workers, n_chunks=CHUNKS_A_WORKER * n_workers)
        speed_up = several.chunks_per_second / one.chunks_per_second
        what = f"{n_workers} workers / one (at least {LEAST_SPEED_UP[n_workers]:g} ×)"
        rows.append(row(what, speed_up, "×", None))
    return rows


def _fan_out() -> list[dict[str, Any]]:
    rows = []
    with servers.Postgres() as postgres, servers.Redis() as redis:
        urls = {"DATABASE_URL": servers.create_database(postgres.url), "REDIS_URL": redis.url}
        for name, settings, limit in (("PostgreSQL, Redis", urls, 150.0), ("embedded", {}, 500.0)):
            with (
                tempfile.TemporaryDirectory() as folder,
                Service(Path(folder) / "data", roles="web", **settings) as service,
            ):
                listened = crowd.listen(service, n_listeners=N_LISTENERS)
            delays = [1000 * delay for delay in listened.delays()]
            what = f"{N_LISTENERS} listeners, commit to delivery, {name}"
            rows += [
                row(f"{what}: median", median(delays), "ms", limit),
                row(f"{what}: 99th percentile", float(np.percentile(delays, 99)), "ms", None),
            ]
    return rows
