"""None of the most frequent queries reads a whole table at 100,000 jobs, and no index repeats another.

docs/queries.md says which index serves which query.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from retranslation import services as retranslations
from retranslation.models import Retranslation
from summaries import services as summaries
from summaries.models import Summary
from transcription.jobs import diarize, prepare, recovery, retry_and_delete, transcribe
from transcription.live.looks import look_at, read_snapshot
from transcription.models import Chunk, Job, Recording, Segment, Stage
from transcription.transcript import search

N_JOBS = 100_000
ACTIVE = 50
"""The newest jobs are running: one chunk is done, one in work, one waits."""
JOB_ID = UUID(int=N_JOBS)
APPS = ("transcription", "retranslation", "summaries")

pytestmark = [pytest.mark.django_db, pytest.mark.both]
Query = Callable[[Client], Any]

QUERIES: dict[str, Query] = {
    "live feed": lambda _: look_at([JOB_ID]),
    "live segments": lambda _: read_snapshot(JOB_ID, 0, None),
    "status": lambda client: client.get(f"/api/transcribe/status/{JOB_ID}"),
    "next chunk": lambda _: transcribe.claim_chunk(model_name="tiny.en"),
    "next model": lambda _: transcribe.next_job(except_models=["base"]),
    "next preparation": lambda _: prepare.claim_preparation(),
    "next diarization": lambda _: diarize.claim_diarization(),
    "recovery": lambda _: recovery.recover(),
    "recovery of retranslations": lambda _: retranslations.recover(),
    "recovery of summaries": lambda _: summaries.recover(),
    "next retranslation": lambda _: retranslations.claim(retranslations.claimable_requests()),
    "next summary": lambda _: summaries.claim(),
    "retention": lambda _: retry_and_delete.expire_jobs(),
    "transcript": lambda client: client.get(
        f"/api/transcribe/result/{JOB_ID}?partial=true&words=true"
    ),
    "jobs": lambda client: client.get("/api/transcribe/jobs"),
    "jobs in progress": lambda client: client.get("/api/transcribe/jobs?status=processing"),
    "completed jobs": lambda client: client.get("/api/transcribe/jobs?status=completed"),
    "jobs on the page": lambda _: list(search.find_jobs(text="")[:20]),
    "retranslations": lambda client: client.get("/api/retranslate/"),
    "a job's retranslations": lambda client: client.get(f"/api/retranslate/?job_id={JOB_ID}"),
    "a job is deleted": lambda _: retry_and_delete.delete_job(job_id=JOB_ID),
}


# ---- Rows


def fill() -> None:
    """Rows of N_JOBS jobs, copied in the database from one of each model."""
    recording = Recording.objects.create(id=UUID(int=0), name="a", file="a", size=1, duration=1.0)
    job = Job.objects.create(
        id=UUID(int=0), recording=recording, model_name="tiny.en", language="en", diarize=True
    )
    stage = Stage.objects.create(job=job, kind=Stage.Kind.PREPARE)
    chunk = Chunk.objects.create(job=job, index=0, start=0, end=1, streams=[], speech=[])
    segment = Segment.objects.create(job=job, chunk=chunk, start=0, end=1, text="a")
    retranslation = Retranslation.objects.create(job=job, start=0, end=1, model_name="tiny.en")
    summary = Summary.objects.create(transcription=None)
    ended = f"CASE WHEN i <= {N_JOBS - ACTIVE} THEN 'completed' ELSE 'running' END"
    done = f"CASE WHEN i <= {N_JOBS - ACTIVE} THEN 'done' ELSE 'todo' END"
    at = _ago("i")
    ended_at = f"CASE WHEN i <= {N_JOBS - ACTIVE} THEN {at} END"
    _copy(recording, id=_uuid("i"), created_at=at)
    _copy(
        job,
        id=_uuid("i"),
        recording_id=_uuid("i"),
        status=ended,
        created_at=at,
        updated_at=at,
        started_at=at,
        finished_at=ended_at,
    )
    for kind, state in ((Stage.Kind.PREPARE, "'done'"), (Stage.Kind.DIARIZE, done)):
        _copy(stage, job_id=_uuid("i"), kind=f"'{kind}'", state=state)
    for index, state in enumerate(("'done'", done, done)):
        lease = _ago(str(N_JOBS)) if index == 1 else "NULL"
        state = state.replace("'todo'", "'doing'") if index == 1 else state
        _copy(chunk, job_id=_uuid("i"), index=str(index), state=state, lease_until=lease)
    first_chunk = Chunk.objects.filter(index=0, job=UUID(int=1)).values_list("pk", flat=True).get()
    _copy(segment, job_id=_uuid("i"), chunk_id=f"{first_chunk} + i - 1")
    _copy(
        retranslation,
        id=_uuid("i"),
        job_id=_uuid("i"),
        state="'done'",
        created_at=at,
        finished_at=at,
    )
    _copy(summary, id=_uuid("i"), state="'done'", created_at=at, finished_at=at)
    if (
        connection.vendor == "postgresql"
    ):  # there autovacuum does; the service leaves SQLite without statistics
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def _copy(row: Model, **values: str) -> None:
    """Copy a row N_JOBS times; `values` are columns that differ, as SQL with `i` for 1 to N_JOBS."""
    options = row._meta
    columns = [str(field.column) for field in options.local_concrete_fields]
    columns = [c for c in columns if c in values or c != options.pk.column]
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(options.db_table)} ({', '.join(map(quote, columns))}) "
            f"WITH RECURSIVE counted(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counted WHERE i < {N_JOBS}) "
            f"SELECT {', '.join(values.get(c) or f'one.{quote(c)}' for c in columns)} "
            f"FROM counted, (SELECT * FROM {quote(options.db_table)} WHERE id = %s) AS one ORDER BY i",
            [options.pk.get_db_prep_value(row.pk, connection)],
        )


def _uuid(number: str) -> str:
    if connection.vendor == "sqlite":
        return f"printf('%032x', {number})"
    return f"lpad(to_hex({number}), 32, '0')::uuid"


def _ago(number: str) -> str:
    """A time long ago, for each number a minute later."""
    start = timezone.now() - timedelta(minutes=2 * N_JOBS)
    if connection.vendor == "sqlite":
        return f"datetime('{start:%Y-%m-%d %H:%M:%S}', '+' || {number} || ' minutes')"
    return f"'{start.isoformat()}'::timestamptz + {number} * interval '1 minute'"


# ---- Plans

FILLED = (Recording, Job, Stage, Chunk, Segment, Retranslation, Summary)
TABLES = tuple(model._meta.db_table for model in FILLED)


def statements_of(act: Callable[[], Any]) -> dict[str, Any]:
    """The statements that `act` executes, with their parameters."""
    statements: dict[str, Any] = {}

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if re.match("SELECT|UPDATE|DELETE", sql) and not many:
            statements[sql] = params
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        act()
    return statements


def whole_reads(sql: str, params: Any) -> list[str]:
    """The steps of a statement's plan that read a whole table or index."""
    if connection.vendor == "sqlite":
        return _whole_reads_of_sqlite(sql, params)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        [(found,)] = cursor.fetchall()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return list(_whole_reads_of_postgresql(plan))


