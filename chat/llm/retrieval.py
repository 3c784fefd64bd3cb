"""Finding what matters to a question in a transcript: BM25 over its passages, and the times that it names.

BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), computed by bm25s.
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat.llm import time_expressions
from chat.llm.base import Message, Passage, Transcript
from chat.llm.text import count_tokens, cut_to_tokens, line, sentences
from chat.llm.tokenize import Words, words_for

_EARLIER = (0.3, 0.2, 0.12, 0.08)
"""What the words of the messages before the question weigh, the latest first."""
_LONG_TEXT_TERMS = 3
"""Of an earlier text with more terms, all together weigh no more than so many."""
_COMMON_WEIGHT = 0.1
_STRONG = 0.35
"""Share of the best hit's score from which a hit matters as itself, not only where there is room."""
_SHARE_OF_STRONG = 0.7
_TELLS_LITTLE = 0.5
"""For passages of one word beside everyday ones: "The budget?", or "Yeah." of the speaker who is asked about."""
_NARROW = 30
_BESIDE_WORDS = 0.6
_WIDEST = 8
_MORE = " … "


@dataclass(frozen=True)
class Found:
    passages: tuple[Passage, ...]
    """The hits with what was said around them, in order of time."""
    hits: tuple[Passage, ...]
    """Best first. None: nothing was found, and the passages are spread over the transcript."""


@dataclass(frozen=True)
class Hit:
    index: int
    score: float


def find(transcript: Transcript, texts: Sequence[str], *, limit: int) -> list[int]:
    """Indices of the passages that have to do with `texts`, best first.

    The first text is the question; what was said before it follows, the latest first, each counting less.
    """
    return [hit.index for hit in ranked(transcript, texts)[:limit]]


def select(transcript: Transcript, messages: Sequence[Message], *, max_tokens: int) -> Found:
    """What of the transcript matters to the talk, in at most `max_tokens`: line(passage) and a line break each."""
    passages = transcript.passages
    costs = [count_tokens(line(passage)) + 1 for passage in passages]
    texts = texts_of(messages)
    hits = ranked(transcript, texts)
    if sum(costs) <= max_tokens:
        return Found(passages, tuple(passages[hit.index] for hit in hits))
    room = _Room(costs, max_tokens)
    if not hits:
        for index in _spread(range(len(passages))):
            room.take(index)
        return Found(tuple(passages[index] for index in sorted(room.taken)), ())
    if costs[hits[0].index] > max_tokens:
        best = passages[hits[0].index]
        cut = shortened(best, texts, language=transcript.language, max_tokens=max_tokens)
        return Found((cut,), (cut,)) if cut else Found((), ())
    _fill(room, hits)
    return Found(
        tuple(passages[index] for index in sorted(room.taken)),
        tuple(passages[hit.index] for hit in hits if hit.index in room.taken),
    )


def texts_of(messages: Sequence[Message]) -> list[str]:
    """What was said in a talk, the latest first."""
    return [message.content for message in reversed(messages) if message.role != "system"]


def ranked(transcript: Transcript, texts: Sequence[str]) -> list[Hit]:
    """Every passage that has to do with `texts` (as for `find`), best first, and how much."""
    if not transcript.passages or not texts:
        return []
    words = words_for(transcript)
    timed = _timed(transcript, texts, words)
    scores = _scores(transcript, texts, words)
    best = max(scores.values(), default=0.0)
    # A time that is asked for counts more than any word, unless it is so long that it would drown the words.
    rest = best + 0.5 if len(timed) <= _NARROW or not best else _BESIDE_WORDS * best
    without_words = [index for index in timed if index not in scores]
    scores.update({index: scores[index] + best + 1.0 for index in timed if index in scores})
    scores.update({at: rest - place * 1e-6 for place, at in enumerate(without_words)})
    order = sorted(scores, key=lambda index: (-scores[index], index))
    return [Hit(index, scores[index]) for index in order]


class _Room:
    """What was taken of the passages, and what of the tokens is left."""

    def __init__(self, costs: Sequence[int], tokens: int) -> None:
        self.taken: set[int] = set()
        self.left = tokens
        self._costs = costs

    def take(self, index: int) -> None:
        """Take a passage if there is one, and room for it."""
        if (
            0 <= index < len(self._costs)
            and self._costs[index] <= self.left
            and index not in self.taken
        ):
            self.taken.add(index)
            self.left -= self._costs[index]

    def take_around(self, hit: Hit, radius: int) -> None:
        self.take(hit.index)
        for distance in range(1, radius + 1):
            self.take(hit.index + distance)  # an answer follows its question
            self.take(hit.index - distance)


def _fill(room: _Room, hits: Sequence[Hit]) -> None:
    strong = [hit for hit in hits if hit.score >= _STRONG * hits[0].score]
    reserve = round(room.left * (1 - _SHARE_OF_STRONG))
    reached = 0
    while reached < len(strong) and room.left > reserve:
        room.take_around(strong[reached], 1)
        reached += 1
    for hit in strong[:reached]:
        room.take_around(hit, 2)
    for hit in strong[reached:]:
        room.take(hit.index)
    for hit in hits[len(strong) :]:
        room.take_around(hit, 1)
    for radius in range(3, _WIDEST + 1):
        for hit in strong:
            room.take_around(hit, radius)


