"""Listeners see a transcript grow: early, late, coming back, and many at once."""

import asyncio
import json
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests import UNKNOWN_ID
from tests.service import Service
from tests.transcription.conftest import N_CROWD, WatchedJob
from tests.transcription.jobs.builders import add_chunks
from tests.transcription.live.listeners import Heard, hear_socket
from transcription.jobs import retry_and_delete
from transcription.jobs import status as statuses
from transcription.live import feed, looks
from transcription.models import Job, Leased, Recording, Segment

pytestmark = pytest.mark.both

NORMAL, BAD_REQUEST, NOT_FOUND = 1000, 4400, 4404


def listen(service: Service, job_id: object, query: str = "") -> Heard:
    return asyncio.run(hear_socket(service, str(job_id), query))


def result_of(service: Service, watched: WatchedJob) -> list[dict[str, Any]]:
    segments: list[dict[str, Any]] = service.result(watched.job_id)["segments"]
    return segments


@pytest.mark.slow
def test_an_early_listener_sees_status_and_segments_in_order_of_time(watched: WatchedJob) -> None:
    heard = watched.early
    starts = [segment["start"] for segment in heard.segments]
    assert len(starts) > 60
    assert starts == sorted(starts)
    assert len({segment["id"] for segment in heard.segments}) == len(starts)
    first_segment = heard.messages.index(heard.segments[0])
    later_segment = heard.messages.index(heard.segments[-1])
    between = [m for m in heard.messages[first_segment:later_segment] if m in heard.statuses]
    assert between, "the segments came all at once"


@pytest.mark.slow
def test_a_live_status_is_as_documented(watched: WatchedJob) -> None:
    for status in watched.early.statuses:
        assert set(status) == {"type", "status", "message", "progress", "chunk_info"}
        info = status["chunk_info"]
        assert set(info) == {"current_chunk", "total_chunks", "chunk_progress"}
        assert 0 <= info["current_chunk"] <= info["total_chunks"]
        assert 0 <= info["chunk_progress"] <= 100
    progress = [status["progress"] for status in watched.early.statuses]
    assert progress == sorted(progress)
    assert len(set(progress)) > 5
    assert all(status["status"] == "processing" for status in watched.early.statuses[:-1])
    chunks = [status["chunk_info"]["current_chunk"] for status in watched.early.statuses]
    assert chunks == sorted(chunks)
    assert chunks[-1] > 5


@pytest.mark.slow
def test_the_socket_closes_after_the_final_status(watched: WatchedJob) -> None:
    for heard in (watched.early, watched.reconnecting, *watched.crowd):
        assert heard.messages[-1]["type"] == "status"
        assert heard.messages[-1]["status"] == "completed"
        assert heard.messages[-1]["progress"] == 100
        assert [status["status"] for status in heard.statuses].count("completed") == 1
        assert heard.code == NORMAL


@pytest.mark.slow
def test_what_was_heard_live_is_the_result(waiting_service: Service, watched: WatchedJob) -> None:
    assert watched.early.segments == result_of(waiting_service, watched)


@pytest.mark.slow
def test_a_late_listener_gets_every_segment(waiting_service: Service, watched: WatchedJob) -> None:
    heard = listen(waiting_service, watched.job_id)
    assert heard.segments == result_of(waiting_service, watched)
    assert heard.messages[-1]["status"] == "completed"
    assert heard.code == NORMAL


@pytest.mark.slow
def test_a_trailing_slash_makes_no_difference(
    waiting_service: Service, watched: WatchedJob
) -> None:
    heard = listen(waiting_service, f"{watched.job_id}/")
    assert heard.segments == result_of(waiting_service, watched)


@pytest.mark.slow
def test_after_gives_what_follows_alone(waiting_service: Service, watched: WatchedJob) -> None:
    segments = result_of(waiting_service, watched)
    for position in (0, 20, len(segments) - 2, len(segments) - 1):
        heard = listen(waiting_service, watched.job_id, f"?after={segments[position]['id']}")
        assert heard.segments == segments[position + 1 :]
        assert heard.messages[-1]["status"] == "completed"
        assert heard.code == NORMAL


@pytest.mark.slow
def test_after_a_segment_that_the_job_does_not_have_everything_comes(
    waiting_service: Service, watched: WatchedJob
) -> None:
    heard = listen(waiting_service, watched.job_id, "?after=999999999")
    assert heard.segments == result_of(waiting_service, watched)


@pytest.mark.slow
def test_a_listener_who_comes_back_gets_each_segment_once(
    waiting_service: Service, watched: WatchedJob
) -> None:
    assert watched.reconnecting.n_connections > 4
    assert watched.reconnecting.segments == result_of(waiting_service, watched)


