"""When the words of a segment were spoken, also those that a person has put in place of what was heard."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from transcription.models import Segment
from transcription.phrases import is_as_heard
from transcription.transcript import segment_object

Word = dict[str, Any]
"""start, end, text (with the blank before it) and probability."""

UNSPACED = "\u3001-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff1f"
"""Han and kana with their punctuation: scripts without blanks, whose letters are words enough."""
TOKEN = re.compile(rf"\s*(?:[{UNSPACED}]|[^\s{UNSPACED}]+)")


def segment_with_words(segment: Segment) -> dict[str, Any]:
    """A segment in the API's shape, with its words as they are shown, and whether its text was edited."""
    return {
        **segment_object(segment),
        "words": shown_words(segment),
        "edited": bool(segment.words) and not is_as_heard(segment),
    }


def shown_words(segment: Segment) -> list[Word]:
    """The words of what the segment says now; joined, without the first blank, they are its text."""
    if is_as_heard(segment):
        words: list[Word] = segment.words
        return words
    return aligned_words(
        text=segment.text, words=segment.words, start=segment.start, end=segment.end
    )


def aligned_words(*, text: str, words: Sequence[Word], start: float, end: float) -> list[Word]:
    """The words of `text`, with the times of those of `words`, as they were heard, that are the same.

    Others share what lies between these in proportion to their letters; their probability is None: nobody heard them.
    """
    heard = [piece for word in words for piece in _pieces(word)]
    tokens = TOKEN.findall(text)
    same: dict[int, Word] = {}
    matcher = SequenceMatcher(
        a=[_said(piece["text"]) for piece in heard],
        b=[_said(token) for token in tokens],
        autojunk=False,
    )
    for block in matcher.get_matching_blocks():
        for n in range(block.size):
            same[block.b + n] = heard[block.a + n]
    found: list[Word] = []
    index = 0
    while index < len(tokens):
        if index in same:
            found.append({**same[index], "text": tokens[index]})
            index += 1
            continue
        first = index
        while index < len(tokens) and index not in same:
            index += 1
        begin = found[-1]["end"] if found else start
        until = same[index]["start"] if index in same else end
        found += _spread(tokens[first:index], begin, max(begin, until), probability=None)
    return found


def is_unspaced(letter: str) -> bool:
    """Whether it is a letter, or a sign, beside which no blank stands."""
    return re.fullmatch(f"[{UNSPACED}]", letter) is not None


def _pieces(word: Word) -> list[Word]:
    """A word as the tokens of its text, which are several in scripts without blanks."""
    return _spread(
        TOKEN.findall(word["text"]), word["start"], word["end"], probability=word["probability"]
    )


def _spread(
    tokens: Sequence[str], start: float, end: float, *, probability: float | None
) -> list[Word]:
    n_letters = sum(len(token) for token in tokens)
    spread: list[Word] = []
    done = 0
    for token in tokens:
        begin = start + (end - start) * done / n_letters
        done += len(token)
        until = start + (end - start) * done / n_letters
        spread.append({"start": begin, "end": until, "text": token, "probability": probability})
    return spread


def _said(text: str) -> str:
    """What tells words apart: their letters, or signs where there are no letters."""
    letters = "".join(letter for letter in text.casefold() if letter.isalnum())
    return letters or text.strip()
