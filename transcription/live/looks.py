"""What feeds read: one query tells what changed in all watched jobs; segments are read only where it says so."""

import asyncio
import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import Error as DatabaseFailure  # includes InterfaceError
from django.db import connection, connections
from django.db.models import OuterRef, QuerySet, Subquery

from transcription import access
from transcription.jobs import status as job_status
from transcription.models import Chunk, Job, Leased, Segment
from transcription.transcript.segments import segment_object

GATHER_SECONDS = 0.005
"""Looks of several feeds within this time are one query."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Look:
    """A job and its chunks at one moment."""

    run: int
    revision: int
    status: str
    message: str
    progress: int
    n_chunks: int
    n_done: int
    first_undone: int | None
    """The index of the first chunk that is not done."""
    chunk_progress: int | None
    """Per cent, of the chunk in hand that is furthest."""
    place: int | None
    queue_length: int | None
    """These two while the job waits for its first chunk."""

    @property
    def is_final(self) -> bool:
        return self.status not in Job.ACTIVE

    @property
    def n_releasable(self) -> int:
        """The chunks from the first one on whose segments listeners may have."""
        is_whole = self.is_final or self.first_undone is None
        return self.n_chunks if is_whole else self.first_undone or 0

    def has_news(self, released_chunks: int, revision: int | None) -> bool:
        """Whether there are segments that whoever saw so many chunks at this revision does not have."""
        return self.n_releasable > released_chunks or self.revision != (revision or 0)

    def status_message(self) -> dict[str, Any]:
        message = self.message
        if self.place is not None and self.queue_length is not None:
            message = job_status.waiting_message(self.place, self.queue_length)
        all_done = 0 < self.n_chunks == self.n_done
        return job_status.live_status_message(
            {
                "status": job_status.API_STATUS[Job.Status(self.status)],
                "message": message,
                "progress": self.progress,
            },
            chunk_info={
                "current_chunk": min(self.n_done + 1, self.n_chunks),
                "total_chunks": self.n_chunks,
                "chunk_progress": 100 if all_done else self.chunk_progress or 0,
            },
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job's status and segments as read at one revision; segments are (id, JSON), ordered by time."""

    run: int
    revision: int
    status: dict[str, Any]
    new_segments: list[tuple[int, str]]
    """Segments of chunks that were not released before."""
    revised_segments: list[tuple[int, str]] | None
    """All segments released so far if `revision` changed, else None."""
    removed_ids: list[int]
    """Ids of all deleted segments if `revision` changed, else empty."""
    released_chunks: int
    is_final: bool


# ---- Queries


def look_at(job_ids: Collection[UUID]) -> dict[UUID, Look]:
    """Look at these jobs, in one query. Deleted ones are missing."""
    return {job_id: Look(*values) for job_id, *values in _looks().filter(pk__in=job_ids)}


@cache  # to make it takes as long as to run it
def _looks() -> "QuerySet[Job, Any]":
    """The id of each job, and the fields of its Look."""
    chunks = Chunk.objects.filter(job=OuterRef("pk"))
    undone = chunks.exclude(state=Leased.State.DONE).order_by("index")
    in_hand = chunks.filter(state=Leased.State.DOING).order_by("-progress")
    rows = Job.objects.annotate(
        n_chunks=job_status.count_of(chunks),
        n_done=job_status.count_of(chunks.filter(state=Leased.State.DONE)),
        first_undone=Subquery(undone.values("index")[:1]),
        chunk_progress=Subquery(in_hand.values("progress")[:1]),
        **job_status.place_in_queue(),
    )
    return rows.order_by().values_list("pk", *Look.__dataclass_fields__)


def read_snapshot(
    job_id: UUID, released_chunks: int, revision: int | None, look: Look | None = None
) -> Snapshot | None:
    """Read the segments of the chunks from `released_chunks` up to the first unfinished one. None without the job.

    Also reads the segments of the chunks before `released_chunks` if the job's revision is not `revision`. Starts from
    `look` if given.
    """
    while True:
        look = look or look_at([job_id]).get(job_id)
        if look is None:
            return None
        release = max(look.n_releasable, released_chunks)
        is_revised = look.revision != (revision or 0)
        new = _read_segments(job_id, released_chunks, release)
        revised = _read_segments(job_id, 0, released_chunks) if is_revised else None
        removed: list[int] | None = []
        if new or is_revised:
            # The segments were read after the look and may be of a later revision; if so, look and read again.
            as_seen = Job.objects.filter(pk=job_id, run=look.run, revision=look.revision)
            removed = as_seen.values_list("removed_segments", flat=True).first()
        if removed is not None:
            return Snapshot(
                run=look.run,
                revision=look.revision,
                status=look.status_message(),
                new_segments=new,
                revised_segments=revised,
                removed_ids=removed if is_revised else [],
                released_chunks=release,
                is_final=look.is_final,
            )
        look = None


def _read_segments(job_id: UUID, first: int, end: int) -> list[tuple[int, str]]:
    """The ids and JSON of the segments of the chunks from index `first` to `end`, exclusive."""
    if end <= first:
        return []
    segments = Segment.objects.filter(
        job=job_id, chunk__index__gte=first, chunk__index__lt=end
    ).defer("words")
    return [(segment.pk, as_json(segment_object(segment))) for segment in segments]


def as_json(message: object) -> str:
    return json.dumps(message, ensure_ascii=False)


# ---- The thread that asks


class Reader:
    """Reads for all feeds, in one thread, whose database connection stays open until `close`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live-feed")
        self._gathered: set[UUID] = set()
        self._next_look: asyncio.Task[dict[UUID, Look]] | None = None

    def close(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._thread.submit(connections.close_all)
        self._thread.shutdown(wait=False)

    async def read(
        self, job_id: UUID, released_chunks: int, revision: int | None
    ) -> Snapshot | None:
        """As `read_snapshot`; the looks of several feeds at the same time are one query."""
        look = await self._look(job_id)
        if look is None:
            return None
        if not look.has_news(released_chunks, revision):
            return read_snapshot(job_id, released_chunks, revision, look)  # without a query
        return await self._call(lambda: read_snapshot(job_id, released_chunks, revision, look))

    async def _look(self, job_id: UUID) -> Look | None:
        self._gathered.add(job_id)
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_at_gathered())
        # A feed that stops must not cancel the look of the others.
        looks = await asyncio.shield(self._next_look)
        return looks.get(job_id)

    async def _look_at_gathered(self) -> dict[UUID, Look]:
        await asyncio.sleep(GATHER_SECONDS)
        job_ids, self._gathered = self._gathered, set()
        self._next_look = None
        return await self._call(lambda: look_at(job_ids))

    async def _call(self, read: Callable[[], Result]) -> Result:
        @access.as_service()  # the feed serves all listeners; who may listen, its consumer has checked
        def read_again_if_lost() -> Result:
            try:
                return read()
            except DatabaseFailure:
                # The connection may have been lost since it was last used: Django opens another one.
                connection.close()
                return read()

        return await asyncio.get_running_loop().run_in_executor(self._thread, read_again_if_lost)
