"""Benchmark of scaling: overhead with many workers and many listeners, independent of the model."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.service import row
from tests import crowd, scaling, servers
from tests.service import Service

WORKERS = (8, 32)
CHUNKS_PER_WORKER = 10
MIN_SPEED_UP = {8: 6.5, 32: 20.0}
N_LISTENERS = 1000


def measure() -> list[dict[str, Any]]:
    return [*_overhead(), *_speed_up(), *_fan_out()]


def _overhead() -> list[dict[str, Any]]:
    claim, commit = scaling.overhead()
    return [
        row("claiming a chunk, PostgreSQL, median", 1000 * claim, "ms", None),
        row("committing a chunk with ten segments, median", 1000 * commit, "ms", None),
        row("claim and commit together", 1000 * (claim + commit), "ms", 15.0),
    ]


def _speed_up() -> list[dict[str, Any]]:
    """The speed-up with several workers, whose engine waits two seconds per chunk."""
    one = scaling.measure(n_workers=1, n_chunks=CHUNKS_PER_WORKER)
    rows = [
        row(
            "one worker, chunks per second (two seconds of waiting each)",
            one.chunks_per_second,
            "",
            None,
        ),
        row("overhead per chunk, median", 1000 * one.overhead, "ms", None),
    ]
    for n_workers in WORKERS:
        several = scaling.measure(n_workers=n_workers, n_chunks=CHUNKS_PER_WORKER * n_workers)
        speed_up = several.chunks_per_second / one.chunks_per_second
        what = f"{n_workers} workers / one (at least {MIN_SPEED_UP[n_workers]:g} ×)"
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
                result = crowd.listen(service, n_listeners=N_LISTENERS)
            delays = [1000 * delay for delay in result.delays()]
            what = f"{N_LISTENERS} listeners, commit to delivery, {name}"
            rows += [
                row(f"{what}: median", median(delays), "ms", limit),
                row(f"{what}: 99th percentile", float(np.percentile(delays, 99)), "ms", None),
            ]
    return rows
