"""The admin with a large database: queries, rows and CPU time of every page are bounded."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.admin_pages import changelist, page_of
from tests.effort import cpu_seconds
from transcription.admin.base import MAX_ACTION_ROWS
from transcription.models import (
    Chunk,
    Diarization,
    Edit,
    Job,
    Leased,
    Recording,
    Segment,
    SegmentEdit,
    Stage,
)

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

N_JOBS = 20_000
N_CHUNKS = 5_000
N_SEGMENTS = 100_000
N_EDITS = 5_000
N_CHANGES = 20_000  # segments changed by one edit, as when a speaker is renamed
BATCH = 2_000

MOST_QUERIES = 16
MOST_ROWS = 250  # a list has 50 and the values of its filters; a timeline has 200
MOST_PAGES = 70
"""The limit of a page's CPU time, as a multiple of that of a list of one job; measured: 35.

With SQLite the database's CPU time is included.
"""


def fill() -> Job:
    """Fill the database with many jobs; return the one that has all chunks, segments and edits."""
    now = timezone.now()
    names, languages, states = (
        ("tiny.en", "base", "small"),
        ("en", "de", "fr", ""),
        list(Job.Status),
    )
    recordings = [
        Recording(name=f"Meeting {n}.flac", size=n, duration=n % 5000, container="flac")
        for n in range(N_JOBS)
    ]
    Recording.objects.bulk_create(recordings, batch_size=BATCH)
    jobs = [
        Job(
            recording=recording,
            status=states[n % len(states)],
            message=f"Message {n}",
            model_name=names[n % len(names)],
            language=languages[n % len(languages)],
            started_at=now - timedelta(hours=n),
            finished_at=now - timedelta(hours=n) + timedelta(minutes=n % 60),
        )
        for n, recording in enumerate(recordings)
    ]
    Job.objects.bulk_create(jobs, batch_size=BATCH)
    Job.objects.update(created_at=F("started_at"), updated_at=F("started_at"))
    Stage.objects.bulk_create(
        (Stage(job=job, kind=Stage.Kind.PREPARE, state=Leased.State.DONE) for job in jobs),
        batch_size=BATCH,
    )
    Diarization.objects.bulk_create(
        (
            Diarization(job=job, engine="pyannote", turns=[], exclusive=[], centroids={})
            for job in jobs
        ),
        batch_size=BATCH,
    )
    long = jobs[7]
    chunks = Chunk.objects.bulk_create(
        (
            Chunk(
                job=long,
                index=n,
                start=n,
                end=n + 1,
                streams=[],
                speech=[],
                state=Leased.State.DONE,
                attempts=1 + n % 2,
                started_at=now - timedelta(seconds=N_CHUNKS - n),
                finished_at=now - timedelta(seconds=N_CHUNKS - n - 1),
            )
            for n in range(N_CHUNKS)
        ),
        batch_size=BATCH,
    )
    segments = Segment.objects.bulk_create(
        (
            Segment(job=long, chunk=chunks[n % N_CHUNKS], start=n, end=n + 1, text=f"Part {n}")
            for n in range(N_SEGMENTS)
        ),
        batch_size=BATCH,
    )
    edits = Edit.objects.bulk_create(
        (
            Edit(job=long, kind=Edit.Kind.TEXT, summary=f"Edit {n}", done_by=f"10.0.0.{n}")
            for n in range(N_EDITS)
        ),
        batch_size=BATCH,
    )
    SegmentEdit.objects.bulk_create(
        (
            SegmentEdit(edit=edits[0], segment_pk=segment.pk, before={}, after={})
            for segment in segments[:N_CHANGES]
        ),
        batch_size=BATCH,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # databases do this by themselves, but only for committed rows
    return long


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of rows of each fetch from the database."""
    rows: list[int] = []

    def fetchmany(self: Any, *args: Any) -> Any:
        found = self.cursor.fetchmany(*args)
        rows.append(len(found))
        return found

    monkeypatch.setattr(CursorWrapper, "fetchmany", fetchmany, raising=False)
    return rows


