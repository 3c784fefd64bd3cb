"""The work of a summary: condense the parts of what is too long, merge them, summarize, find topics.

All of it runs in one thread: the event loop turns while a model is asked and stands still between, where the
database is written. So no connection is shared, and whatever was paid for is saved before the next is asked for.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django.db.models import Q

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
from transcription.leasing import leases
from transcription.leasing.leases import Lease, LeaseLostError

LOOK_SECONDS = 0.5
MOST_LEVELS = 20
"""Each level is half as long as the one before, at most: what is not in one piece by then never will be."""
PARTS_PERCENT = 85
"""What the parts are of the whole work; what follows is a few requests, however long the transcript."""
MERGED_PERCENT, TOPICS_PERCENT = 88, 90
WHOLE_PERCENT = 10

Found = TypeVar("Found")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a summary that was taken up."""

    again_after: float | None = None
    """Seconds, if it is to be tried again."""


def work_on_next() -> Outcome | None:
    """Make the summary that waits longest. None when there is none to make."""
    summary = services.claim()
    if summary is None:
        return None
    with leases.keep_renewed(summary, condition=Q) as lease:
        try:
            _work_on(summary, lease)
        except LeaseLostError:
            _logger.info("Summary %s is not wanted any more.", summary.pk)
        except LanguageModelError as error:
            _logger.warning("Summary %s failed: %s", summary.pk, error)
            return Outcome(_fail(summary, lease, str(error), can_retry=error.can_retry))
        except Exception as error:
            _logger.exception("Summary %s failed.", summary.pk)
            reason = f"Something unforeseen went wrong: {error!r}"
            return Outcome(_fail(summary, lease, reason, can_retry=True))
    return Outcome()


def _fail(summary: Summary, lease: Lease, error: str, *, can_retry: bool) -> float | None:
    return services.fail(lease=lease, summary=summary, error=error, can_retry=can_retry)


def _work_on(summary: Summary, lease: Lease) -> None:
    with asyncio.Runner() as runner, _opened(summary, lease, runner) as model:
        services.begin(lease=lease, summary=summary, model_used=model.name)
        _Work(summary, lease, model, runner).run()
    _logger.info("Summary %s: %s words by %s", summary.pk, summary.length, summary.model_used)


@contextmanager
def _opened(summary: Summary, lease: Lease, runner: asyncio.Runner) -> Iterator[LanguageModel]:
    stack = AsyncExitStack()
    context = loading.opened(summary.model_name, provider())
    try:
        yield runner.run(_while_held(lease, stack.enter_async_context(context)))
    finally:
        runner.run(stack.aclose())


async def _while_held(lease: Lease, asked: Coroutine[Any, Any, Found]) -> Found:
    """What `asked` gives. When the lease is lost that is cancelled, and LeaseLostError raised."""
    task = asyncio.ensure_future(asked)
    try:
        while not task.done():
            lease.check()
            await asyncio.wait([task], timeout=LOOK_SECONDS)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


class _Work:
    def __init__(
        self, summary: Summary, lease: Lease, model: LanguageModel, runner: asyncio.Runner
    ) -> None:
        self._summary = summary
        self._lease = lease
        self._model = model
        self._runner = runner

    def run(self) -> None:
        transcript = self._merged(services.transcript_of(self._summary))
        if not self._summary.summary:
            self._say("Summarizing", MERGED_PERCENT if self._summary.partials else WHOLE_PERCENT)
            self._save_text(transcript)
        self._say("Finding topics", TOPICS_PERCENT)
        topics = self._ask(self._model.topics(transcript, summary=self._summary.summary))
        services.finish(lease=self._lease, summary=self._summary, topics=topics)

    def _save_text(self, transcript: Transcript) -> None:
        text = self._ask(
            self._model.summarize(
                transcript,
                style=Style(self._summary.style),
                max_words=self._summary.max_length,
            )
        )
        services.save_text(lease=self._lease, summary=self._summary, text=text)

    def _ask(self, asked: Coroutine[Any, Any, Found]) -> Found:
        return self._runner.run(_while_held(self._lease, asked))

    def _say(self, message: str, percent: int) -> None:
        services.say(lease=self._lease, summary=self._summary, message=message, percent=percent)

    # ---- Map and reduce

    def _merged(self, transcript: Transcript) -> Transcript:
        """The transcript in one piece that the model can take, condensed as often as that needs."""
        for level in range(MOST_LEVELS):
            parts = self._ask(self._model.parts(transcript))
            if len(parts) <= 1:
                return parts[0] if parts else transcript
            transcript = Transcript(self._condensed(level, parts), transcript.language)
        raise LanguageModelError(
            "The transcript cannot be made to fit the model.", problem=Problem.TOO_LONG
        )

    def _condensed(self, level: int, parts: Sequence[Transcript]) -> tuple[Passage, ...]:
        done = self._saved(level, parts)
        for index in range(len(done), len(parts)):
            self._say_part(level, index, len(parts))
            condensed = self._ask(self._model.condense(parts[index]))
            done.append(services.stored_passages(condensed))
            self._save(level, parts, done)
        return tuple(_shorter([services.passages_of(stored) for stored in done], parts))

    def _say_part(self, level: int, index: int, n_parts: int) -> None:
        part = f"part {index + 1}/{n_parts}"
        if level == 0:
            self._say(f"Summarizing {part}", PARTS_PERCENT * index // n_parts)
        else:
            self._say(f"Merging what was summarized, {part}", PARTS_PERCENT)

    def _saved(self, level: int, parts: Sequence[Transcript]) -> list[list[list[Any]]]:
        """What parts came to before a worker was lost; nothing if they were cut in another way then."""
        levels = self._summary.partials
        if len(levels) > level and levels[level]["sizes"] == _sizes(parts):
            return list(levels[level]["done"])
        return []

    def _save(self, level: int, parts: Sequence[Transcript], done: list[list[list[Any]]]) -> None:
        levels = [*self._summary.partials[:level], {"sizes": _sizes(parts), "done": list(done)}]
        services.save_partials(lease=self._lease, summary=self._summary, partials=levels)


def _sizes(parts: Sequence[Transcript]) -> list[int]:
    """Characters of each part, by which parts that were cut in another way are told from these."""
    return [sum(len(passage.text) for passage in part.passages) for part in parts]


def _shorter(notes: Sequence[Sequence[Passage]], parts: Sequence[Transcript]) -> list[Passage]:
    """What the parts came to; cut where it is hardly shorter than they are, or merging would never come to an end."""
    before = [_tokens(part.passages) for part in parts]
    after = [_tokens(each) for each in notes]
    if 2 * sum(after) > sum(before):
        notes = [_cut(each, n // 2) for each, n in zip(notes, before, strict=True)]
    return [passage for each in notes for passage in each]


def _cut(passages: Sequence[Passage], max_tokens: int) -> list[Passage]:
    kept: list[Passage] = []
    left = max_tokens
    for passage in passages:
        n_tokens = _tokens([passage])
        if n_tokens > left:
            n_words = count_words(passage.text) * left // n_tokens
            if n_words:
                kept.append(replace(passage, text=cut_to_words(passage.text, n_words)))
            break
        kept.append(passage)
        left -= n_tokens
    return kept


def _tokens(passages: Iterable[Passage]) -> int:
    return sum(count_tokens(line(passage)) for passage in passages)
