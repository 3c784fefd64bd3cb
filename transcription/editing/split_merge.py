"""Plans the split of a segment in two, and the merge of two segments. Writes nothing.

Transcribed words keep their order, and none is lost or duplicated.
"""

from collections.abc import Sequence

from transcription.editing.changes import DECODER_FIELDS, Fields, fields_of
from transcription.models import Segment
from transcription.transcript.speaker_split import text_matches_words, text_of
from transcription.transcript.word_alignment import Word, is_unspaced

MIN_START_DISTANCE_SECONDS = 0.01
"""Minimum time between the starts of two segments after a split, because segments are ordered by start."""


def nearest_cut(words: Sequence[Word], position: int) -> int | None:
    """The index of the word before which to cut, nearest to `position` in the text; None if one side would be empty."""
    text = "".join(word["text"] for word in words)
    text_start, text_end = len(text) - len(text.lstrip()), len(text.rstrip())
    caret = position + text_start
    nearest, least_distance = None, float("inf")
    boundary = 0
    for cut in range(1, len(words)):
        boundary += len(words[cut - 1]["text"])
        before, after = boundary, boundary  # the ends of the whitespace around the boundary
        while before > 0 and text[before - 1].isspace():
            before -= 1
        while after < len(text) and text[after].isspace():
            after += 1
        if before <= text_start or after >= text_end:
            continue
        distance = max(before - caret, caret - after, 0)
        if distance < least_distance:
            nearest, least_distance = cut, distance
    return nearest


def split_fields(
    segment: Segment, words: Sequence[Word], cut: int, *, next_start: float | None
) -> tuple[Fields, Fields]:
    """The fields of both sides of a cut before `words[cut]`; `words` are the segment's shown words.

    `next_start` is the start of the segment that follows, None if there is none.
    """
    end, start = words[cut - 1]["end"], words[cut]["start"]
    if text_matches_words(segment):
        left_words, right_words = segment.words[:cut], segment.words[cut:]
    else:  # the text was edited, so the transcribed words are split by time
        cut_time = (end + start) / 2
        is_left = [(word["start"] + word["end"]) / 2 < cut_time for word in segment.words]
        left_words = [word for word, left in zip(segment.words, is_left, strict=True) if left]
        right_words = [word for word, left in zip(segment.words, is_left, strict=True) if not left]
    start = max(min(start, segment.end), segment.start)
    if next_start is not None:
        gap = min(MIN_START_DISTANCE_SECONDS, (next_start - segment.start) / 2)
        start = min(start, next_start - gap)
    left = {
        **fields_of(segment),
        "end": max(min(end, start), segment.start),
        "text": text_of(words[:cut]),
        "words": left_words,
    }
    right = {
        **fields_of(segment),
        "start": start,
        "end": max(segment.end, start),
        "text": text_of(words[cut:]),
        "words": right_words,
        "phrase": None,
    }
    return left, right


def merged_fields(segment: Segment, following: Segment) -> Fields:
    """The fields of both segments merged. Decoder scores that differ become None."""
    space = _space_between(segment, following)
    same_speaker = segment.speaker == following.speaker
    scores = {
        name: getattr(segment, name) if getattr(segment, name) == getattr(following, name) else None
        for name in DECODER_FIELDS
    }
    return {
        **fields_of(segment),
        **scores,
        "end": max(segment.end, following.end),
        "text": f"{segment.text.rstrip()}{space}{following.text.lstrip()}".strip(),
        "words": _merged_words(segment.words, following.words, space),
        "speaker": segment.speaker or following.speaker,
        "speaker_confidence": _mean_confidence(segment, following) if same_speaker else None,
    }


def _space_between(segment: Segment, following: Segment) -> str:
    """The space between both texts; between unspaced scripts, only if the transcribed words had one."""
    if not (is_unspaced(segment.text[-1:]) and is_unspaced(following.text[:1])):
        return " "
    if text_matches_words(following) and following.words[0]["text"][:1].isspace():
        return " "
    return ""


def _merged_words(words: Sequence[Word], following: Sequence[Word], space: str) -> list[Word]:
    if not (words and following):
        return [*words, *following]
    last, first = words[-1], following[0]
    return [
        *words[:-1],
        {**last, "text": last["text"].rstrip()},
        {**first, "text": f"{space}{first['text'].lstrip()}"},
        *following[1:],
    ]


def _mean_confidence(segment: Segment, following: Segment) -> float | None:
    """The mean of both confidences, weighted by numbers of words; None if one of them is unknown."""
    if segment.speaker_confidence is None or following.speaker_confidence is None:
        return None
    n_words, n_following = max(len(segment.words), 1), max(len(following.words), 1)
    total = segment.speaker_confidence * n_words + following.speaker_confidence * n_following
    return round(total / (n_words + n_following), 3)
