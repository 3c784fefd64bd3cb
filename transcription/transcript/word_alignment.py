"""Word alignment: the words of a segment's text with their times, of edited text too."""

from collections.abc import Sequence
from typing import Any

import regex
from rapidfuzz.distance import LCSseq

from transcription.models import Segment
from transcription.transcript.segments import segment_object
from transcription.transcript.speaker_split import is_edited, text_matches_words

Word = dict[str, Any]
"""start, end (seconds), text (with the space before it, if any) and probability (None for an edited word)."""

UNSPACED_SCRIPTS = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff01-\uff1f\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Scripts without spaces between words, with their punctuation: Thai, Lao, Burmese, Khmer, kana, Han.

Each of their characters, with its combining marks, counts as a word.
"""
TOKEN = regex.compile(rf"\s*(?:[{UNSPACED_SCRIPTS}]\p{{M}}*|[^\s{UNSPACED_SCRIPTS}]+)")
PUNCTUATION = regex.compile(r"[^\p{L}\p{M}\p{N}]+")


def segment_with_words(segment: Segment) -> dict[str, Any]:
    """A segment as the API represents it, with the words of its text and whether the text was edited."""
    return {
        **segment_object(segment),
        "words": shown_words(segment),
        "edited": is_edited(segment),
    }


def shown_words(segment: Segment) -> list[Word]:
    """The words of the segment's text, with times; joined, they are the text with at most a leading space."""
    if text_matches_words(segment):
        words: list[Word] = segment.words
        return words
    return align_words(text=segment.text, words=segment.words, start=segment.start, end=segment.end)


def align_words(*, text: str, words: Sequence[Word], start: float, end: float) -> list[Word]:
    """Align the words of `text` with the transcribed `words`, between `start` and `end` seconds.

    Words of `text` that were transcribed keep their times. The words between them share the time in between in
    proportion to their lengths; their probability is None.
    """
    transcribed = [token for word in words for token in _split_into_tokens(word)]
    tokens = TOKEN.findall(text.rstrip())
    matches = _match_tokens(transcribed, tokens)
    aligned: list[Word] = []
    position = start  # the end of the previous word, in seconds
    index = 0
    while index < len(tokens):
        first = index
        while index < len(tokens) and index not in matches:
            index += 1
        next_start = (
            min(max(matches[index]["start"], position), end) if index < len(tokens) else end
        )
        aligned += _distribute(tokens[first:index], position, next_start, probability=None)
        if index < len(tokens):
            position = min(max(matches[index]["end"], next_start), end)
            aligned.append(
                {**matches[index], "start": next_start, "end": position, "text": tokens[index]}
            )
            index += 1
    return aligned


def is_unspaced(character: str) -> bool:
    """Whether the character is of a script without spaces between words; False for the empty string."""
    return regex.fullmatch(f"[{UNSPACED_SCRIPTS}]", character) is not None


def _match_tokens(transcribed: Sequence[Word], tokens: Sequence[str]) -> dict[int, Word]:
    """Map indices of tokens to equal transcribed words, along the longest common subsequence of both."""
    blocks = LCSseq.opcodes(
        [_normalize(word["text"]) for word in transcribed], [_normalize(token) for token in tokens]
    ).as_matching_blocks()
    return {block.b + n: transcribed[block.a + n] for block in blocks for n in range(block.size)}


def _split_into_tokens(word: Word) -> list[Word]:
    """Split a word into its tokens, which are several in unspaced scripts, and its time among them."""
    return _distribute(
        TOKEN.findall(word["text"]), word["start"], word["end"], probability=word["probability"]
    )


def _distribute(
    tokens: Sequence[str], start: float, end: float, *, probability: float | None
) -> list[Word]:
    """Turn tokens into words that share the time from `start` to `end` in proportion to their lengths."""
    n_characters = sum(len(token) for token in tokens)
    words: list[Word] = []
    n_done, word_start = 0, start
    for token in tokens:
        n_done += len(token)
        is_last = n_done == n_characters
        word_end = end if is_last else start + (end - start) * n_done / n_characters
        words.append(
            {"start": word_start, "end": word_end, "text": token, "probability": probability}
        )
        word_start = word_end
    return words


def _normalize(text: str) -> str:
    """Normalize a word for comparison: case-folded letters and digits; punctuation only if it is nothing else."""
    return PUNCTUATION.sub("", text.casefold()) or text.strip()
