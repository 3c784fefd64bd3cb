"""Work of every kind: an outage and a stop of the worker are no failures, and the work goes back to the queue."""

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError, connection

from chat.llm import loading
from retranslation import tasks as retranslation_tasks
from retranslation import work as retranslating
from retranslation.models import Retranslation
from summaries import map_reduce
from summaries.models import Summary
from tests import queued
from tests.media import silence
from tests.retranslation.builders import make_recorded_job, request_range
from tests.rows import reload
from tests.summaries.builders import request_summary
from tests.transcription.jobs.builders import make_prepared_job
from tests.waiting_engine import WaitingEngine
from transcription import tasks
from transcription.jobs import diarize, prepare, retry_and_delete, transcribe
from transcription.jobs.status import status_document
from transcription.leasing import outages, wakeups, work, workers
from transcription.leasing.leases import MAX_ATTEMPTS
from transcription.models import Chunk, Job, Leased, Stage
from transcription.recordings import delete_files
from transcription.speech import audio
from transcription.speech.engines.base import OnProgress

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Any, settings: LazySettings) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


@pytest.fixture(autouse=True)
def stopping(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The event that tells this process, as a worker, to stop."""
    event = threading.Event()
    monkeypatch.setattr(workers, "stopping", event)
    return event


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(outages, "RETRY_SECONDS", 0.01)


# ---- The kinds of work


@dataclass(frozen=True)
class Kind:
    make: Callable[[], Leased]
    """A row that waits to be claimed."""
    do_next: Callable[[], object]
    break_at: tuple[Any, str]
    """What the work calls, as the outermost thing that a test may replace: an object and the attribute's name."""


def make_preparation() -> Stage:
    return make_prepared_job(n_chunks=0).stages.get(kind=Stage.Kind.PREPARE)


def make_diarization() -> Stage:
    job = make_recorded_job(silence(20))
    assert diarize.request_diarization(job_id=job.pk)
    return job.stages.get(kind=Stage.Kind.DIARIZE)


def make_chunk() -> Chunk:
    return make_prepared_job(n_chunks=1).chunks.get()


def make_retranslation() -> Retranslation:
    return request_range(make_recorded_job(silence(20)))


KINDS = {
    "prepare": Kind(make_preparation, tasks.prepare, (audio, "probe")),
    "chunk": Kind(
        make_chunk,
        lambda: transcribe.transcribe_next(model_name="tiny.en"),
        (transcribe, "load_engine"),
    ),
    "diarize": Kind(make_diarization, diarize.diarize_next, (diarize, "load")),
    "retranslation": Kind(
        make_retranslation, retranslation_tasks.work, (retranslating, "load_engine")
    ),
    "summary": Kind(
        lambda: request_summary(n_segments=3), map_reduce.summarize_next, (loading, "open_model")
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def fail_with(monkeypatch: pytest.MonkeyPatch, kind: Kind, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(*kind.break_at, fail)


def counters(row: Leased) -> tuple[str, int, int]:
    row = reload(row)
    return row.state, row.attempts, row.failures


# ---- Outages


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
def test_an_outage_of_the_database_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, error: Exception
) -> None:
    row = kind.make()
    fail_with(monkeypatch, kind, error)
    queued.lose_messages()
    kind.do_next()
    assert counters(row) == ("todo", 1, 0)
    assert queued.n_messages() == 1, "a worker is woken for it"


def test_work_that_always_meets_such_an_error_is_given_up(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    row = kind.make()
    fail_with(monkeypatch, kind, OperationalError("too many SQL variables"))
    for _ in range(MAX_ATTEMPTS + 1):
        kind.do_next()
    assert counters(row) == ("todo", MAX_ATTEMPTS, 0)
    assert reload(row).error == "too many SQL variables"


def test_what_failed_is_saved_once_the_database_answers(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    row = kind.make()
    fail_with(monkeypatch, kind, ValueError("a bug"))
    real, errors = outages.wait_out, [OperationalError("gone"), OperationalError("starting")]

    def flaky(act: Callable[[], Any], **options: Any) -> Any:
        def act_later() -> Any:
            if errors:
                raise errors.pop()
            return act()

        return real(act_later, **options)

    monkeypatch.setattr(work, "wait_out", flaky)
    kind.do_next()
    assert counters(row) == ("todo", 1, 1)
    assert not errors


def test_an_outage_while_the_worker_is_to_stop_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """The database does not answer any more, so nothing can be saved: the lease expires."""
    row = kind.make()
    fail_with(monkeypatch, kind, OperationalError("gone"))

    def still_gone(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(work, "wait_out", still_gone)
    kind.do_next()
    assert counters(row) == ("doing", 1, 0)


def test_a_full_disk_is_no_failure(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    row = kind.make()
    fail_with(monkeypatch, kind, FULL)
    queued.lose_messages()
    kind.do_next()
    assert counters(row) == ("todo", 0, 0)
    assert reload(row).error == work.WAITING_FOR_SPACE
    assert queued.n_messages() == 0, "there is no more room a moment later: recovery tries again"
    if isinstance(row, Stage | Chunk):
        assert status_document(reload(row.job))["message"] == work.WAITING_FOR_SPACE
    if isinstance(row, Summary):
        assert reload(row).message == work.WAITING_FOR_SPACE


def test_missing_files_are_left_to_a_machine_that_may_see_them(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """On one machine there is none: what is not there is gone."""
    row = kind.make()
    if isinstance(row, Summary):
        return  # it reads no files
    job = Job.objects.get()
    fail_with(monkeypatch, kind, FileNotFoundError("a piece"))
    kind.do_next()
    assert counters(row)[2] == 1, "this machine sees the recording: a piece of it is lost"
    type(row)._default_manager.filter(pk=row.pk).update(state="todo", attempts=0, failures=0)
    delete_files(job.recording)
    queued.lose_messages()
    kind.do_next()
    if connection.vendor == "sqlite":
        assert counters(row)[2] == 1
        return
    assert counters(row) == ("todo", 0, 0)
    assert "All machines must share one TRANSCRIBER_FILES_DIR" in reload(row).error
    assert queued.n_messages() == 1, "others are told"


def test_a_clip_that_another_machine_may_see_is_left_to_it() -> None:
    clip = default_storage.save("clip.flac", default_storage.open(_stored_recording()))
    row = Retranslation.objects.create(segment_id="1", start=0.0, end=5.0, clip=clip)
    Retranslation.objects.update(model_name="tiny.en")
    default_storage.delete(clip)
    retranslation_tasks.work()
    if connection.vendor == "sqlite":
        assert (counters(row), reload(row).error) == (
            ("failed", 1, 1),
            "The recording's audio was deleted or has expired.",
        )
        return
    assert counters(row) == ("todo", 0, 0)
    assert "does not find the clip" in reload(row).error


def _stored_recording() -> str:
    return str(make_recorded_job(silence(5)).recording.file.name)


def test_what_is_deleted_in_the_midst_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PAUSE_SECONDS", 10.0)
    job = make_prepared_job(n_chunks=1)

    def delete(**_: Any) -> Any:
        retry_and_delete.delete_job(job_id=job.pk)
        raise FULL

    monkeypatch.setattr(transcribe, "load_engine", delete)
    queued.lose_messages()
    began = time.monotonic()
    assert transcribe.transcribe_next(model_name="tiny.en")
    assert time.monotonic() - began < work.PAUSE_SECONDS / 2
    assert queued.n_messages() == 0


def test_an_outage_of_the_queue_harms_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_retranslation()

    def down(*_: Any) -> Any:
        raise ConnectionError("Redis is down")

    monkeypatch.setattr(wakeups, "get_broker", down)
    fail_with(monkeypatch, KINDS["retranslation"], ValueError("a bug"))
    retranslation_tasks.work()
    assert counters(row) == ("todo", 1, 1), "the retry waits for recovery"


# ---- Stops


@pytest.fixture
def stopped_in_the_midst(monkeypatch: pytest.MonkeyPatch, stopping: threading.Event) -> None:
    """Each kind of work is told to stop when it has begun, and calls what checks its lease."""

    def decode(*_: Any, **__: Any) -> Iterator[Any]:
        stopping.set()
        yield np.zeros((16_000, 1), np.int16)

    def load_engine(*, on_progress: Callable[[int, int], None], **_: Any) -> Any:
        stopping.set()
        on_progress(1, 2)

    def load_diarizer(**_: Any) -> Any:
        stopping.set()

    @asynccontextmanager
    async def open_model(*_: Any) -> Any:
        stopping.set()
        await asyncio.sleep(30)
        yield None

    info = audio.AudioInfo("wav", "pcm_s16le", 1.0, (1,))
    monkeypatch.setattr(prepare, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(audio, "probe", lambda _: info)
    monkeypatch.setattr(audio, "decode_channels", decode)
    monkeypatch.setattr(retranslating, "load_engine", load_engine)
    monkeypatch.setattr(diarize, "load", load_diarizer)
    monkeypatch.setattr(loading, "open_model", open_model)


@pytest.mark.usefixtures("stopped_in_the_midst")
@pytest.mark.parametrize("name", ["prepare", "diarize", "retranslation", "summary"])
def test_a_stop_counts_no_attempt(name: str) -> None:
    row = KINDS[name].make()
    queued.lose_messages()
    KINDS[name].do_next()
    assert counters(row) == ("todo", 0, 0)
    assert reload(row).lease_until is None
    assert queued.n_messages() == 1, "another worker is woken"


def test_a_retranslation_stops_while_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch, stopping: threading.Event
) -> None:
    """It may be ten minutes long."""
    row = request_range(make_recorded_job())

    class Engine(WaitingEngine):
        def transcribe(self, *_: Any, on_progress: OnProgress | None = None, **__: Any) -> Any:
            stopping.set()
            assert on_progress is not None
            on_progress(0.5)
            pytest.fail("it goes on")

    monkeypatch.setattr(retranslating, "load_engine", lambda **_: Engine("tiny.en"))
    retranslation_tasks.work()
    assert counters(row) == ("todo", 0, 0)


def test_a_chunk_is_finished_first(
    monkeypatch: pytest.MonkeyPatch, stopping: threading.Event
) -> None:
    chunk = make_recorded_job(silence(20)).chunks.get()
    Job.objects.update(status=Job.Status.RUNNING)
    Chunk.objects.update(state="todo")

    def load_engine(**_: Any) -> WaitingEngine:
        stopping.set()
        return WaitingEngine("tiny.en")

    monkeypatch.setattr(transcribe, "load_engine", load_engine)
    assert transcribe.transcribe_next(model_name="tiny.en")
    assert counters(chunk) == ("done", 1, 0)