@pytest.fixture(autouse=True)
def only_what_a_page_makes() -> Iterator[None]:
    """Freeze the objects of earlier tests: collecting them would add 0.3 s and more to a page's CPU time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Bounds:
    """Limits of a page's queries, rows and CPU time; `page_seconds` is the CPU time of a list of one job."""

    def __init__(self, fetched: list[int], *, page_seconds: float) -> None:
        self._fetched = fetched
        self._page_seconds = page_seconds

    @contextmanager
    def hold(self, what: str) -> Iterator[None]:
        self._fetched.clear()
        begun = time.process_time()
        with CaptureQueriesContext(connection) as captured:
            yield
        seconds = time.process_time() - begun
        assert len(captured) <= MOST_QUERIES, what
        assert sum(self._fetched) <= MOST_ROWS, what
        assert self._fetched, f"{what} read nothing: what is counted here is not what is read"
        assert seconds < MOST_PAGES * self._page_seconds, what


@pytest.fixture
def bounds(admin_client: Client, fetched: list[int]) -> Bounds:
    recording = Recording.objects.create(name="Meeting.flac", size=1, duration=60, container="flac")
    job = Job.objects.create(recording=recording, model_name="tiny.en", status=Job.Status.COMPLETED)
    admin_client.get(changelist("job"))  # warm-up: imports and templates are loaded once
    page_seconds = cpu_seconds(lambda: admin_client.get(changelist("job")), rounds=5)
    job.delete()
    recording.delete()
    return Bounds(fetched, page_seconds=page_seconds)


def queries_of(client: Client, model: str, job: Job) -> list[str]:
    """Return a list's query strings: sorted by each column, filtered by each choice, searched, paged."""
    shown = client.get(changelist(model)).context["cl"]
    columns = range(1, len(shown.list_display))
    choices = [list(spec.choices(shown))[1:4] for spec in shown.filter_specs]
    queries = [
        "",
        "?q=meeting+77",
        "?all=",
        "?p=20",
        "?_facets=True",
        *(f"?o={sign}{n}" for n in columns for sign in ("", "-")),
        *(choice["query_string"] for found in choices for choice in found if choice.get("display")),
    ]
    if model not in ("recording", "job"):
        of_job = f"?job__id__exact={job.pk}"
        queries += [of_job, f"{of_job}&p=50", f"{of_job}&q=part+77"]
    return queries


def test_queries_rows_and_cpu_time_of_every_page_are_bounded(
    admin_client: Client, bounds: Bounds
) -> None:
    job = fill()
    n_pages = 0
    for model in ("recording", "job", "stage", "chunk", "segment", "diarization", "edit"):
        for query in queries_of(admin_client, model, job):
            with bounds.hold(f"{model}{query}"):
                answer = admin_client.get(changelist(model, query), follow=True)
            assert answer.status_code == 200
            assert "e=1" not in str(answer.request["QUERY_STRING"]), f"{model} knows no {query}"
            n_pages += 1
    assert n_pages > 100
    rows: list[Any] = [job, job.recording, job.diarization, job.stages.get()]
    rows += [job.chunks.all()[77], job.segments.all()[77], job.edits.first(), job.edits.last()]
    for row in rows:
        with bounds.hold(repr(row)):
            assert admin_client.get(page_of(row)).status_code == 200
    for row in (job, job.recording):
        with bounds.hold(f"deletion of {row!r}"):
            answer = admin_client.get(page_of(row).replace("/change/", "/delete/"))
        assert b"Are you sure" in answer.content
    assert_that_no_action_is_run_on_all(admin_client, job, bounds)


def assert_that_no_action_is_run_on_all(client: Client, job: Job, bounds: Bounds) -> None:
    for action in ("cancel", "run_again", "delete_selected"):
        data = {"action": action, "select_across": "1", "_selected_action": [str(job.pk)]}
        with bounds.hold(action):
            answer: Any = client.post(changelist("job"), data)
        assert answer.status_code == 302
        said = client.get(changelist("job")).context["messages"]
        assert f"at most {MAX_ACTION_ROWS}" in str(next(iter(said)))
    assert Job.objects.count() == N_JOBS
    assert Job.objects.filter(status=Job.Status.RUNNING).count() == N_JOBS // len(Job.Status)
