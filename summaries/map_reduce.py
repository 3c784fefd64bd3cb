"""The work of a summary: condense a transcript until it fits the context window, summarize it, find its topics.

Long transcripts are summarized by map and reduce: each part is condensed to notes, the notes are merged, and that is
repeated while they are still too long.

All of it runs in one thread: the event loop runs while the model is asked, and is paused while the database is
written. So no connection is shared, and every result is saved before the next request.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from chat.llm import loading
from chat.llm.base import (
    LanguageModel,
    LanguageModelError,
    Passage,
    Problem,
    Style,
    Transcript,
)
from chat.llm.text import count_tokens, count_words, cut_to_words, line
from chat.services import provider
from summaries import services
from summaries.models import Summary
from transcription.leasing import work
from transcription.leasing.leases import Lease

LEASE_CHECK_SECONDS = 0.5
MAX_LEVELS = 20
"""Each level at least halves the transcript: what does not fit after these never will."""
PARTS_PERCENT = 85
"""The share of the parts in the whole work; a few requests follow, however long the transcript is."""
MERGED_PERCENT, TOPICS_PERCENT = 88, 90
SINGLE_PART_PERCENT = 10
"""The progress when a transcript that fits as it is begins to be summarized."""

Result = TypeVar("Result")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How the work on a claimed summary ended."""

    retry_after: float | None = None
    """Seconds until it may be retried; None if that needs no waiting: it is done, failed for good, or in the queue."""


def summarize_next() -> Outcome | None:
    """Make the summary that waits longest, or save why it failed. None if none waits."""
    summary = services.claim()
    if summary is None:
        return None
    retry_after: float | None = None

    def fail(lease: Lease, error: Exception) -> None:
        nonlocal retry_after
        retry_after = _fail(summary, lease, error)

    work.run(
        summary,
        lambda lease: _summarize(summary, lease),
        name=f"Summary {summary.pk}",
        wake=services.wake_workers,
        on_failure=fail,
        on_wait=lambda reason: services.set_message(summary=summary, message=reason),
    )
    return Outcome(retry_after)


def _fail(summary: Summary, lease: Lease, error: Exception) -> float | None:
    if isinstance(error, LanguageModelError):
        _logger.warning("Summary %s failed: %s", summary.pk, error)
        reason, can_retry = str(error), error.can_retry
    else:
        _logger.error("Summary %s failed.", summary.pk, exc_info=error)
        reason, can_retry = f"Unexpected error: {error!r}", True
    return services.fail(lease=lease, summary=summary, error=reason, can_retry=can_retry)


def _summarize(summary: Summary, lease: Lease) -> None:
    with asyncio.Runner() as runner, _open_model(summary, lease, runner) as model:
        services.set_model_used(lease=lease, summary=summary, model_used=model.name)
        _MapReduce(summary, lease, model, runner).run()
    _logger.info("Summary %s: %s words by %s", summary.pk, summary.length, summary.model_used)


@contextmanager
def _open_model(summary: Summary, lease: Lease, runner: asyncio.Runner) -> Iterator[LanguageModel]:
    stack = AsyncExitStack()
    context = loading.open_model(summary.model_name, provider())
    try:
        yield runner.run(_await_while_leased(lease, stack.enter_async_context(context)))
    finally:
        runner.run(stack.aclose())


async def _await_while_leased(lease: Lease, call: Coroutine[Any, Any, Result]) -> Result:
    """Await `call`. If the lease is lost, or the process is to stop, cancel it and raise what `Lease.check` raises."""
    task = asyncio.ensure_future(call)
    try:
        while not task.done():
            lease.check()
            await asyncio.wait([task], timeout=LEASE_CHECK_SECONDS)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


