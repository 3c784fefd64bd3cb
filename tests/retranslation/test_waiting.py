"""Requests that wait: however many there are, one query at a time reads what all of them wait for."""

import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper

from retranslation import services, waiting
from retranslation.models import Retranslation
from retranslation.waiting import EndReader
from tests.service import wait_for
from transcription.models import Leased

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both,
    pytest.mark.usefixtures("database_file"),
]

N_WAITING = 60
LONG_SECONDS = 60.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.02)


@pytest.fixture
def reader() -> EndReader:
    return EndReader()


def make_rows(n: int) -> list[Retranslation]:
    return [
        Retranslation.objects.create(segment_id="1", start=0.0, end=5.0, model_name="tiny.en")
        for _ in range(n)
    ]


Wait = Callable[[Retranslation], "Future[None]"]


@pytest.fixture
def wait(reader: EndReader) -> Iterator[Wait]:
    """Begins to wait for a row, in a thread as that of a request."""
    with ThreadPoolExecutor(N_WAITING) as requests:

        def wait_in_thread(row: Retranslation) -> None:
            try:
                reader.wait(row.pk, seconds=LONG_SECONDS)
            finally:
                connection.close()

        yield lambda row: requests.submit(wait_in_thread, row)
        Retranslation.objects.all().delete()  # nobody waits for what is gone


def test_sixty_requests_cost_one_query_at_a_time(
    reader: EndReader, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_reads, n_queries = 0, 0
    enough = threading.Event()
    read, execute = services.unfinished, CursorWrapper.execute

    def count_reads(ids: Collection[UUID]) -> set[UUID]:
        nonlocal n_reads
        n_reads += len(ids) == N_WAITING
        if n_reads > 5:
            enough.set()
        return read(ids)

    def count_queries(cursor: Any, *args: Any) -> Any:
        nonlocal n_queries
        n_queries += bool(n_reads) and not enough.is_set()
        return execute(cursor, *args)

    monkeypatch.setattr(services, "unfinished", count_reads)
    monkeypatch.setattr(CursorWrapper, "execute", count_queries)
    for row in make_rows(N_WAITING):
        wait(row)
    assert enough.wait(LONG_SECONDS)
    assert n_queries == 5


@pytest.mark.parametrize("end", ["done", "failed", "deleted"])
def test_who_waits_is_woken_at_the_end_of_its_own(wait: Wait, end: str) -> None:
    first, second = make_rows(2)
    ended, other = wait(first), wait(second)
    rows = Retranslation.objects.filter(pk=first.pk)
    rows.update(state=Leased.State.DOING)
    assert not ended.done()
    if end == "deleted":
        rows.delete()
    else:
        rows.update(state=end)
    ended.result(LONG_SECONDS)
    assert not other.done()


def test_an_outage_of_the_database_is_waited_out(
    wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    [row] = make_rows(1)
    errors = [OperationalError("gone"), ValueError("a bug")]
    read = services.unfinished

    def unfinished(ids: Collection[UUID]) -> set[UUID]:
        if errors:
            raise errors.pop()
        return read(ids)

    monkeypatch.setattr(services, "unfinished", unfinished)
    ended = wait(row)
    wait_for(lambda: not errors, what="both errors")
    Retranslation.objects.update(state=Leased.State.DONE)
    ended.result(LONG_SECONDS)


def test_the_reader_ends_with_those_who_wait_and_begins_anew(reader: EndReader, wait: Wait) -> None:
    for _ in range(2):
        [row] = make_rows(1)
        ended = wait(row)
        wait_for(lambda: reader._is_reading, what="the reader")
        Retranslation.objects.update(state=Leased.State.DONE)
        ended.result(LONG_SECONDS)
        wait_for(lambda: not reader._is_reading, what="the reader's end")


def test_a_wait_that_takes_too_long_ends(reader: EndReader) -> None:
    [row] = make_rows(1)
    reader.wait(row.pk, seconds=0.05)
    wait_for(lambda: not reader._is_reading, what="the reader's end")