@pytest.mark.slow
def test_a_crowd_of_listeners_gets_everything(
    waiting_service: Service, watched: WatchedJob
) -> None:
    assert len(watched.crowd) == N_CROWD
    expected = result_of(waiting_service, watched)
    assert [n for n, heard in enumerate(watched.crowd) if heard.segments != expected] == []


@pytest.mark.slow
@pytest.mark.parametrize("job_id", [UNKNOWN_ID, "not-a-uuid", "1", "%00"])
def test_an_unknown_job_is_told_and_the_socket_closes(
    waiting_service: Service, job_id: object
) -> None:
    heard = listen(waiting_service, job_id)
    [message] = heard.messages
    assert message["type"] == "status"
    assert message["status"] == "not_found"
    assert message["progress"] == 0
    assert message["chunk_info"]["total_chunks"] == 0
    assert heard.code == NOT_FOUND


@pytest.mark.slow
@pytest.mark.parametrize("after", ["x", "", "-1", "1.5", "%31x", "²", "9" * 5_000])
def test_a_wrong_after_is_refused(
    waiting_service: Service, watched: WatchedJob, after: str
) -> None:
    heard = listen(waiting_service, watched.job_id, f"?after={after}")
    [message] = heard.messages
    assert list(message) == ["detail"]
    assert "after" in message["detail"]
    assert heard.code == BAD_REQUEST


@pytest.mark.slow
def test_what_a_listener_says_does_no_harm(service: Service, audio_dir: Path) -> None:
    """While the job runs: of one that has ended the socket may be closed before anything could be said."""
    job_id = service.upload(audio_dir / "jfk.flac")
    with connect(f"ws://127.0.0.1:{service.port}/api/transcribe/live/{job_id}") as socket:
        socket.send("hello")
        socket.send(b"\0\1")
        messages = [json.loads(message) for message in socket]
        assert socket.close_code == NORMAL
    heard = [message for message in messages if "id" in message]
    assert heard == service.result(job_id)["segments"] != []


# ---- One reader a job, however many listen


@pytest.fixture
def running_job() -> Job:
    recording = Recording.objects.create(name="a.flac", file="a.flac", size=1, duration=60.0)
    job = Job.objects.create(
        recording=recording, status=Job.Status.RUNNING, model_name="tiny.en", message="Working"
    )
    add_chunks(job, 2)
    return job


def finish(job: Job, index: int) -> None:
    """Commit a chunk and its one segment, as a worker does."""
    chunk = job.chunks.get(index=index)
    Segment.objects.create(
        job=job, chunk=chunk, start=chunk.start, end=chunk.end, text=f"Part {index}."
    )
    job.chunks.filter(index=index).update(state=Leased.State.DONE)


def end(job: Job, status: Job.Status = Job.Status.COMPLETED) -> None:
    Job.objects.filter(pk=job.pk).update(status=status, progress=100, message="The end")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """When the rows were looked at, appended to as it happens."""
    times: list[float] = []
    look_at: Callable[[Collection[UUID]], dict[UUID, looks.Look]] = looks.look_at

    def counted(job_ids: Collection[UUID]) -> dict[UUID, looks.Look]:
        times.append(time.monotonic())
        return look_at(job_ids)

    monkeypatch.setattr(looks, "look_at", counted)
    yield times
    assert not feed._feeds, "a feed outlived its listeners"


