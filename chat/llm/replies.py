"""What language models write, made into what was asked for."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from chat.llm import retrieval, text, tokenize
from chat.llm.base import Passage, Style, Transcript

MAX_CITATIONS = 20
"""Who cites hours of talk as a whole is shown what of it the answer's words come from."""
MAX_CITATIONS_BY_WORDS = 3
LEAST_SHARED_WORDS = 2

_THINK, _THOUGHT = "<think>", "</think>"
_CLOCK = r"(?:(\d{1,3}):)?(\d{1,3}):(\d{2})(?:[.,](\d{1,3}))?"
_BRACKETS = re.compile(r"\[([^\[\]]{1,300})\]")
_SPAN = re.compile(rf"{_CLOCK}(?:\s*(?:-|–|—|to)\s*{_CLOCK})?")
_NOTE = re.compile(rf"^\[{_CLOCK}(?:[^\]]*)\]\s*(.+)$")
_BULLET = re.compile(r"^\s*(?:[-*•‣◦–]|\d{1,2}[.)])\s+")
_HEADING = re.compile(r"^\s*#{1,6}\s+")


class Thinking:
    """Leaves out what a reasoning model thinks aloud, between `<think>` and `</think>`, before it answers."""

    def __init__(self) -> None:
        self._held = ""
        self._is_answering = False

    def feed(self, piece: str) -> str:
        """As much of the answer as is known with this piece."""
        if self._is_answering:
            return piece
        self._held = (self._held + piece).lstrip()
        if self._held.startswith(_THINK):
            _, ended, rest = self._held.partition(_THOUGHT)
            return self._begin(rest) if ended else ""
        if _THINK.startswith(self._held):
            return ""
        return self._begin(self._held)

    def end(self) -> str:
        """What was held back for nothing; thoughts that never ended are no answer."""
        return "" if self._is_answering or self._held.startswith(_THINK) else self._held

    def _begin(self, rest: str) -> str:
        # Blanks before the first word may come in pieces of their own: they are held like thoughts.
        self._held = rest.lstrip()
        self._is_answering = bool(self._held)
        return self._held


def without_thoughts(content: str) -> str:
    if _THINK not in content:
        content = content.rpartition(_THOUGHT)[
            2
        ]  # some chat templates open the thoughts themselves
    thinking = Thinking()
    return (thinking.feed(content) + thinking.end()).strip()


@dataclass(frozen=True)
class _Cited:
    start: float
    end: float | None
    """None: a time, not a range."""


def citations(answer: str, sent: Transcript) -> tuple[Passage, ...]:
    """
    The passages that the answer stands on, in order of time: those whose times it cites;
    if it cites none, the few that share most of its words.
    """
    found: set[int] = set()
    for cited in _cited(answer):
        found.update(_positions(cited, sent.passages, answer))
    if not found:
        found.update(_by_words(answer, sent))
    if len(found) > MAX_CITATIONS:
        shared = _shared_words(answer, sent)
        found = set(sorted(found, key=lambda at: -shared[at])[:MAX_CITATIONS])
    return tuple(sent.passages[position] for position in sorted(found))


def notes(reply: str, part: Transcript) -> list[Passage]:
    """A partial summary as passages: each line at the time it names, or where the part begins."""
    begin = next((each.start for each in part.passages if each.start is not None), None)
    last = max((each.end or each.start or 0.0 for each in part.passages), default=0.0)
    passages = []
    for line in reply.splitlines():
        content = text.one_line(_HEADING.sub("", _BULLET.sub("", line)))
        start = begin
        if match := _NOTE.match(content):
            told = _seconds(match.groups()[:4])
            content = match.group(5)
            # A time that lies outside is made up.
            if begin is not None and math.floor(begin) <= told <= last:
                start = max(begin, told)
        if content:
            passages.append(Passage(content, start=start))
    return sorted(passages, key=lambda each: each.start or 0.0)


def shaped(reply: str, style: Style) -> str:
    """The summary in its style, whatever signs the model used for lists and headings."""
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
            points[-1] += f"{':' if points[-1].endswith('**') else ''} {line}"  # it goes on
            continue
        is_list = bool(_BULLET.match(line))
        points.append(_BULLET.sub("", line))
    return "\n".join(f"- {point}" for point in points)


def _cited(answer: str) -> list[_Cited]:
    spans = []
    for bracket in _BRACKETS.finditer(answer):
        for match in _SPAN.finditer(bracket.group(1)):
            parts = match.groups()
            end = _seconds(parts[4:]) if parts[5] is not None else None
            spans.append(_Cited(_seconds(parts[:4]), end))
    return spans


def _seconds(clock: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = clock
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + (float(f"0.{fraction}") if fraction else 0.0)


def _positions(cited: _Cited, passages: Sequence[Passage], answer: str) -> list[int]:
    """Where the passages stand that begin at this time, or in this range; else the one that contains it."""
    starts = [(at, each.start) for at, each in enumerate(passages) if each.start is not None]
    # Times are shown in whole seconds, rounded down.
    second = math.floor(cited.start)
    if cited.end is not None and (within := [at for at, t in starts if second <= t < cited.end]):
        return within
    if same_second := [at for at, start in starts if math.floor(start) == second]:
        return [_nearest(answer, same_second, passages)]
    before = [at for at, start in starts if start <= cited.start]
    return before[-1:] if before and _contains(passages, before[-1], cited.start) else []


def _nearest(answer: str, positions: Sequence[int], passages: Sequence[Passage]) -> int:
    """The one of them that shares most words with the answer."""
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


def _by_words(answer: str, sent: Transcript) -> list[int]:
    found = retrieval.find(sent, [answer], limit=MAX_CITATIONS_BY_WORDS)
    shared = _shared_words(answer, sent)
    return [at for at in found if shared[at] >= LEAST_SHARED_WORDS]


def _shared_words(answer: str, sent: Transcript) -> list[int]:
    """How many different words, those that mean something, each passage shares with the answer."""
    words = tokenize.words_for(sent)
    told = set(words.terms(answer).content)
    return [len(told & set(words.terms(each.text).content)) for each in sent.passages]
