"""The live feed: in each web process one feed per watched job, which serves all the job's listeners."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import Error as DatabaseFailure  # includes InterfaceError

from transcription.jobs import status as job_status
from transcription.live.looks import Reader, Snapshot, as_json
from transcription.wake import listener_group

POLL_SECONDS = 0.25
POLL_SECONDS_WITH_REDIS = 2.0
"""Poll interval with Redis: wake-up messages arrive at once, but one may be lost."""
SEGMENTS_PER_MESSAGE = 500
JOB_RESTARTED, NOT_FOUND = 4409, 4404
"""WebSocket close codes."""

_logger = logging.getLogger(__name__)


class FeedClosedError(Exception):
    """The job was deleted or restarted, so received segments are void; `code` is the WebSocket close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class JobFeed:
    """Follows a job's rows and keeps an append-only log of messages, from which every listener is served.

    Segments of a chunk are released when all chunks before it are done, so the transcript only grows at its end,
    and the id of a listener's last segment (`after`) identifies all segments it has. When a revision changes released
    segments (diarization, edits), `speakers` messages carry the changed and added segments and the deleted ids.
    """

    def __init__(self, job_id: UUID, reader: Reader) -> None:
        self.job_id = job_id
        self.n_listeners = 0
        self.ended = False
        self._log: list[str] = []
        self._position_of: dict[int, int] = {}
        self._segments_by_id: dict[int, str] = {}
        self._removed_ids: list[int] = []
        self._revision: int | None = None
        self._status = ""
        self._released_chunks = 0
        self._updated = asyncio.Event()
        self._reader = reader
        self._following: asyncio.Task[None] | None = None
        self._run: int | None = None
        self._failure: Exception | None = None

    def start(self) -> None:
        self._following = asyncio.create_task(self._follow_until_final())

    def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()

    async def messages(self, *, after: int | None) -> AsyncGenerator[str, None]:
        """Yield JSON messages: those missed since segment `after`, then new ones, up to the final status.

        Raises FeedClosedError if the job is deleted or restarted.
        """
        sent_status = ""
        position = 0
        if after is not None:
            while not self._status:
                await self._wait_for_update()
            missed, position = self._missed_messages(after)
            for message in missed:
                yield message
        while True:
            updated = self._updated
            while position < len(self._log):
                position += 1
                yield self._log[position - 1]
            if self._status != sent_status:
                sent_status = self._status
                yield sent_status
                continue  # the log may have grown while the status was sent
            if self.ended:
                if self._failure is not None:
                    raise self._failure
                return
            await updated.wait()

    def _missed_messages(self, after: int) -> tuple[list[str], int]:
        """The messages missed by a listener that has the segments up to `after`, and its position in the log."""
        position = self._position_of.get(after)
        if not self._revision:
            return [], 0 if position is None else position + 1
        # Its segments may be of any earlier revision, so the current version of each is sent.
        if position is None:
            current_segments = list(self._segments_by_id.values())
            return _speakers_messages(current_segments, self._removed_ids), len(self._log)
        known_segments = [
            message
            for segment_id, message in self._segments_by_id.items()
            if self._position_of.get(segment_id, position + 1) <= position
        ]
        return _speakers_messages(known_segments, self._removed_ids), position + 1

    async def _wait_for_update(self) -> None:
        if self.ended and self._failure is not None:
            raise self._failure
        await self._updated.wait()

    async def _follow_until_final(self) -> None:
        try:
            async with _Wakeups(self.job_id) as wakeups:
                while True:
                    try:
                        snapshot = await self._reader.read(
                            self.job_id, self._released_chunks, self._revision
                        )
                    except DatabaseFailure as error:
                        _logger.warning("Job %s could not be read: %s", self.job_id, error)
                    else:
                        self._apply_snapshot(snapshot)
                        if self.ended:
                            return
                    await wakeups.wait()
        except Exception as error:
            _logger.exception("The feed of job %s failed.", self.job_id)
            self._fail(error)
        finally:
            self.ended = True
            self._notify_listeners()

    def _apply_snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:  # deleted
            self._status = as_json(
                job_status.live_status_message(job_status.not_found_document(self.job_id))
            )
            self._fail(FeedClosedError(NOT_FOUND))
            return
        if self._run not in (None, snapshot.run):
            self._status = as_json(snapshot.status)
            self._fail(FeedClosedError(JOB_RESTARTED))
            return
        self._run = snapshot.run
        n_logged = len(self._log)
        if snapshot.revised_segments is not None:
            self._log_revision(dict(snapshot.revised_segments))
            self._removed_ids = snapshot.removed_ids
        self._revision = snapshot.revision
        for segment_id, message in snapshot.new_segments:
            self._position_of[segment_id] = len(self._log)
            self._log.append(message)
            self._segments_by_id[segment_id] = message
        self._released_chunks = snapshot.released_chunks
        status = as_json(snapshot.status)
        if snapshot.is_final:
            self.ended = True
        if len(self._log) > n_logged or status != self._status:
            self._status = status
            self._notify_listeners()

    def _log_revision(self, segments: dict[int, str]) -> None:
        """Log the differences between `segments`, by id, and the segments that were logged before."""
        changed = {
            segment_id: message
            for segment_id, message in segments.items()
            if self._segments_by_id.get(segment_id) != message
        }
        for index, segment_id in enumerate(changed):
            position = len(self._log) + index // SEGMENTS_PER_MESSAGE
            self._position_of.setdefault(segment_id, position)
        removed = [segment_id for segment_id in self._segments_by_id if segment_id not in segments]
        self._log += _speakers_messages(list(changed.values()), removed)
        self._segments_by_id = segments

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self.ended = True

    def _notify_listeners(self) -> None:
        updated, self._updated = self._updated, asyncio.Event()
        updated.set()