async def collect(job: Job, *, after: int | None = None) -> list[str]:
    return [message async for message in feed.subscribe(job.pk, after=after)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("n_listeners", [1, 300])
async def test_listeners_share_one_reader(
    running_job: Job, reads: list[float], n_listeners: int
) -> None:
    listeners = [asyncio.create_task(collect(running_job)) for _ in range(n_listeners)]
    began = time.monotonic()
    for act in (lambda: finish(running_job, 0), lambda: finish(running_job, 1)):
        await asyncio.sleep(0.3)
        await sync_to_async(act)()
    await sync_to_async(end)(running_job)
    heard = await asyncio.gather(*listeners)
    assert len(reads) <= (time.monotonic() - began) / feed.POLL_SECONDS + 2
    segments = [[message for message in messages if '"id"' in message] for messages in heard]
    assert [len(messages) for messages in segments] == [2] * n_listeners
    assert all('"completed"' in messages[-1] for messages in heard)


@pytest.mark.django_db(transaction=True)
async def test_segments_wait_for_the_chunks_before_theirs(
    running_job: Job, reads: list[float]
) -> None:
    listener = feed.subscribe(running_job.pk, after=None)
    assert '"processing"' in await anext(listener)
    await sync_to_async(finish)(running_job, 1)
    upcoming = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(2 * feed.POLL_SECONDS)
    while upcoming.done():  # chunk_info changes, and nothing else
        assert '"id"' not in upcoming.result()
        upcoming = asyncio.ensure_future(anext(listener))
        await asyncio.sleep(feed.POLL_SECONDS)
    await sync_to_async(finish)(running_job, 0)
    await sync_to_async(end)(running_job)
    rest = [await upcoming, *[message async for message in listener]]
    segments = [message for message in rest if '"id"' in message]
    assert ["Part 0" in segments[0], "Part 1" in segments[1]] == [True, True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [Job.Status.FAILED, Job.Status.CANCELLED])
async def test_a_job_that_fails_gives_what_there_is_and_ends(
    running_job: Job, reads: list[float], status: Job.Status
) -> None:
    await sync_to_async(finish)(running_job, 1)
    await sync_to_async(end)(running_job, status)
    heard = await collect(running_job)
    assert "Part 1" in heard[0]
    assert '"failed"' in heard[-1]
    assert len(reads) == 1


@pytest.mark.django_db(transaction=True)
async def test_a_job_that_is_deleted_while_somebody_listens_ends_as_not_found(
    running_job: Job, reads: list[float]
) -> None:
    listener = feed.subscribe(running_job.pk, after=None)
    assert '"processing"' in await anext(listener)
    await sync_to_async(running_job.recording.delete)()
    assert '"not_found"' in await anext(listener)
    with pytest.raises(feed.FeedClosedError) as closed:
        await anext(listener)
    assert closed.value.code == feed.NOT_FOUND


@pytest.mark.django_db(transaction=True)
async def test_a_job_that_is_begun_again_ends_its_feeds(
    running_job: Job, reads: list[float]
) -> None:
    """What was heard counts no more: the listener is told to connect anew."""
    listener = feed.subscribe(running_job.pk, after=None)
    assert '"processing"' in await anext(listener)
    await sync_to_async(retry_and_delete.rerun)(job_id=running_job.pk)
    async with asyncio.timeout(10):
        with pytest.raises(feed.FeedClosedError) as closed:
            async for _message in listener:
                pass
    assert closed.value.code == feed.JOB_RESTARTED


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_done_before", [True, False])
async def test_who_comes_back_after_a_retry_gets_what_was_missing(
    running_job: Job, is_done_before: bool
) -> None:
    """The listener had the segments of the second chunk when the first one, which had failed, was retried."""
    await sync_to_async(finish)(running_job, 1)
    await sync_to_async(end)(running_job, Job.Status.FAILED)
    heard = await collect(running_job)
    last = json.loads(heard[0])["id"]
    assert await sync_to_async(retry_and_delete.retry_failed)(job_id=running_job.pk)

    def commit() -> None:
        finish(running_job, 0)
        end(running_job)

    if is_done_before:
        await sync_to_async(commit)()
        again = await collect(running_job, after=last)
    else:
        listener = asyncio.create_task(collect(running_job, after=last))
        await asyncio.sleep(2 * feed.POLL_SECONDS)
        await sync_to_async(commit)()
        again = await listener
    assert "Part 0" in "".join(again)
    assert '"completed"' in again[-1]


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/nope", "/api/transcribe/live", "/api/transcribe/live/a/b"])
def test_a_socket_at_a_wrong_path_is_refused_without_a_traceback(
    waiting_service: Service, path: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{waiting_service.port}{path}")
    assert refused.value.response.status_code == 403
    assert "No route found" not in waiting_service.log()


@pytest.mark.django_db(transaction=True)
async def test_a_feed_ends_with_its_last_listener(running_job: Job, reads: list[float]) -> None:
    listeners = [feed.subscribe(running_job.pk, after=None) for _ in range(2)]
    for listener in listeners:
        await anext(listener)
    for listener in listeners:
        await listener.aclose()
    n_reads = len(reads)
    await asyncio.sleep(2 * feed.POLL_SECONDS)
    assert len(reads) == n_reads


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
async def test_feeds_one_after_the_other_share_a_channel(running_job: Job) -> None:
    await sync_to_async(end)(running_job)
    await collect(running_job)
    channels = list(feed._unused_channels())
    for _ in range(3):
        await collect(running_job)
    assert channels
    assert feed._unused_channels() == channels


def test_every_state_of_a_job_has_a_documented_name() -> None:
    assert set(statuses.API_STATUS) == set(Job.Status)
    assert set(statuses.API_STATUS.values()) == {"processing", "completed", "failed"}
