"""Splitting a segment in two and merging two into one: planning only, nothing is written here.

Transcribed words keep their order, each goes to one side, and none is lost.
"""

from collections.abc import Sequence

from transcription.editing.changes import DECODER_FIELDS, Fields, fields_of
from transcription.models import Segment
from transcription.transcript.speaker_split import text_matches_words, text_of
from transcription.transcript.word_alignment import Word, is_unspaced

APART_SECONDS = 0.01
"""A new segment begins at least this long before the next one: segments are ordered by their start."""


def nearest_cut(words: Sequence[Word], position: int) -> int | None:
    """The index of the word before which a text is cut nearest to `position`; None where one side would be empty."""
    said = "".join(word["text"] for word in words)
    first_letter, last_letter = len(said) - len(said.lstrip()), len(said.rstrip())
    nearest, least = None, float("inf")
    at = 0
    for cut in range(1, len(words)):
        at += len(words[cut - 1]["text"])
        before, after = at, at
        while before > 0 and said[before - 1].isspace():
            before -= 1
        while after < len(said) and said[after].isspace():
            after += 1
        if before <= first_letter or after >= last_letter:
            continue
        caret = position + first_letter
        distance = max(before - caret, caret - after, 0)
        if distance < least:
            nearest, least = cut, distance
    return nearest


def halves(
    segment: Segment, words: Sequence[Word], cut: int, *, next_start: float | None
) -> tuple[Fields, Fields]:
    """Both sides of a cut before the word of that index, of the segment's words as they are shown.

    `next_start` is where the segment that follows begins, if there is one.
    """
    end, start = words[cut - 1]["end"], words[cut]["start"]
    if text_matches_words(segment):
        heard_left, heard_right = segment.words[:cut], segment.words[cut:]
    else:  # the text is somebody's own
        middle = (end + start) / 2
        sides = [((word["start"] + word["end"]) / 2 < middle, word) for word in segment.words]
        heard_left = [word for is_left, word in sides if is_left]
        heard_right = [word for is_left, word in sides if not is_left]
    start = max(min(start, segment.end), segment.start)
    if next_start is not None:
        start = min(start, next_start - min(APART_SECONDS, (next_start - segment.start) / 2))
    left = {
        **fields_of(segment),
        "end": max(min(end, start), segment.start),
        "text": text_of(words[:cut]),
        "words": heard_left,
    }
    right = {
        **fields_of(segment),
        "start": start,
        "end": max(segment.end, start),
        "text": text_of(words[cut:]),
        "words": heard_right,
        "phrase": None,
    }
    return left, right


def joined(segment: Segment, following: Segment) -> Fields:
    """Both as one; the decoder's figures are those that both have alike."""
    blank = _blank_between(segment, following)
    is_one = segment.speaker == following.speaker
    figures = {
        name: getattr(segment, name) if getattr(segment, name) == getattr(following, name) else None
        for name in DECODER_FIELDS
    }
    return {
        **fields_of(segment),
        **figures,
        "end": max(segment.end, following.end),
        "text": f"{segment.text.rstrip()}{blank}{following.text.lstrip()}".strip(),
        "words": _joined_words(segment.words, following.words, blank),
        "speaker": segment.speaker or following.speaker,
        "speaker_confidence": _mean_confidence(segment, following) if is_one else None,
    }


def _blank_between(segment: Segment, following: Segment) -> str:
    """Where scripts have blanks at some places alone, what was heard knows."""
    if not (is_unspaced(segment.text[-1:]) and is_unspaced(following.text[:1])):
        return " "
    if text_matches_words(following) and following.words[0]["text"][:1].isspace():
        return " "
    return ""


def _joined_words(words: Sequence[Word], following: Sequence[Word], blank: str) -> list[Word]:
    if not (words and following):
        return [*words, *following]
    last, first = words[-1], following[0]
    return [
        *words[:-1],
        {**last, "text": last["text"].rstrip()},
        {**first, "text": f"{blank}{first['text'].lstrip()}"},
        *following[1:],
    ]


def _mean_confidence(segment: Segment, following: Segment) -> float | None:
    """The mean over the words, as a segment's is."""
    parts = [
        (one.speaker_confidence, max(len(one.words), 1))
        for one in (segment, following)
        if one.speaker_confidence is not None
    ]
    if len(parts) < 2:
        return None
    return round(sum(value * n for value, n in parts) / sum(n for _, n in parts), 3)