class _MapReduce:
    """Makes one claimed summary with one model, and resumes after what an earlier attempt saved."""

    def __init__(
        self, summary: Summary, lease: Lease, model: LanguageModel, runner: asyncio.Runner
    ) -> None:
        self._summary = summary
        self._lease = lease
        self._model = model
        self._runner = runner

    def run(self) -> None:
        transcript = self._fit_into_context(services.load_transcript(self._summary))
        if not self._summary.summary:
            is_merged = bool(self._summary.partials)
            percent = MERGED_PERCENT if is_merged else SINGLE_PART_PERCENT
            self._save_progress("Summarizing", percent)
            self._save_text(transcript)
        self._save_progress("Finding topics", TOPICS_PERCENT)
        topics = self._call(self._model.topics(transcript, summary=self._summary.summary))
        services.finish(lease=self._lease, summary=self._summary, topics=topics)

    def _save_text(self, transcript: Transcript) -> None:
        text = self._call(
            self._model.summarize(
                transcript,
                style=Style(self._summary.style),
                max_words=self._summary.max_length,
            )
        )
        services.save_text(lease=self._lease, summary=self._summary, text=text)

    def _call(self, call: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(_await_while_leased(self._lease, call))

    def _save_progress(self, message: str, percent: int) -> None:
        services.save_progress(
            lease=self._lease, summary=self._summary, message=message, percent=percent
        )

    # ---- Map and reduce

    def _fit_into_context(self, transcript: Transcript) -> Transcript:
        """The transcript in one part that fits the model's context window, condensed as often as that takes.

        Raises LanguageModelError.
        """
        for level in range(MAX_LEVELS):
            parts = self._call(self._model.parts(transcript))
            if len(parts) <= 1:
                return parts[0] if parts else transcript
            transcript = Transcript(self._condense_parts(level, parts), transcript.language)
        raise LanguageModelError(
            "The transcript does not fit the model's context window, even when it is condensed.",
            problem=Problem.TOO_LONG,
        )

    def _condense_parts(self, level: int, parts: Sequence[Transcript]) -> tuple[Passage, ...]:
        done = self._saved_notes(level, parts)
        for index in range(len(done), len(parts)):
            self._save_part_progress(level, index, len(parts))
            notes = self._call(self._model.condense(parts[index]))
            done.append(services.dump_passages(notes))
            self._save_notes(level, parts, done)
        return tuple(_limit_notes([services.load_passages(stored) for stored in done], parts))

    def _save_part_progress(self, level: int, index: int, n_parts: int) -> None:
        part = f"part {index + 1}/{n_parts}"
        if level == 0:
            self._save_progress(f"Summarizing {part}", PARTS_PERCENT * index // n_parts)
        else:
            self._save_progress(f"Merging the parts' summaries, {part}", PARTS_PERCENT)

    def _saved_notes(self, level: int, parts: Sequence[Transcript]) -> list[list[list[Any]]]:
        """The notes of an earlier attempt; none if it split the transcript into other parts."""
        levels = self._summary.partials
        if len(levels) > level and levels[level]["sizes"] == _sizes(parts):
            return list(levels[level]["done"])
        return []

    def _save_notes(
        self, level: int, parts: Sequence[Transcript], done: list[list[list[Any]]]
    ) -> None:
        levels = [*self._summary.partials[:level], {"sizes": _sizes(parts), "done": list(done)}]
        services.save_partials(lease=self._lease, summary=self._summary, partials=levels)


def _sizes(parts: Sequence[Transcript]) -> list[int]:
    """Characters of each part. Notes are reused only if the sizes match, that is, if the parts are the same."""
    return [sum(len(passage.text) for passage in part.passages) for part in parts]


def _limit_notes(notes: Sequence[Sequence[Passage]], parts: Sequence[Transcript]) -> list[Passage]:
    """The notes of all parts; truncated to half of the parts if they are longer, or the reduction might not end."""
    before = [_count_tokens(part.passages) for part in parts]
    after = [_count_tokens(each) for each in notes]
    if 2 * sum(after) > sum(before):
        notes = [_truncate(each, n // 2) for each, n in zip(notes, before, strict=True)]
    return [passage for each in notes for passage in each]


def _truncate(passages: Sequence[Passage], max_tokens: int) -> list[Passage]:
    kept: list[Passage] = []
    left = max_tokens
    for passage in passages:
        n_tokens = _count_tokens([passage])
        if n_tokens > left:
            n_words = count_words(passage.text) * left // n_tokens
            if n_words:
                kept.append(replace(passage, text=cut_to_words(passage.text, n_words)))
            break
        kept.append(passage)
        left -= n_tokens
    return kept


def _count_tokens(passages: Iterable[Passage]) -> int:
    return sum(count_tokens(line(passage)) for passage in passages)
