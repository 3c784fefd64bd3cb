"""What listening costs the database: while nothing changes, one query for all watched jobs, on one connection."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.db.models import F

from tests.transcription.jobs.builders import make_prepared_job
from tests.transcription.live.listeners import hear
from transcription.jobs import lifecycle
from transcription.jobs.status import status_messages
from transcription.live import feed
from transcription.models import Chunk, Job, Leased, Segment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

N_JOBS = 20
N_LOOKS = 8
INTERVAL = feed.POLL_SECONDS


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL of all threads, appended to as it is executed."""
    executed: list[str] = []
    execute = CursorWrapper.execute

    def recorded(self: Any, sql: Any, params: Any = None) -> Any:
        executed.append(str(sql))
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", recorded)
    return executed


@pytest.fixture
def opened() -> Iterator[list[object]]:
    """The connections of all threads, appended to as they are opened."""
    seen: list[object] = []

    def remember(connection: object, **_: object) -> None:
        seen.append(connection)

    connection_created.connect(remember)
    yield seen
    connection_created.disconnect(remember)


@pytest.fixture(autouse=True)
def _polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often with Redis as without, where nobody sends a message."""
    monkeypatch.setattr(feed, "POLL_SECONDS_WITH_REDIS", feed.POLL_SECONDS)


def make_watched_jobs(n: int) -> list[Job]:
    """Half of them wait for their first chunk, in the queue; one chunk of each of the others is in hand."""
    jobs = [make_prepared_job(n_chunks=3) for _ in range(n)]
    running = [job.pk for job in jobs[::2]]
    Job.objects.filter(pk__in=running).update(message="Processing", served_at=F("created_at"))
    Chunk.objects.filter(job__in=running, index=0).update(state=Leased.State.DOING)
    return jobs


@pytest.mark.parametrize("n_jobs", [1, N_JOBS])
async def test_while_nothing_changes_a_look_is_one_query_for_all_jobs(
    statements: list[str], opened: list[object], n_jobs: int
) -> None:
    jobs = await sync_to_async(make_watched_jobs)(n_jobs)
    listeners = [asyncio.create_task(hear(job)) for job in jobs for _ in range(3)]
    await asyncio.sleep(2 * INTERVAL)
    statements.clear()
    opened.clear()
    await asyncio.sleep(N_LOOKS * INTERVAL)
    n_queries, n_opened = len(statements), len(opened)
    for listener in listeners:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    assert N_LOOKS - 2 <= n_queries <= N_LOOKS + 1
    assert n_opened == 0


async def test_what_a_listener_is_told_is_what_the_status_says() -> None:
    """The place in the queue comes from the same query, and what other jobs do changes it."""
    jobs = await sync_to_async(make_watched_jobs)(4)
    waiting = [jobs[1], jobs[3]]
    for job, expected in zip(waiting, ("number 1 of 2", "number 2 of 2"), strict=True):
        listener = feed.subscribe(job.pk, after=None)
        assert expected in await anext(listener)
        await listener.aclose()
        assert expected in (await sync_to_async(status_messages)([job]))[job.pk]
    messages = await sync_to_async(status_messages)(jobs)
    assert ["number" in messages[job.pk] for job in jobs] == [False, True, False, True]
    listener = feed.subscribe(waiting[1].pk, after=None)
    assert "number 2 of 2" in await anext(listener)
    await sync_to_async(lifecycle.cancel_job)(job_id=waiting[0].pk)
    assert "number 1 of 1" in await anext(listener)
    await listener.aclose()


async def test_progress_within_a_chunk_is_told() -> None:
    """Nothing but the chunk's row changes then."""
    [job] = await sync_to_async(make_watched_jobs)(1)
    listener = feed.subscribe(job.pk, after=None)
    assert '"chunk_progress": 0' in await anext(listener)
    await Chunk.objects.filter(job=job, index=0).aupdate(progress=40)
    async with asyncio.timeout(10):
        assert '"chunk_progress": 40' in await anext(listener)
    await listener.aclose()


@pytest.mark.servers
async def test_the_connection_is_closed_when_nobody_listens_any_more(opened: list[Any]) -> None:
    jobs = await sync_to_async(make_watched_jobs)(2)
    opened.clear()
    listeners = [feed.subscribe(job.pk, after=None) for job in jobs]
    for listener in listeners:
        await anext(listener)
    [used] = opened
    await listeners[0].aclose()
    await asyncio.sleep(2 * INTERVAL)
    assert used.connection is not None
    await listeners[1].aclose()
    async with asyncio.timeout(10):
        while used.connection is not None:
            await asyncio.sleep(0.05)


@pytest.mark.servers
async def test_who_listens_misses_nothing_when_the_database_ends_its_connections() -> None:
    def commit(index: int) -> None:
        chunk = job.chunks.get(index=index)
        Segment.objects.create(job=job, chunk=chunk, start=chunk.start, end=chunk.end, text="Yes.")
        job.chunks.filter(pk=chunk.pk).update(state=Leased.State.DONE)

    def end_connections() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            [n_ended] = cursor.fetchone()
        assert n_ended >= 1

    [job] = await sync_to_async(make_watched_jobs)(1)
    listening = asyncio.create_task(hear(job))
    for index in range(3):
        await asyncio.sleep(2 * INTERVAL)
        await sync_to_async(end_connections)()
        await sync_to_async(commit)(index)
    await Job.objects.filter(pk=job.pk).aupdate(status=Job.Status.COMPLETED, message="Completed")
    async with asyncio.timeout(10):
        heard = await listening
    assert heard.kinds.count("segment") == 3
    assert heard.messages[-1]["status"] == "completed"
