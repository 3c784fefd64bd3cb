"""`python -m tests`: every test, part by part; a part that fails does not keep the others from running.

`python -m tests embedded` or `servers` runs one column alone. Fast and slow tests run in several processes, of which
those that wait leave the processor to the others. What measures time runs last, with nothing beside it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests import on_servers, scheduling

COLUMNS = ("embedded", "servers")
PARTS = {
    "fast": ["-m", "not slow and not alone", "-n", str(scheduling.N_CORES)],
    # Each process may have a service with models of its own. See scheduling.py.
    "slow": [
        *("-m", "slow and not alone", "-n", str(min(scheduling.N_CORES, 4))),
        *("--dist=loadscope", "--no-loadscope-reorder"),
    ],
    "alone": ["-m", "alone"],
}
PASSIVE_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Threads of OpenMP that wait for others leave them the processor: several processes infer at once."""
NOTHING_SELECTED = 5
"""Pytest's exit status where a part has no test."""


def main(columns: list[str]) -> int:
    outcomes = []
    for column in columns or COLUMNS:
        with _environment(column) as environment:
            # Without bytecode each process would rewrite the assertions of all modules again, five seconds each time.
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            environment |= PASSIVE_WAITING
            for part, arguments in PARTS.items():
                sys.stdout.write(f"\n==== {column}: {part}\n")
                sys.stdout.flush()
                began = time.monotonic()
                command = [sys.executable, "-m", "pytest", "-q", "--durations=10", *arguments]
                status = subprocess.run(command, env=environment).returncode
                failed = status not in (0, NOTHING_SELECTED)
                outcomes.append((column, part, time.monotonic() - began, failed))
    sys.stdout.write("\n")
    for column, part, seconds, failed in outcomes:
        outcome = "FAILED" if failed else "passed"
        sys.stdout.write(f"{column:9} {part:6} {outcome}  {seconds:5.0f} s\n")
    return int(any(failed for *_, failed in outcomes))


@contextmanager
def _environment(column: str) -> Iterator[dict[str, str]]:
    if column == "servers":
        with on_servers.environment() as environment:
            yield environment
    else:
        yield {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
