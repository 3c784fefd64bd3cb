"""Retrieve the passages of a transcript that are relevant to a question: by BM25, and by the times it names.

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
from chat.llm.tokenize import Tokenizer, tokenizer_for

_EARLIER_WEIGHTS = (0.3, 0.2, 0.12, 0.08)
"""The weights of the terms of earlier messages, the latest first; the question's is 1."""
_LONG_TEXT_TERMS = 3
"""An earlier message with more terms weighs no more in total than this many terms."""
_STOP_WORD_WEIGHT = 0.1
_STRONG_SHARE = 0.35
"""A hit is strong from this share of the best hit's score; strong hits are selected first."""
_STRONG_BUDGET_SHARE = 0.7
"""The share of the token budget for strong hits with their neighbours."""
_SHORT_PASSAGE_FACTOR = 0.5
"""For passages with a single content term: "The budget?", or "Yeah." by the speaker in question."""
_MAX_NARROW_HITS = 30
"""A time span with more passages is wide: its passages rank below good matches of words."""
_WIDE_SPAN_SHARE = 0.6
_MAX_RADIUS = 8
_ELLIPSIS = " … "


@dataclass(frozen=True)
class Selection:
    passages: tuple[Passage, ...]
    """The hits with the passages around them, ordered by start."""
    hits: tuple[Passage, ...]
    """Best first. Empty if nothing matches; then the passages are spread evenly over the transcript."""


@dataclass(frozen=True)
class Hit:
    index: int
    score: float


def find(transcript: Transcript, texts: Sequence[str], *, limit: int) -> list[int]:
    """Find the passages relevant to `texts`. Returns at most `limit` indices, best first.

    The first text is the question; the messages before it follow, the latest first, each with less weight.
    """
    return [hit.index for hit in rank(transcript, texts)[:limit]]


def select(transcript: Transcript, messages: Sequence[Message], *, max_tokens: int) -> Selection:
    """Select the passages relevant to the conversation, with their lines within `max_tokens` in total."""
    passages = transcript.passages
    costs = [count_tokens(line(passage)) + 1 for passage in passages]
    texts = recent_texts(messages)
    hits = rank(transcript, texts)
    if sum(costs) <= max_tokens:
        return Selection(passages, tuple(passages[hit.index] for hit in hits))
    budget = _TokenBudget(costs, max_tokens)
    if not hits:
        for index in _spread_evenly(range(len(passages))):
            budget.add(index)
        return Selection(tuple(passages[index] for index in sorted(budget.selected)), ())
    if costs[hits[0].index] > max_tokens:
        best = passages[hits[0].index]
        short = shorten(best, texts, language=transcript.language, max_tokens=max_tokens)
        return Selection((short,), (short,)) if short else Selection((), ())
    _spend(budget, hits)
    return Selection(
        tuple(passages[index] for index in sorted(budget.selected)),
        tuple(passages[hit.index] for hit in hits if hit.index in budget.selected),
    )


def recent_texts(messages: Sequence[Message]) -> list[str]:
    """The texts of a conversation, the latest first, without system messages."""
    return [message.content for message in reversed(messages) if message.role != "system"]


def rank(transcript: Transcript, texts: Sequence[str]) -> list[Hit]:
    """Rank all passages relevant to `texts` (as for `find`), best first, with their scores."""
    if not transcript.passages or not texts:
        return []
    tokenizer = tokenizer_for(transcript)
    time_matches = _time_matches(transcript, texts, tokenizer)
    scores = _term_scores(transcript, texts, tokenizer)
    best = max(scores.values(), default=0.0)
    # A match in time outranks any match of words, unless the span is so wide that it would bury those.
    is_narrow = len(time_matches) <= _MAX_NARROW_HITS
    time_score = best + 0.5 if is_narrow or not best else _WIDE_SPAN_SHARE * best
    without_terms = [index for index in time_matches if index not in scores]
    scores.update({index: scores[index] + best + 1.0 for index in time_matches if index in scores})
    scores.update({at: time_score - place * 1e-6 for place, at in enumerate(without_terms)})
    order = sorted(scores, key=lambda index: (-scores[index], index))
    return [Hit(index, scores[index]) for index in order]


class _TokenBudget:
    """The passages selected so far, and the tokens left."""

    def __init__(self, costs: Sequence[int], max_tokens: int) -> None:
        self.selected: set[int] = set()
        self.left = max_tokens
        self._costs = costs

    def add(self, index: int) -> None:
        """Select a passage if it exists and fits."""
        if (
            0 <= index < len(self._costs)
            and self._costs[index] <= self.left
            and index not in self.selected
        ):
            self.selected.add(index)
            self.left -= self._costs[index]

    def add_with_neighbours(self, hit: Hit, radius: int) -> None:
        self.add(hit.index)
        for distance in range(1, radius + 1):
            self.add(hit.index + distance)  # first the next one: answers follow questions
            self.add(hit.index - distance)


def _spend(budget: _TokenBudget, hits: Sequence[Hit]) -> None:
    """Select strong hits with their neighbours, then the other hits, then more neighbours."""
    strong = [hit for hit in hits if hit.score >= _STRONG_SHARE * hits[0].score]
    reserve = round(budget.left * (1 - _STRONG_BUDGET_SHARE))
    n_expanded = 0
    while n_expanded < len(strong) and budget.left > reserve:
        budget.add_with_neighbours(strong[n_expanded], 1)
        n_expanded += 1
    for hit in strong[:n_expanded]:
        budget.add_with_neighbours(hit, 2)
    for hit in strong[n_expanded:]:
        budget.add(hit.index)
    for hit in hits[len(strong) :]:
        budget.add_with_neighbours(hit, 1)
    for radius in range(3, _MAX_RADIUS + 1):
        for hit in strong:
            budget.add_with_neighbours(hit, radius)


