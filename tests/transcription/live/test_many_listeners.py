"""A thousand listeners on one job of one web process: each gets all, soon, and the database does not notice."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests import committing, crowd, servers
from tests.service import ON_SERVERS, Service

pytestmark = [pytest.mark.slow, pytest.mark.both]

N_LISTENERS = 1000
MOST_SECONDS = 0.15 if ON_SERVERS else 0.5
N_SEGMENTS = committing.N_CHUNKS * committing.SEGMENTS_A_CHUNK


@pytest.mark.alone
def test_a_thousand_listeners_get_every_segment_soon(tmp_path: Path) -> None:
    """Soon in one of three times: what else runs on the machine can only delay them."""
    delays = []
    with Service(tmp_path / "data", roles="web") as service:
        for _ in range(3):
            listened = crowd.listen(service, n_listeners=N_LISTENERS)
            assert len(listened.committed) == N_SEGMENTS
            assert len(listened.arrived) == N_LISTENERS
            assert {tuple(arrived) for arrived in listened.arrived} == {tuple(listened.committed)}
            assert set(listened.final) == {"completed"}
            delays.append(median(listened.delays()))
            if delays[-1] < MOST_SECONDS:
                break
    assert min(delays) < MOST_SECONDS


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[tuple[Service, servers.Postgres]]:
    """A web process with a database of its own."""
    with servers.Postgres(durable=False) as postgres, servers.Redis() as redis:
        urls = {
            "DATABASE_URL": servers.create_database(postgres.url),
            "REDIS_URL": redis.url,
        }
        with Service(tmp_path / "data", roles="web", **urls) as service:
            yield service, postgres


@pytest.mark.servers
def test_however_many_listen_the_database_is_asked_as_often(
    counted: tuple[Service, servers.Postgres],
) -> None:
    service, postgres = counted
    counts = {}
    for n_listeners in (10, N_LISTENERS):
        before = postgres.n_transactions()
        listened = crowd.listen(service, n_listeners=n_listeners)
        counts[n_listeners] = postgres.n_transactions() - before
        assert {len(arrived) for arrived in listened.arrived} == {N_SEGMENTS}
    assert counts[10] > 3 * committing.N_CHUNKS, "nothing was counted"
    assert counts[N_LISTENERS] - counts[10] < N_LISTENERS / 10