def _steps_of_sqlite(sql: str, params: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        return [detail for *_, detail in cursor.fetchall()]


def _whole_reads_of_sqlite(sql: str, params: Any) -> list[str]:
    """An index may be walked in its order until LIMIT is reached: `SCAN job USING INDEX`, and nothing is sorted."""
    steps = _steps_of_sqlite(sql, params)
    is_limited = "LIMIT" in sql and "USE TEMP B-TREE FOR ORDER BY" not in steps
    return [
        step
        for step in steps
        if re.match(
            rf"SCAN ({'|'.join(TABLES)}|[UVW]\d+)\b", step
        )  # Django's aliases in subqueries are U0, V0
        and not (is_limited and "USING INDEX" in step)
    ]


def _whole_reads_of_postgresql(plan: dict[str, Any], *, is_limited: bool = False) -> Iterator[str]:
    kind, table = plan["Node Type"], plan.get("Relation Name")
    is_limited = kind != "Sort" and (is_limited or kind == "Limit")
    is_walked = kind.startswith("Index") and "Index Cond" not in plan
    if table in TABLES and (kind == "Seq Scan" or (is_walked and not is_limited)):
        yield f"{kind} {table}"
    for step in plan.get("Plans", ()):
        yield from _whole_reads_of_postgresql(step, is_limited=is_limited)


# ---- Tests


@pytest.mark.slow
def test_no_frequent_query_reads_a_whole_table(client: Client, settings: Any) -> None:
    settings.TRANSCRIBER_RETENTION_DAYS = 10_000
    fill()
    found = {
        f"{name}: {sql}": steps
        for name, query in QUERIES.items()
        for sql, params in statements_of(partial(query, client)).items()
        if (steps := whole_reads(sql, params))
    }
    assert found == {}, json.dumps(found, indent=1)


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("next diarization", r"SEARCH U0 USING INDEX \w+ \(job_id=\? AND index>\?\)"),
        ("recovery of retranslations", r"USING INDEX \w+ \(job_id=\? AND finished_at<\?\)"),
        ("recovery of summaries", r"USING INDEX \w+ \(transcription_id=\? AND finished_at<\?\)"),
    ],
)
def test_sqlite_uses_the_better_of_two_indexes(
    client: Client, settings: Any, name: str, expected: str
) -> None:
    """It has no statistics, which would tell it that few rows are of a job, and many in a state."""
    settings.TRANSCRIBER_RETENTION_DAYS = 10_000
    statements = statements_of(partial(QUERIES[name], client))
    steps = [step for statement in statements.items() for step in _steps_of_sqlite(*statement)]
    assert any(re.search(expected, step) for step in steps), "\n".join(steps)


def test_no_index_repeats_the_beginning_of_another() -> None:
    """Each costs time at every change of a row."""
    repeated = []
    for model in apps.get_models():
        if model._meta.app_label not in APPS:
            continue
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
        indexes = {
            name: each["columns"]
            for name, each in found.items()
            if (each["index"] or each["unique"]) and not name.endswith("_like")
        }
        for name, columns in indexes.items():
            for other, longer in indexes.items():
                if other != name and columns and longer[: len(columns)] == columns:
                    repeated.append(f"{name} {columns} repeats {other} {longer}")
    assert repeated == []