def shorten(
    passage: Passage, texts: Sequence[str], *, language: str, max_tokens: int
) -> Passage | None:
    """Shorten a passage to its sentences relevant to `texts`, within `max_tokens` with its time and speaker.

    Returns None if not even the beginning of a sentence fits.
    """
    left = max_tokens - count_tokens(line(dataclasses.replace(passage, text=""))) - 1
    spoken = sentences(passage.text)
    inner = Transcript(tuple(Passage(text) for text in spoken), language)
    budget = _TokenBudget([count_tokens(text) + count_tokens(_ELLIPSIS) for text in spoken], left)
    hits = rank(inner, texts) or [Hit(0, 1.0)]
    if spoken:
        _spend(budget, hits)
    selected = budget.selected
    if hits[0].index not in selected:
        text = cut_to_tokens(spoken[hits[0].index], left) if spoken else ""
        return dataclasses.replace(passage, text=text) if text else None
    text = "".join(
        ("" if at == min(selected) else " " if at - 1 in selected else _ELLIPSIS) + spoken[at]
        for at in sorted(selected)
    )
    return dataclasses.replace(passage, text=text)


def _term_scores(
    transcript: Transcript, texts: Sequence[str], tokenizer: Tokenizer
) -> dict[int, float]:
    """BM25 scores by index of the passages with a content term of `texts`; stop words alone match nothing."""
    passage_terms = [tokenizer.terms(passage.text) for passage in transcript.passages]
    speakers = {p.speaker: tokenizer.terms(p.speaker or "").content for p in transcript.passages}
    index = _BM25Index(
        [
            [*terms.content, *speakers[passage.speaker], *(f"_{term}" for term in terms.stop_words)]
            for terms, passage in zip(passage_terms, transcript.passages, strict=True)
        ]
    )
    content_weights, stop_word_weights = _term_weights(texts, tokenizer)
    content_scores = index.scores(content_weights)
    if content_scores is None:
        return {}
    stop_word_scores = index.scores(stop_word_weights) or {}
    return {
        at: (score + stop_word_scores.get(at, 0.0))
        * (_SHORT_PASSAGE_FACTOR if len(set(passage_terms[at].content)) < 2 else 1.0)
        for at, score in content_scores.items()
    }


def _term_weights(
    texts: Sequence[str], tokenizer: Tokenizer
) -> tuple[dict[str, float], dict[str, float]]:
    """The weights of the content terms of all texts, and of the question's stop words."""
    content: dict[str, float] = {}
    stop_words: dict[str, float] = {}
    for text, weight in zip(texts, (1.0, *_EARLIER_WEIGHTS), strict=False):
        terms = tokenizer.terms(time_expressions.remove(text))
        unique = dict.fromkeys(terms.content)
        if weight < 1:
            weight *= min(1.0, _LONG_TEXT_TERMS / max(1, len(unique)))
        for term in unique:
            content.setdefault(term, weight)
        if text is texts[0]:
            stop_words = {f"_{term}": _STOP_WORD_WEIGHT for term in terms.stop_words}
    return content, stop_words


def _time_matches(transcript: Transcript, texts: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Indices of the passages at the times that the question names, best first.

    A question without content terms ("And who was that?") refers to the times of the messages before it.
    """
    found = _at_times(transcript, texts[0])
    if found or tokenizer.terms(time_expressions.remove(texts[0])).content:
        return found
    earlier = (_at_times(transcript, text) for text in texts[1:3])
    return next(filter(None, earlier), [])


def _at_times(transcript: Transcript, text: str) -> list[int]:
    timed = [(i, p.start, p.end) for i, p in enumerate(transcript.passages) if p.start is not None]
    if not timed:
        return []
    duration = max(end if end is not None else start for _, start, end in timed)
    found: dict[int, None] = {}
    for span in time_expressions.find_spans(text, duration=max(duration, 1e-3)):
        within = [i for i, start, end in timed if start < span.end and (end or start) >= span.start]
        if not within:  # silence: take the nearest passage
            within = [min(timed, key=lambda each: abs(each[1] - span.start))[0]]
        found.update(dict.fromkeys(_order_in_span(span, within, transcript.passages)))
    return list(found)


def _order_in_span(
    span: time_expressions.Span, indices: Sequence[int], passages: Sequence[Passage]
) -> list[int]:
    """Order the passages of a span: by distance to its point in time, else spread evenly."""
    point = span.point
    if point is None:
        return _spread_evenly(indices)

    def distance(index: int) -> float:
        start = passages[index].start or 0.0
        end = passages[index].end
        return max(start - point, 0.0, point - (start if end is None else end))

    return sorted(indices, key=distance)


def _spread_evenly(indices: Sequence[int]) -> list[int]:
    """Order `indices` such that every prefix is spread evenly over them."""
    ordered: dict[int, None] = {}
    n_parts = 1
    while len(ordered) < len(indices):
        for part in range(n_parts):
            ordered.setdefault(indices[(2 * part + 1) * len(indices) // (2 * n_parts)])
        n_parts *= 2
    return list(ordered)


class _BM25Index:
    def __init__(self, documents: Sequence[list[str]]) -> None:
        self._retriever: Any = None
        if not any(documents):
            return
        import bm25s

        # bm25s sets its own logger to DEBUG on import.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        # b below the usual 0.75: BM25 favours short documents, and short passages are mostly "Yes, exactly."
        self._retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.4, backend="numpy")
        self._retriever.index(documents, show_progress=False)

    def scores(self, weights: dict[str, float]) -> dict[int, float] | None:
        """The scores of the documents that have one of the terms, by index; None if no document has one."""
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
