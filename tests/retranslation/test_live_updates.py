"""Live listeners, also those that reconnect, end with exactly the result after proposals are accepted."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from asgiref.sync import sync_to_async

from tests.media import samples_of, write
from tests.retranslation.builders import ONE, TWO, accept, make_proposal, undo
from tests.rows import reload
from tests.service import Service
from tests.transcription.builders import (
    add_chunk,
    add_segment,
    claim_diarization,
    commit_diarization,
    diarize_job,
    ids,
    make_job,
)
from tests.transcription.live.listeners import (
    Heard,
    Listener,
    hear,
    hear_socket,
    listening,
    result_of,
)
from transcription.jobs import diarize, lifecycle
from transcription.live import feed as live
from transcription.models import Job, Leased
from transcription.transcript.segments import segment_object

pytestmark = pytest.mark.both

TURNS = [(0, 3, ONE), (3, 8, TWO)]

in_rows = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def job() -> AsyncIterator[Job]:
    """A job that is diarized again, so that its listeners stay connected."""
    yield await sync_to_async(_make_diarizing_job)()
    assert not live._feeds, "a feed outlived its listeners"


def _make_diarizing_job() -> Job:
    job = make_job("how are you", "fine thanks", "good to hear")
    diarize_job(job, TURNS)
    assert diarize.request_diarization(job_id=job.pk)
    return reload(job)


def _end(job: Job) -> None:
    commit_diarization(claim_diarization(), TURNS)
    assert reload(job).status == Job.Status.COMPLETED


def _change_a_text(job: Job) -> None:
    accept(make_proposal(job, 3.0, 5.0, "Fine, thanks."))


def _remove_a_segment(job: Job) -> None:
    accept(make_proposal(job, 3.0, 5.0, ""))


def _add_a_segment(job: Job) -> None:
    accept(make_proposal(job, 30.0, 33.0, "Is anybody there"))


def _take_back(job: Job) -> None:
    proposal = make_proposal(job, 2.0, 33.0, "they thanks good to")
    accept(proposal)
    undo(proposal)


def _all_at_once(job: Job) -> None:
    for act in (_change_a_text, _remove_a_segment, _add_a_segment, _take_back):
        act(job)


ALL = [_change_a_text, _remove_a_segment, _add_a_segment, _take_back, _all_at_once]
Act = Callable[[Job], None]


@in_rows
@pytest.mark.parametrize("act", ALL)
async def test_a_listener_of_a_running_job_gets_the_change(job: Job, act: Act) -> None:
    early = asyncio.create_task(hear(job))
    before = await sync_to_async(ids)(job)
    feed = await _feed_that_sent(job, len(before))
    revision = (await sync_to_async(reload)(job)).revision
    await sync_to_async(act)(job)
    async with asyncio.timeout(10):
        while feed._revision in (None, revision):
            await asyncio.sleep(0.05)
        expected = (await _listener_so_far(job)).segments
        while {pk: json.loads(message) for pk, message in feed._segments_by_id.items()} != expected:
            await asyncio.sleep(0.05)
    await sync_to_async(_end)(job)
    async with asyncio.timeout(10):
        listener = await early
    assert listener.transcript == await sync_to_async(result_of)(job)
    if act is not _take_back:  # may be over between two polls of the feed
        assert "speakers" in listener.kinds


async def _feed_that_sent(job: Job, n_segments: int) -> live.JobFeed:
    async with asyncio.timeout(10):
        while job.pk not in live._feeds or len(live._feeds[job.pk]._segments_by_id) < n_segments:
            await asyncio.sleep(0.05)
    return live._feeds[job.pk]


@in_rows
@pytest.mark.parametrize("act", [_remove_a_segment, _add_a_segment, _all_at_once])
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_listener_that_reconnects_gets_the_change(
    job: Job, act: Act, position: int
) -> None:
    before = await _listener_so_far(job)
    after = before.transcript[position]["id"]
    had = Listener({one["id"]: one for one in before.transcript[: position + 1]})
    await sync_to_async(act)(job)
    await sync_to_async(_end)(job)
    back = await hear(job, after=after, had=had)
    assert back.transcript == await sync_to_async(result_of)(job)


@in_rows
@pytest.mark.parametrize("act", [_take_back, _all_at_once])
async def test_a_listener_that_reconnects_while_others_listen_gets_the_change(
    job: Job, act: Act
) -> None:
    others = asyncio.create_task(hear(job))
    before = await _listener_so_far(job)
    had = Listener({one["id"]: one for one in before.transcript[:2]})
    await _feed_that_sent(job, 3)
    await sync_to_async(act)(job)
    await asyncio.sleep(2 * live.POLL_SECONDS)
    back = await listening(job, lambda: _end(job), after=before.transcript[1]["id"], had=had)
    expected = await sync_to_async(result_of)(job)
    assert back.transcript == (await others).transcript == expected


@in_rows
async def test_a_listener_may_reconnect_after_a_removed_or_added_segment(job: Job) -> None:
    first, second, third = await sync_to_async(ids)(job)
    await sync_to_async(_remove_a_segment)(job)
    await sync_to_async(_add_a_segment)(job)
    *_, added = await sync_to_async(ids)(job)
    before = await _listener_so_far(job)
    await sync_to_async(_end)(job)
    for after in (first, second, third, added):
        back = await hear(job, after=after, had=before)
        assert back.transcript == await sync_to_async(result_of)(job)


async def _listener_so_far(job: Job) -> Listener:
    """A listener that got all segments there are, and left before the end."""
    segments = await sync_to_async(lambda: list(job.segments.all()))()
    return Listener({segment.pk: segment_object(segment) for segment in segments})


@in_rows
async def test_a_change_accepted_while_chunks_are_missing_reaches_listeners() -> None:
    def start() -> Job:
        job = make_job("how are you", "fine thanks", diarize=False)
        job.chunks.update(end=10.0)
        last = add_chunk(job, 1, state=Leased.State.DOING)
        type(last).objects.filter(pk=last.pk).update(start=10.0)
        return job

    def end() -> None:
        add_segment(growing.chunks.get(index=1), "good to hear", 10.0)
        growing.chunks.update(state=Leased.State.DONE)
        lifecycle.advance(growing.pk)

    growing = await sync_to_async(start)()
    early = asyncio.create_task(hear(growing))
    await _feed_that_sent(growing, 2)
    await sync_to_async(_change_a_text)(growing)
    late = asyncio.create_task(hear(growing))
    await asyncio.sleep(2 * live.POLL_SECONDS)
    await sync_to_async(end)()
    async with asyncio.timeout(10):
        first, second = await early, await late
    assert first.kinds.count("speakers") == 1
    result = await sync_to_async(result_of)(growing)
    assert [one["text"] for one in result] == ["how are you", "Fine, thanks.", "good to hear"]
    assert first.transcript == second.transcript == result


@pytest.mark.slow
def test_a_socket_of_the_service_gets_an_accepted_change(
    service: Service, audio_dir: Path, tmp_path: Path
) -> None:
    samples = samples_of(audio_dir / "reading-10min.flac")
    job_id = service.upload(write(tmp_path / "half.wav", samples[: len(samples) // 2]))
    heard = asyncio.run(_listen_and_accept(service, job_id))
    listener = Listener()
    for message in heard.messages:
        listener.apply(message)
    result = service.result(job_id)["segments"]
    assert listener.transcript == result
    assert "speakers" in listener.kinds
    assert "Something else." not in [one["text"] for one in result]


async def _listen_and_accept(service: Service, job_id: str) -> Heard:
    listening = asyncio.create_task(hear_socket(service, job_id))
    async with httpx.AsyncClient(base_url=service.url, timeout=120) as client:
        first = (await hear_socket(service, job_id, segments=1)).segments[0]
        wrong = {"text": "Something else.", "was": {"text": first["text"]}}
        edited = await client.patch(f"/api/transcribe/segments/{first['id']}", json=wrong)
        assert edited.status_code == 200, edited.text
        answer = await client.post(
            f"/api/retranslate/segment-from-full?job_id={job_id}",
            json={
                "segment_id": str(first["id"]),
                "start_time": first["start"],
                "end_time": first["end"],
                "model_name": "base",
            },
        )
        assert answer.status_code == 200, answer.text
        accepted = await client.post(f"/api/retranslate/{answer.json()['id']}/accept")
        assert accepted.status_code == 200, accepted.text
        status = (await client.get(f"/api/transcribe/status/{job_id}")).json()
        assert status["status"] == "processing", "the job ended before anything was accepted"
    return await listening