def shortened(
    passage: Passage, texts: Sequence[str], *, language: str, max_tokens: int
) -> Passage | None:
    """`passage` with those of its sentences that matter to `texts`, at most so many tokens with time and speaker.

    None when not even a beginning of a sentence fits.
    """
    left = max_tokens - count_tokens(line(dataclasses.replace(passage, text=""))) - 1
    said = sentences(passage.text)
    inner = Transcript(tuple(Passage(text) for text in said), language)
    room = _Room([count_tokens(text) + count_tokens(_MORE) for text in said], left)
    hits = ranked(inner, texts) or [Hit(0, 1.0)]
    if said:
        _fill(room, hits)
    if hits[0].index not in room.taken:
        text = cut_to_tokens(said[hits[0].index], left) if said else ""
        return dataclasses.replace(passage, text=text) if text else None
    text = "".join(
        ("" if at == min(room.taken) else " " if at - 1 in room.taken else _MORE) + said[at]
        for at in sorted(room.taken)
    )
    return dataclasses.replace(passage, text=text)


def _scores(transcript: Transcript, texts: Sequence[str], words: Words) -> dict[int, float]:
    """Of the passages that have a word of `texts`, by index; function words alone find nothing."""
    said = [words.terms(passage.text) for passage in transcript.passages]
    speakers = {p.speaker: words.terms(p.speaker or "").content for p in transcript.passages}
    index = _Index(
        [
            [*terms.content, *speakers[passage.speaker], *(f"_{term}" for term in terms.common)]
            for terms, passage in zip(said, transcript.passages, strict=True)
        ]
    )
    content_weights, common_weights = _weights(texts, words)
    content = index.scores(content_weights)
    if content is None:
        return {}
    common_scores = index.scores(common_weights) or {}
    return {
        at: (score + common_scores.get(at, 0.0))
        * (_TELLS_LITTLE if len(set(said[at].content)) < 2 else 1.0)
        for at, score in content.items()
    }


def _weights(texts: Sequence[str], words: Words) -> tuple[dict[str, float], dict[str, float]]:
    content: dict[str, float] = {}
    common: dict[str, float] = {}
    for text, weight in zip(texts, (1.0, *_EARLIER), strict=False):
        terms = words.terms(time_expressions.without(text))
        unique = dict.fromkeys(terms.content)
        if weight < 1:
            weight *= min(1.0, _LONG_TEXT_TERMS / max(1, len(unique)))
        for term in unique:
            content.setdefault(term, weight)
        if text is texts[0]:
            common = {f"_{term}": _COMMON_WEIGHT for term in terms.common}
    return content, common


def _timed(transcript: Transcript, texts: Sequence[str], words: Words) -> list[int]:
    """The passages said at the times that the question names, those that matter most first.

    A question without content ("And who was that?") is still about the times that were named before it.
    """
    found = _at_times(transcript, texts[0])
    if found or words.terms(time_expressions.without(texts[0])).content:
        return found
    earlier = (_at_times(transcript, text) for text in texts[1:3])
    return next(filter(None, earlier), [])


def _at_times(transcript: Transcript, text: str) -> list[int]:
    timed = [(i, p.start, p.end) for i, p in enumerate(transcript.passages) if p.start is not None]
    if not timed:
        return []
    duration = max(end if end is not None else start for _, start, end in timed)
    found: dict[int, None] = {}
    for span in time_expressions.spans(text, duration=max(duration, 1e-3)):
        within = [i for i, start, end in timed if start < span.end and (end or start) >= span.start]
        if not within:  # nobody spoke just then
            within = [min(timed, key=lambda each: abs(each[1] - span.start))[0]]
        found.update(dict.fromkeys(_from_within(span, within, transcript.passages)))
    return list(found)


def _from_within(
    span: time_expressions.Span, indices: Sequence[int], passages: Sequence[Passage]
) -> list[int]:
    """The passages of a span: around a point in time the nearest first, else spread over it."""
    point = span.point
    if point is None:
        return _spread(indices)

    def distance(index: int) -> float:
        start = passages[index].start or 0.0
        end = passages[index].end
        return max(start - point, 0.0, point - (start if end is None else end))

    return sorted(indices, key=distance)


def _spread(indices: Sequence[int]) -> list[int]:
    """`indices` in such an order that every beginning of it is spread over them all."""
    ordered: dict[int, None] = {}
    pieces = 1
    while len(ordered) < len(indices):
        for piece in range(pieces):
            ordered.setdefault(indices[(2 * piece + 1) * len(indices) // (2 * pieces)])
        pieces *= 2
    return list(ordered)


class _Index:
    def __init__(self, documents: Sequence[list[str]]) -> None:
        self._retriever: Any = None
        if not any(documents):
            return
        import bm25s

        # It sets its own logger to DEBUG when it is imported.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        # Length counts less than in written documents: most that is short is "Yes, exactly."
        self._retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.4, backend="numpy")
        self._retriever.index(documents, show_progress=False)

    def scores(self, weights: dict[str, float]) -> dict[int, float] | None:
        """By the index of the document, for those that have one of the terms; None when none has."""
        if self._retriever is None:
            return None
        total: Any = 0.0
        known = {term: w for term, w in weights.items() if term in self._retriever.vocab_dict}
        for weight in sorted(set(known.values())):
            total = total + weight * self._retriever.get_scores(
                [t for t in known if known[t] == weight]
            )
        if not known:
            return None
        return {int(at): float(total[at]) for at in total.nonzero()[0]}
