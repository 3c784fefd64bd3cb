"""Parse the replies of language models: citations, notes, summaries; and filter out their reasoning."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from chat.llm import retrieval, text, tokenize
from chat.llm.base import Passage, Style, Transcript

MAX_CITATIONS = 20
"""An answer that cites hours of speech gets the cited passages that share most words with it."""
MAX_INFERRED_CITATIONS = 3
MIN_SHARED_WORDS = 2

_REASONING_START, _REASONING_END = "<think>", "</think>"
_CLOCK = r"(?:(\d{1,3}):)?(\d{1,3}):(\d{2})(?:[.,](\d{1,3}))?"
_BRACKETS = re.compile(r"\[([^\[\]]{1,300})\]")
_SPAN = re.compile(rf"{_CLOCK}(?:\s*(?:-|–|—|to)\s*{_CLOCK})?")
_NOTE = re.compile(rf"^\[{_CLOCK}(?:[^\]]*)\]\s*(.+)$")
_BULLET = re.compile(r"^\s*(?:[-*•‣◦–]|\d{1,2}[.)])\s+")
_HEADING = re.compile(r"^\s*#{1,6}\s+")


class ReasoningFilter:
    """Filters a streamed reply: drops the reasoning between `<think>` and `</think>` before the answer."""

    def __init__(self) -> None:
        self._buffer = ""
        self._is_answering = False

    def feed(self, delta: str) -> str:
        """Add a text delta, and return the part of the answer that it completes."""
        if self._is_answering:
            return delta
        self._buffer = (self._buffer + delta).lstrip()
        if self._buffer.startswith(_REASONING_START):
            _, end, rest = self._buffer.partition(_REASONING_END)
            return self._start_answer(rest) if end else ""
        if _REASONING_START.startswith(self._buffer):
            return ""
        return self._start_answer(self._buffer)

    def end(self) -> str:
        """Return the rest of the answer at the end of the stream; empty if the reasoning never ended."""
        return (
            "" if self._is_answering or self._buffer.startswith(_REASONING_START) else self._buffer
        )

    def _start_answer(self, rest: str) -> str:
        # White space before the first word may come in deltas of its own.
        self._buffer = rest.lstrip()
        self._is_answering = bool(self._buffer)
        return self._buffer


def strip_reasoning(content: str) -> str:
    """Remove the reasoning from a whole reply."""
    if _REASONING_START not in content:
        # Some chat templates write the opening tag themselves, so that the reply has only the closing one.
        content = content.rpartition(_REASONING_END)[2]
    reasoning_filter = ReasoningFilter()
    return (reasoning_filter.feed(content) + reasoning_filter.end()).strip()


@dataclass(frozen=True)
class _CitedTime:
    start: float
    end: float | None
    """None: a point in time, not a range."""


def find_citations(answer: str, transcript: Transcript) -> tuple[Passage, ...]:
    """Find the passages that support the answer, ordered by start.

    Those whose times it cites; if it cites none, the few that share most words with it.
    """
    found: set[int] = set()
    for cited in _cited_times(answer):
        found.update(_passages_at(cited, transcript.passages, answer))
    if not found:
        found.update(_passages_by_words(answer, transcript))
    if len(found) > MAX_CITATIONS:
        shared = _shared_words(answer, transcript)
        found = set(sorted(found, key=lambda at: -shared[at])[:MAX_CITATIONS])
    return tuple(transcript.passages[position] for position in sorted(found))


def parse_notes(reply: str, part: Transcript) -> list[Passage]:
    """Parse notes on one part into passages: each line starts at the time it names, else at the part's start."""
    part_start = next((each.start for each in part.passages if each.start is not None), None)
    part_end = max((each.end or each.start or 0.0 for each in part.passages), default=0.0)
    passages = []
    for line in reply.splitlines():
        content = text.one_line(_HEADING.sub("", _BULLET.sub("", line)))
        start = part_start
        if match := _NOTE.match(content):
            named = _seconds(match.groups()[:4])
            content = match.group(5)
            # A time outside the part is hallucinated.
            if part_start is not None and math.floor(part_start) <= named <= part_end:
                start = max(part_start, named)
        if content:
            passages.append(Passage(content, start=start))
    return sorted(passages, key=lambda each: each.start or 0.0)


def format_summary(reply: str, style: Style) -> str:
    """Format a summary in its style, whatever markup the model used for lists and headings."""
    lines = [line.strip() for line in reply.splitlines()]
    if style is Style.PARAGRAPH:
        kept = [_BULLET.sub("", line) for line in lines if not _HEADING.match(line)]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    points: list[str] = []
    is_list = False
    for line in lines:
        if not line or _HEADING.match(line) or (not is_list and line.endswith(":")):
            continue  # "Here is the summary:"
        if is_list and not _BULLET.match(line):
            points[-1] += (
                f"{':' if points[-1].endswith('**') else ''} {line}"  # a continuation line
            )
            continue
        is_list = bool(_BULLET.match(line))
        points.append(_BULLET.sub("", line))
    return "\n".join(f"- {point}" for point in points)


def _cited_times(answer: str) -> list[_CitedTime]:
    times = []
    for bracket in _BRACKETS.finditer(answer):
        for match in _SPAN.finditer(bracket.group(1)):
            parts = match.groups()
            end = _seconds(parts[4:]) if parts[5] is not None else None
            times.append(_CitedTime(_seconds(parts[:4]), end))
    return times


def _seconds(clock: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = clock
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + (float(f"0.{fraction}") if fraction else 0.0)


def _passages_at(cited: _CitedTime, passages: Sequence[Passage], answer: str) -> list[int]:
    """Indices of the passages that start at this time or in this range, else of the one that contains it."""
    starts = [(at, each.start) for at, each in enumerate(passages) if each.start is not None]
    # The prompt shows times in whole seconds, rounded down.
    second = math.floor(cited.start)
    if cited.end is not None and (within := [at for at, t in starts if second <= t < cited.end]):
        return within
    if same_second := [at for at, start in starts if math.floor(start) == second]:
        return [_most_similar(answer, same_second, passages)]
    before = [at for at, start in starts if start <= cited.start]
    return before[-1:] if before and _contains(passages, before[-1], cited.start) else []


def _most_similar(answer: str, positions: Sequence[int], passages: Sequence[Passage]) -> int:
    """The position of the passage that shares most words with the answer."""
    if len(positions) == 1:
        return positions[0]
    shared = _shared_words(answer, Transcript(tuple(passages[at] for at in positions)))
    return positions[shared.index(max(shared))]


def _contains(passages: Sequence[Passage], at: int, time: float) -> bool:
    end = passages[at].end
    if end is None:
        following = passages[at + 1].start if at + 1 < len(passages) else None
        return following is not None and time < following
    return time <= end


def _passages_by_words(answer: str, transcript: Transcript) -> list[int]:
    found = retrieval.find(transcript, [answer], limit=MAX_INFERRED_CITATIONS)
    shared = _shared_words(answer, transcript)
    return [at for at in found if shared[at] >= MIN_SHARED_WORDS]


def _shared_words(answer: str, transcript: Transcript) -> list[int]:
    """For each passage, the number of distinct content terms that it shares with the answer."""
    tokenizer = tokenize.tokenizer_for(transcript)
    answer_terms = set(tokenizer.terms(answer).content)
    return [
        len(answer_terms & set(tokenizer.terms(each.text).content)) for each in transcript.passages
    ]
