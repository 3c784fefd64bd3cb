"""The live feed: in each web process one reader for each watched job, however many listeners it has."""

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
"""Poll interval with Redis: wake-up messages come at once, but one may be lost."""

_logger = logging.getLogger(__name__)


class FeedBrokenError(Exception):
    """What the listener received is void; `code` is the WebSocket close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


BEGUN_AGAIN = 4409
NOT_FOUND = 4404


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One read of a job's rows: its status, and segments in order of time, each as its id and JSON."""

    run: int
    revision: int
    status: dict[str, Any]
    segments: list[tuple[int, str]]
    """Segments of chunks that were not released before."""
    earlier: list[tuple[int, str]] | None
    """All segments released so far if `revision` changed, else None."""
    removed: list[int]
    """Ids of segments that were deleted, if `revision` changed."""
    released_chunks: int
    is_final: bool


class JobFeed:
    """The log of a job's messages, in the order in which all its listeners get them.

    Segments of a chunk are released when all chunks before it are done, so that the transcript grows at its end
    and `after=N` identifies all that a listener has. When a revision changes released segments (diarization, edits),
    `speakers` messages carry the changed and added segments and the ids of the deleted ones.
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
        """Yield a listener's messages as JSON: what it missed, then news; ends after the final status."""
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
                continue  # more may have arrived while it was sent
            if self.ended:
                if self._failure is not None:
                    raise self._failure
                return
            await news.wait()

    def _resume(self, after: int) -> tuple[list[str], int]:
        """Return what a listener that has the segments up to `after` missed, and its position in the log."""
        position = self._position_of.get(after)
        if not self._revision:
            return [], 0 if position is None else position + 1
        # It may know any earlier revision, so it is sent all segments that it has as they are now.
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
        if snapshot is None:  # the job was deleted
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
    """Channels for reuse: the layer keeps late messages of an abandoned channel until somebody fetches them."""
    return _unused.setdefault(asyncio.get_running_loop(), [])


class _Wakeups:
    """Waits for the next reason to read a job's rows: a wake-up message, or the poll interval."""

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
            with suppress(Exception):  # Redis expires the membership by itself
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
            # No message, or Redis was restarted empty and the group is lost: join again.
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
        _logger.warning("The channel layer failed; the feed polls: %r", error)


def as_json(message: object) -> str:
    return json.dumps(message, ensure_ascii=False)


def _speakers_messages(segments: list[str], removed: list[int]) -> list[str]:
    """Return `speakers` messages with changed or added segments and deleted ids; none if there are neither."""
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
    """Yield a job's messages from the feed that all its listeners in this process share."""
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
    """Read the segments of the chunks from `released_chunks` up to the first unfinished one. None if the job is gone.

    Includes the segments of earlier chunks if the job has another revision than `revision`.
    """
    while True:
        job = Job.objects.filter(pk=job_id).defer("removed_segments").first()
        if job is None:
            return None
        snapshot = _read_rows(job, released_chunks, revision)
        if not snapshot.segments and snapshot.earlier is None:
            return snapshot
        # The segments were read after the job's row and may be of a later revision: then read again.
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
    """Return the segments of the chunks from `first` up to, not including, `end`."""
    if end <= first:
        return []
    segments = job.segments.filter(chunk__index__gte=first, chunk__index__lt=end).defer("words")
    return [(segment.pk, as_json(segment_object(segment))) for segment in segments]
