"""Word alignment: the times of a segment's words, of edited text too."""

from collections.abc import Sequence
from typing import Any

import regex
from rapidfuzz.distance import LCSseq

from transcription.models import Segment
from transcription.transcript.segments import segment_object
from transcription.transcript.speaker_split import is_unedited

Word = dict[str, Any]
"""start, end (seconds), text (with the blank before it) and probability (None for an edited word)."""

UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff01-\uff1f\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Scripts without blanks between words: each letter, with its combining marks, counts as a word.

Thai, Lao, Burmese, Khmer, kana, Han; with their punctuation.
"""
TOKEN = regex.compile(rf"\s*(?:[{UNSPACED}]\p{{M}}*|[^\s{UNSPACED}]+)")
NOT_SAID = regex.compile(r"[^\p{L}\p{M}\p{N}]+")


def segment_with_words(segment: Segment) -> dict[str, Any]:
    """Return a segment in the API's shape, with its shown words and whether its text was edited."""
    return {
        **segment_object(segment),
        "words": shown_words(segment),
        "edited": bool(segment.words) and not is_unedited(segment),
    }


def shown_words(segment: Segment) -> list[Word]:
    """Return the words of the segment's present text; joined, without the first blank, they are that text."""
    if is_unedited(segment):
        words: list[Word] = segment.words
        return words
    return aligned_words(
        text=segment.text, words=segment.words, start=segment.start, end=segment.end
    )


def aligned_words(*, text: str, words: Sequence[Word], start: float, end: float) -> list[Word]:
    """Align the words of `text` with the transcribed `words`, between `start` and `end` seconds.

    Those that were heard, as in `words`, keep their times. The others share what lies between these in proportion to
    their letters; their probability is None: nobody heard them.
    """
    heard = [piece for word in words for piece in _pieces(word)]
    tokens = TOKEN.findall(text.rstrip())
    same = _same(heard, tokens)
    found: list[Word] = []
    at = start
    index = 0
    while index < len(tokens):
        first = index
        while index < len(tokens) and index not in same:
            index += 1
        until = min(max(same[index]["start"], at), end) if index < len(tokens) else end
        found += _spread(tokens[first:index], at, until, probability=None)
        if index < len(tokens):
            at = min(max(same[index]["end"], until), end)
            found.append({**same[index], "start": until, "end": at, "text": tokens[index]})
            index += 1
    return found


def is_unspaced(letter: str) -> bool:
    """Whether this letter or sign is of a script without blanks between words."""
    return regex.fullmatch(f"[{UNSPACED}]", letter) is not None


def _same(heard: Sequence[Word], tokens: Sequence[str]) -> dict[int, Word]:
    """Map indexes of tokens to the transcribed words they equal: the longest common subsequence of both."""
    blocks = LCSseq.opcodes(
        [_said(piece["text"]) for piece in heard], [_said(token) for token in tokens]
    ).as_matching_blocks()
    return {block.b + n: heard[block.a + n] for block in blocks for n in range(block.size)}


def _pieces(word: Word) -> list[Word]:
    """Split a word into the tokens of its text, several in scripts without blanks, each with its share of the time."""
    return _spread(
        TOKEN.findall(word["text"]), word["start"], word["end"], probability=word["probability"]
    )


def _spread(
    tokens: Sequence[str], start: float, end: float, *, probability: float | None
) -> list[Word]:
    n_letters = sum(len(token) for token in tokens)
    spread: list[Word] = []
    done, begin = 0, start
    for token in tokens:
        done += len(token)
        until = end if done == n_letters else start + (end - start) * done / n_letters
        spread.append({"start": begin, "end": until, "text": token, "probability": probability})
        begin = until
    return spread


def _said(text: str) -> str:
    """Normalize a word for comparison: its letters and digits in lower case, or its signs if it has neither."""
    return NOT_SAID.sub("", text.casefold()) or text.strip()
