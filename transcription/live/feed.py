"""The job feed: one reader a watched job in each web process, however many listen."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import Error as DatabaseFailure  # of which InterfaceError is one, too
from django.db.models import Count, Max, Min, Q

from transcription.jobs import status as job_status
from transcription.models import Job, Leased
from transcription.transcript.segments import segment_object
from transcription.wake import listener_group

LOOK_SECONDS = 0.25
SEGMENTS_A_MESSAGE = 500
LOOK_SECONDS_WHEN_WOKEN = 2.0
"""Where messages wake the feed it looks by itself all the same, more seldom: a message may be lost."""

_logger = logging.getLogger(__name__)


class FeedBrokenError(Exception):
    """What a listener has been sent counts no more; `code` is the WebSocket's close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


BEGUN_AGAIN = 4409
NOT_FOUND = 4404


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look at a job's rows found: its status, and segments in order of time, each as its id and JSON."""

    run: int
    revision: int
    status: dict[str, Any]
    segments: list[tuple[int, str]]
    """Of the chunks that were not released before."""
    earlier: list[tuple[int, str]] | None
    """Of those that were, if the job was revised; else None."""
    removed: list[int]
    """The ids that revisions took away, if the job was revised."""
    released_chunks: int
    is_final: bool


class JobFeed:
    """Everything that happened to a job, in the order in which listeners get it.

    Segments are released chunk by chunk: those of a chunk only when all chunks before it are done, so that
    the transcript grows at its end, and "after segment N" says all that a listener has. Once speakers are found
    these segments change: then `speakers` messages tell which are different now, or new, and which are gone.
    """

    def __init__(self, job_id: UUID) -> None:
        self.job_id = job_id
        self.n_listeners = 0
        self.ended = False
        self._log: list[str] = []
        self._position_of: dict[int, int] = {}
        self._current: dict[int, str] = {}
        self._removed: list[int] = []
        self._revision: int | None = None
        self._status = ""
        self._released_chunks = 0
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._run: int | None = None
        self._failure: Exception | None = None

    def start(self) -> None:
        self._reader = asyncio.create_task(self._read_until_final())

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def messages(self, *, after: int | None) -> AsyncGenerator[str, None]:
        """The listener's messages as JSON text: first what it missed, then what comes; ends with the final status."""
        sent_status = ""
        position = 0
        if after is not None:
            while not self._status:
                await self._wait()
            missed, position = self._resume(after)
            for message in missed:
                yield message
        while True:
            news = self._news
            while position < len(self._log):
                position += 1
                yield self._log[position - 1]
            if self._status != sent_status:
                sent_status = self._status
                yield sent_status
                continue  # more may have come while it was sent
            if self.ended:
                if self._failure is not None:
                    raise self._failure
                return
            await news.wait()

    def _resume(self, after: int) -> tuple[list[str], int]:
        """What a listener missed who has the segments up to `after`, and where in the log it goes on."""
        position = self._position_of.get(after)
        if not self._revision:
            return [], 0 if position is None else position + 1
        # It may have heard of no revision or of some: it is told what the segments are that it has.
        if position is None:
            return _speakers_messages(list(self._current.values()), self._removed), len(self._log)
        had = [
            message
            for segment_id, message in self._current.items()
            if self._position_of.get(segment_id, position + 1) <= position
        ]
        return _speakers_messages(had, self._removed), position + 1

    async def _wait(self) -> None:
        if self.ended and self._failure is not None:
            raise self._failure
        await self._news.wait()

    async def _read_until_final(self) -> None:
        try:
            async with _Wakeups(self.job_id) as wakeups:
                while True:
                    try:
                        snapshot = await database_sync_to_async(read_job)(
                            self.job_id, self._released_chunks, self._revision
                        )
                    except DatabaseFailure as error:
                        _logger.warning("Job %s could not be read: %s", self.job_id, error)
                    else:
                        self._take(snapshot)
                        if self.ended:
                            return
                    await wakeups.wait()
        except Exception as error:
            _logger.exception("The feed of job %s failed.", self.job_id)
            self._end(error)
        finally:
            self.ended = True
            self._tell()

    def _take(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:  # deleted while it was watched
            self._status = as_json(
                job_status.live_status_message(job_status.not_found_document(self.job_id))
            )
            self._end(FeedBrokenError(NOT_FOUND))
            return
        if self._run not in (None, snapshot.run):
            self._status = as_json(snapshot.status)
            self._end(FeedBrokenError(BEGUN_AGAIN))
            return
        self._run = snapshot.run
        n_told = len(self._log)
        if snapshot.earlier is not None:
            self._revise(dict(snapshot.earlier))
            self._removed = snapshot.removed
        self._revision = snapshot.revision
        for segment_id, message in snapshot.segments:
            self._position_of[segment_id] = len(self._log)
            self._log.append(message)
            self._current[segment_id] = message
        self._released_chunks = snapshot.released_chunks
        status = as_json(snapshot.status)
        if snapshot.is_final:
            self.ended = True
        if len(self._log) > n_told or status != self._status:
            self._status = status
            self._tell()

    def _revise(self, segments: dict[int, str]) -> None:
        changed = {
            segment_id: message
            for segment_id, message in segments.items()
            if self._current.get(segment_id) != message
        }
        for index, segment_id in enumerate(changed):
            position = len(self._log) + index // SEGMENTS_A_MESSAGE
            self._position_of.setdefault(segment_id, position)
        removed = [segment_id for segment_id in self._current if segment_id not in segments]
        self._log += _speakers_messages(list(changed.values()), removed)
        self._current = segments

    def _end(self, failure: Exception) -> None:
        self._failure = failure
        self.ended = True

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


_unused: WeakKeyDictionary[asyncio.AbstractEventLoop, list[str]] = WeakKeyDictionary()


def _unused_channels() -> list[str]:
    """To be used again: the layer keeps what comes too late for a channel until somebody fetches it."""
    return _unused.setdefault(asyncio.get_running_loop(), [])


class _Wakeups:
    """Waits for the next reason to look at a job's rows: a message where there are any, or some time."""

    def __init__(self, job_id: UUID) -> None:
        self._group = listener_group(job_id)
        self._layer: Any = get_channel_layer() if settings.REDIS_URL else None
        self._channel = ""
        self._is_joined = False

    async def __aenter__(self) -> "_Wakeups":
        if self._layer is not None:
            try:
                async with asyncio.timeout(LOOK_SECONDS_WHEN_WOKEN):
                    await self._join()
            except Exception as error:
                self._warn(error)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel:
            _unused_channels().append(self._channel)
            with suppress(Exception):  # what cannot be told now, Redis forgets by itself
                await self._layer.group_discard(self._group, self._channel)

    async def wait(self) -> None:
        if self._layer is None:
            await asyncio.sleep(LOOK_SECONDS)
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS_WHEN_WOKEN):
                if not self._is_joined:
                    await self._join()
                await self._layer.receive(self._channel)
        except TimeoutError:
            # Nothing happened, or Redis was begun anew and knows of no group any more.
            self._is_joined = False
        except Exception as error:
            self._is_joined = False
            self._warn(error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _join(self) -> None:
        if not self._channel:
            unused = _unused_channels()
            self._channel = unused.pop() if unused else await self._layer.new_channel()
        await self._layer.group_add(self._group, self._channel)
        self._is_joined = True

    def _warn(self, error: Exception) -> None:
        _logger.warning("The channel layer failed; the feed looks by itself: %r", error)


def as_json(message: object) -> str:
    return json.dumps(message, ensure_ascii=False)


def _speakers_messages(segments: list[str], removed: list[int]) -> list[str]:
    """Segments that are different now, or new, and the ids of those that are gone; none if there is nothing to say."""
    batches = [
        segments[first : first + SEGMENTS_A_MESSAGE]
        for first in range(0, len(segments), SEGMENTS_A_MESSAGE)
    ]
    if removed and not batches:
        batches = [[]]
    return [
        f'{{"type": "speakers", "segments": [{", ".join(batch)}], '
        f'"removed": {as_json(removed if index == 0 else [])}}}'
        for index, batch in enumerate(batches)
    ]


_feeds: dict[UUID, JobFeed] = {}


async def listen(job_id: UUID, *, after: int | None) -> AsyncGenerator[str, None]:
    """Follow a job through the feed that all its listeners in this process share."""
    feed = _feeds.get(job_id)
    if feed is None or feed.ended:
        feed = _feeds[job_id] = JobFeed(job_id)
        feed.start()
    feed.n_listeners += 1
    try:
        async with aclosing(feed.messages(after=after)) as messages:
            async for message in messages:
                yield message
    finally:
        feed.n_listeners -= 1
        if not feed.n_listeners:
            feed.stop()
            if _feeds.get(job_id) is feed:
                del _feeds[job_id]


def read_job(job_id: UUID, released_chunks: int, revision: int | None) -> Snapshot | None:
    """Look at the rows: segments of the chunks from `released_chunks` on that are done without a gap.

    Those of earlier chunks too, if the job was revised since `revision`.
    """
    while True:
        job = Job.objects.filter(pk=job_id).defer("removed_segments").first()
        if job is None:
            return None
        snapshot = _read_rows(job, released_chunks, revision)
        if not snapshot.segments and snapshot.earlier is None:
            return snapshot
        # These were read after the job's row, and may be of a later revision than that is.
        as_read = Job.objects.filter(pk=job_id, run=job.run, revision=job.revision)
        if as_read.exists():
            return snapshot


def _read_rows(job: Job, released_chunks: int, revision: int | None) -> Snapshot:
    counts = job.chunks.aggregate(
        total=Count("pk"),
        done=Count("pk", filter=Q(state=Leased.State.DONE)),
        first_undone=Min("index", filter=~Q(state=Leased.State.DONE)),
        progress=Max("progress", filter=Q(state=Leased.State.DOING)),
    )
    is_final = job.status not in Job.ACTIVE
    total = counts["total"]
    release = total if is_final or counts["first_undone"] is None else counts["first_undone"]
    is_revised = job.revision != (revision or 0)
    chunk_info = {
        "current_chunk": min(counts["done"] + 1, total),
        "total_chunks": total,
        "chunk_progress": 100 if 0 < total == counts["done"] else counts["progress"] or 0,
    }
    return Snapshot(
        run=job.run,
        revision=job.revision,
        status=job_status.live_status_message(
            job_status.status_document(job), chunk_info=chunk_info
        ),
        segments=_segments(job, released_chunks, release),
        earlier=_segments(job, 0, released_chunks) if is_revised else None,
        removed=job.removed_segments if is_revised else [],
        released_chunks=max(release, released_chunks),
        is_final=is_final,
    )


def _segments(job: Job, first: int, end: int) -> list[tuple[int, str]]:
    """The segments of the chunks from `first` up to, not including, `end`."""
    if end <= first:
        return []
    segments = job.segments.filter(chunk__index__gte=first, chunk__index__lt=end).defer("words")
    return [(segment.pk, as_json(segment_object(segment))) for segment in segments]
