"""Listeners learn who speaks: whoever applies the messages in their order has what the result endpoint gives."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from tests.rows import reload
from tests.transcription.builders import (
    add_chunk,
    add_segment,
    claim_diarization,
    commit_diarization,
    diarize_job,
    ids,
    make_job,
)
from tests.transcription.live.listeners import Listener, hear, listening, result_of
from transcription.jobs import diarize
from transcription.live import feed, looks
from transcription.models import Job, Leased, Segment
from transcription.transcript.segments import segment_object

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

ONE, TWO = "SPEAKER_1", "SPEAKER_2"
TEXTS = ("How are you Fine thanks", "Good to hear", "And you")
ALTERNATELY = [(0, 3, ONE), (3, 5, TWO), (5, 9, ONE), (9, 10, TWO)]


@pytest.fixture
async def job() -> AsyncIterator[Job]:
    yield await sync_to_async(make_job)(*TEXTS)
    assert not feed._feeds, "a feed outlived its listeners"


async def test_segments_come_at_once_and_their_speakers_before_the_end(job: Job) -> None:
    heard = await listening(job, lambda: diarize_job(job, ALTERNATELY))
    kinds = [kind for kind, _ in groupby(heard.kinds)]  # how many statuses is a matter of time
    assert kinds == ["segment", "status", "speakers", "status"]
    assert [message["speaker"] for message in heard.messages[:3]] == [None] * 3
    [speakers] = [message for message in heard.messages if message.get("type") == "speakers"]
    assert len(speakers["segments"]) == 5
    assert heard.messages[-1]["status"] == "completed"
    assert heard.transcript == await sync_to_async(result_of)(job)


async def test_a_late_listener_gets_segments_with_their_speakers(job: Job) -> None:
    await sync_to_async(diarize_job)(job, ALTERNATELY)
    heard = await hear(job)
    assert heard.kinds == ["segment"] * 5 + ["status"]
    assert heard.transcript == await sync_to_async(result_of)(job)


async def test_where_nobody_was_heard_there_is_nothing_to_say(job: Job) -> None:
    heard = await listening(job, lambda: diarize_job(job, []))
    assert "speakers" not in heard.kinds
    assert heard.transcript == await sync_to_async(result_of)(job)


async def test_the_last_chunk_and_the_speakers_may_come_at_once(job: Job) -> None:
    def end() -> None:
        add_segment(last, "I am fine", 10.0)
        job.chunks.update(state=Leased.State.DONE)
        commit_diarization(claim_diarization(), [*ALTERNATELY, (10, 12, TWO), (12, 13, ONE)])

    last = await sync_to_async(add_chunk)(job, 1, state=Leased.State.DOING)
    early = asyncio.create_task(hear(job))
    resumed = asyncio.create_task(hear(job, after=(await sync_to_async(ids)(job))[-1]))
    await asyncio.sleep(2 * feed.POLL_SECONDS)
    assert feed._feeds[job.pk]._released_chunks == 1
    await sync_to_async(end)()
    whole, rest = await early, await resumed
    expected = await sync_to_async(result_of)(job)
    assert whole.transcript == expected
    for position, message in enumerate(whole.messages):
        if "id" not in message:
            continue
        had = Listener()
        for earlier in whole.messages[: position + 1]:
            had.apply(earlier)
        again = await hear(job, after=message["id"], had=had)
        assert again.transcript == expected
    assert rest.kinds.count("speakers") == 1


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_who_comes_back_with_segments_of_before_learns_their_speakers(
    job: Job, position: int
) -> None:
    before = Listener()
    for segment in await sync_to_async(lambda: list(job.segments.all()))():
        before.apply(segment_object(segment))
    after = before.transcript[position]["id"]
    had = Listener({s["id"]: s for s in before.transcript[: position + 1]})
    await sync_to_async(diarize_job)(job, ALTERNATELY)
    heard = await hear(job, after=after, had=had)
    assert heard.kinds[0] == "speakers"
    assert heard.transcript == await sync_to_async(result_of)(job)


async def test_who_comes_back_after_a_segment_that_is_gone_learns_that(job: Job) -> None:
    await sync_to_async(diarize_job)(job, ALTERNATELY)
    had = await hear(job)
    for gone in sorted(set(had.segments)):
        await sync_to_async(diarize_job)(job, [(0, 10, ONE)])
        heard = await hear(job, after=gone, had=had)
        assert heard.transcript == await sync_to_async(result_of)(job)
    assert len((await sync_to_async(reload)(job)).removed_segments) == 2


async def test_after_a_segment_that_the_job_never_had_everything_comes_as_it_is(job: Job) -> None:
    await sync_to_async(diarize_job)(job, ALTERNATELY)
    heard = await hear(job, after=10**9)
    assert heard.kinds == ["speakers", "status"]
    assert heard.transcript == await sync_to_async(result_of)(job)


@pytest.mark.parametrize("after", ["nothing", "the first", "what never was"])
async def test_found_anew_while_somebody_listens(job: Job, after: str) -> None:
    await sync_to_async(diarize_job)(job, ALTERNATELY)
    had = await hear(job)
    options: dict[str, Any] = {
        "nothing": {},
        "the first": {"after": had.transcript[0]["id"], "had": had},
        "what never was": {"after": 10**9, "had": had},
    }[after]
    assert await sync_to_async(diarize.request_diarization)(job_id=job.pk)
    turns = [(0, 8, TWO), (8, 9, ONE), (9, 10, TWO)]
    heard = await listening(job, lambda: commit_diarization(claim_diarization(), turns), **options)
    assert heard.kinds[-2:] == ["speakers", "status"]
    assert heard.transcript == await sync_to_async(result_of)(job)


async def test_many_segments_come_in_several_messages(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SEGMENTS_PER_MESSAGE", 2)
    early = asyncio.create_task(hear(job))
    heard = await listening(job, lambda: diarize_job(job, ALTERNATELY))
    assert heard.kinds.count("speakers") == 3
    expected = await sync_to_async(result_of)(job)
    assert heard.transcript == (await early).transcript == expected


async def test_segments_are_not_read_while_nothing_changed(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = looks._read_segments
    spans = []

    def counted(job_id: UUID, first: int, end: int) -> list[tuple[int, str]]:
        if end > first:
            spans.append((first, end))
        return read(job_id, first, end)

    monkeypatch.setattr(looks, "_read_segments", counted)
    crowd = [asyncio.create_task(hear(job)) for _ in range(50)]
    await listening(job, lambda: diarize_job(job, ALTERNATELY))
    await asyncio.gather(*crowd)
    assert spans == [(0, 1), (0, 1)], "once for the segments, once for their speakers"


async def test_a_revision_in_the_midst_of_a_look_is_not_half_seen(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = looks._read_segments

    def interrupted(*args: Any) -> list[tuple[int, str]]:
        monkeypatch.setattr(looks, "_read_segments", read)
        diarize_job(job, ALTERNATELY)
        return read(*args)

    monkeypatch.setattr(looks, "_read_segments", interrupted)
    snapshot = await sync_to_async(looks.read_snapshot)(job.pk, 0, None)
    assert snapshot is not None
    assert (snapshot.revision, snapshot.is_final) == (1, True)
    assert [json.loads(text) for _, text in snapshot.new_segments] == await sync_to_async(
        result_of
    )(job)


async def test_what_a_person_put_right_comes_with_the_speakers(job: Job) -> None:
    def act() -> None:
        Segment.objects.filter(job=job, text="And you").update(text="And you?")
        diarize_job(job, ALTERNATELY)

    heard = await listening(job, act)
    assert heard.transcript[-1]["text"] == "And you?"
    assert heard.transcript == await sync_to_async(result_of)(job)