_unused_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, list[str]] = WeakKeyDictionary()


def _unused_channels() -> list[str]:
    """Channels of earlier feeds, reused because the channel layer keeps unread messages of abandoned ones."""
    return _unused_by_loop.setdefault(asyncio.get_running_loop(), [])


class _Wakeups:
    """Waits for a wake-up message about the job, or for the poll interval."""

    def __init__(self, job_id: UUID) -> None:
        self._group = listener_group(job_id)
        self._layer: Any = get_channel_layer() if settings.REDIS_URL else None
        self._channel = ""
        self._is_joined = False

    async def __aenter__(self) -> "_Wakeups":
        if self._layer is not None:
            try:
                async with asyncio.timeout(POLL_SECONDS_WITH_REDIS):
                    await self._join()
            except Exception as error:
                self._warn(error)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel:
            _unused_channels().append(self._channel)
            with suppress(Exception):  # the group's membership expires in Redis
                await self._layer.group_discard(self._group, self._channel)

    async def wait(self) -> None:
        if self._layer is None:
            await asyncio.sleep(_until_next(POLL_SECONDS))
            return
        try:
            async with asyncio.timeout(_until_next(POLL_SECONDS_WITH_REDIS)):
                if not self._is_joined:
                    await self._join()
                await self._layer.receive(self._channel)
        except TimeoutError:
            # Either there was no message, or Redis was restarted without its data: rejoin the group.
            self._is_joined = False
        except Exception as error:
            self._is_joined = False
            self._warn(error)
            await asyncio.sleep(POLL_SECONDS)

    async def _join(self) -> None:
        if not self._channel:
            unused = _unused_channels()
            self._channel = unused.pop() if unused else await self._layer.new_channel()
        await self._layer.group_add(self._group, self._channel)
        self._is_joined = True

    def _warn(self, error: Exception) -> None:
        _logger.warning("The channel layer failed; the feed polls: %r", error)


def _until_next(interval: float) -> float:
    """Seconds until all feeds look again: at the same moments, so that they share a query."""
    return interval - asyncio.get_running_loop().time() % interval


def _speakers_messages(segments: list[str], removed: list[int]) -> list[str]:
    """Batch changed or added segments and deleted ids into `speakers` messages; none if there are neither."""
    batches = [
        segments[first : first + SEGMENTS_PER_MESSAGE]
        for first in range(0, len(segments), SEGMENTS_PER_MESSAGE)
    ]
    if removed and not batches:
        batches = [[]]
    return [
        f'{{"type": "speakers", "segments": [{", ".join(batch)}], '
        f'"removed": {as_json(removed if index == 0 else [])}}}'
        for index, batch in enumerate(batches)
    ]


_feeds: dict[UUID, JobFeed] = {}
_reader: Reader | None = None
"""What all feeds share; it lives as long as there are any."""


async def subscribe(job_id: UUID, *, after: int | None) -> AsyncGenerator[str, None]:
    """Yield a job's messages from its feed, which is started for the first listener and stopped after the last."""
    global _reader
    feed = _feeds.get(job_id)
    if feed is None or feed.ended:
        _reader = _reader or Reader()
        feed = _feeds[job_id] = JobFeed(job_id, _reader)
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
            if not _feeds and _reader is not None:
                _reader.close()
                _reader = None
