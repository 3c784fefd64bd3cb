"""What a retranslation would do to the segments of a transcript: pure planning, nothing is written here.

Each segment keeps its id, its speaker and its place. New words go to the segments by their times; where a word
shares its time with none, it belongs to the nearest, unless it is part of speech that was missed altogether:
that becomes a segment of its own. What a range's edge cuts off of a segment stays as it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, pairwise
from typing import Any

from transcription.editing.changes import DECODER_FIELDS, Change, ConflictError, Fields, fields_of
from transcription.models import Chunk, Segment
from transcription.speech.diarization.attribution import attribute, parts
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span
from transcription.speech.segments import (
    MISPLACED_SECONDS,
    MISSED_SPEECH_SECONDS,
    PHRASE_PAUSE_SECONDS,
    TOLERANCE_SECONDS,
)
from transcription.transcript.speaker_split import is_unedited, text_of

Word = dict[str, Any]
"""As it is stored: start, end, text and probability."""
NO_FIGURES: Fields = dict.fromkeys(DECODER_FIELDS)
"""They were of the text that is replaced; of the new one nobody measured them in the same way."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A segment that is to have new words, between those of its own that lie outside of the range."""

    segment: Segment
    kept_before: list[Word]
    kept_after: list[Word]


def plan_named(*, span: Span, words: Sequence[Word], segment: Segment) -> list[Change]:
    """All new words go to this one segment. Raises ConflictError."""
    return [_filled(_opened(segment, span), words, span)]


def plan_range(
    *,
    span: Span,
    words: Sequence[Word],
    segments: Sequence[Segment],
    chunks: Sequence[Chunk],
    turns: Sequence[Turn],
) -> list[Change]:
    """New words for `segments`, those that overlap `span`, in order of time; then the segments that are added.

    Raises ConflictError.
    """
    opened = [_opened(segment, span) for segment in segments if _is_touched(segment, span)]
    of_segment, missed = _shared_out(words, opened, span)
    changed = [_filled(one, new, span) for one, new in zip(opened, of_segment, strict=True)]
    for before, after in pairwise(one.after for one in changed if one.after is not None):
        _set_apart(before, after)
    added = [
        Change(None, None, fields)
        for run in missed
        for phrase in _phrases(run)
        for fields in _new_segments(phrase, chunks, turns)
    ]
    return changed + added


def _middle(word: Word) -> float:
    return float(word["start"] + word["end"]) / 2


def _is_inside(segment: Segment, span: Span) -> bool:
    """Rounded times, as people see them, count as the same."""
    return (
        segment.start >= span.start - TOLERANCE_SECONDS
        and segment.end <= span.end + TOLERANCE_SECONDS
    )


def _is_touched(segment: Segment, span: Span) -> bool:
    if _is_inside(segment, span):
        return True
    if segment.words:
        return any(span.start <= _middle(word) < span.end for word in segment.words)
    shared = min(segment.end, span.end) - max(segment.start, span.start)
    return shared > TOLERANCE_SECONDS


def _opened(segment: Segment, span: Span) -> _Open:
    if _is_inside(segment, span):
        return _Open(segment, [], [])
    if not is_unedited(segment):
        # Nobody knows which part of such a text lies in the range.
        raise ConflictError(
            f"Segment {segment.pk} lies only partly in the range, and its text was edited: "
            f"ask for all of it, from {segment.start:.2f} to {segment.end:.2f} s."
        )
    return _Open(
        segment,
        [word for word in segment.words if _middle(word) < span.start],
        [word for word in segment.words if _middle(word) >= span.end],
    )


def _shared_out(
    words: Sequence[Word], opened: Sequence[_Open], span: Span
) -> tuple[list[list[Word]], list[list[Word]]]:
    """The words of each segment, and runs of words that belong to none."""
    segments = [one.segment for one in opened]
    of_segment: list[list[Word]] = [[] for _ in segments]
    missed: list[list[Word]] = []
    owners = zip(_owners(words, opened, span), words, strict=True)
    for index, group in groupby(owners, key=lambda owned: owned[0]):
        run = [word for _, word in group]
        if index is not None:
            of_segment[index] += run
        elif _was_missed(run, segments):
            missed.append(run)
        else:
            for word in run:
                of_segment[_nearest(word, segments)].append(word)
    return of_segment, missed


def _owners(words: Sequence[Word], opened: Sequence[_Open], span: Span) -> list[int | None]:
    """For each word the index of its segment: that which said the same word, else that which it shares most time with.

    Two models place the same word up to half a second apart, which is more than many an answer takes.
    """
    old = [
        (word, index)
        for index, one in enumerate(opened)
        for word in one.segment.words
        if word not in one.kept_before and word not in one.kept_after
    ]
    matcher = SequenceMatcher(
        a=[_said(word) for word, _ in old], b=[_said(word) for word in words], autojunk=False
    )
    same = {
        block.b + n: old[block.a + n][1]
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
        if abs(_middle(old[block.a + n][0]) - _middle(words[block.b + n])) < MISPLACED_SECONDS
    }
    segments = [one.segment for one in opened]
    owners: list[int | None] = []
    least = 0
    for position, word in enumerate(words):
        index = same.get(position, _most_shared(word, segments))
        if index is not None:
            most = min((same[at] for at in same if at > position), default=len(segments) - 1)
            index = least = max(least, min(index, most))
        owners.append(index)
    return owners


def _said(word: Word) -> str:
    return "".join(letter for letter in word["text"].casefold() if letter.isalnum())


def _most_shared(word: Word, segments: Sequence[Segment]) -> int | None:
    shared = [
        min(word["end"], segment.end) - max(word["start"], segment.start) for segment in segments
    ]
    most = max(range(len(shared)), key=lambda index: shared[index], default=None)
    return most if most is not None and shared[most] > 0 else None


def _was_missed(run: Sequence[Word], segments: Sequence[Segment]) -> bool:
    """Whether these words are more than the edges of what the segments say."""
    if not segments or run[-1]["end"] - run[0]["start"] >= MISSED_SPEECH_SECONDS:
        return True
    first, last = segments[_nearest(run[0], segments)], segments[_nearest(run[-1], segments)]
    return min(_distance(run[0], first), _distance(run[-1], last)) >= PHRASE_PAUSE_SECONDS


def _nearest(word: Word, segments: Sequence[Segment]) -> int:
    return min(range(len(segments)), key=lambda index: _distance(word, segments[index]))


def _distance(word: Word, segment: Segment | Chunk) -> float:
    return max(segment.start - _middle(word), _middle(word) - segment.end, 0.0)


def _filled(opened: _Open, new: Sequence[Word], span: Span) -> Change:
    segment = opened.segment
    words = [*opened.kept_before, *new, *opened.kept_after]
    if not words:
        return Change(segment.pk, fields_of(segment), None)
    words = _without_overlap(words, (span.start, span.end))
    return Change(
        segment.pk,
        fields_of(segment),
        {
            **fields_of(segment),
            **NO_FIGURES,
            "start": min(segment.start, words[0]["start"]),
            "end": max(segment.end, words[-1]["end"]),
            "text": text_of(words),
            "words": words,
        },
    )


def _set_apart(before: Fields, after: Fields) -> None:
    """Two segments one after the other, whose words have new times, do not overlap."""
    if not before["words"] or not after["words"] or before["end"] <= after["start"]:
        return
    last, first = before["words"][-1], after["words"][0]
    last["end"] = min(last["end"], max(first["start"], last["start"]))
    before["end"] = max(last["end"], min(before["end"], first["start"]))
    after["start"] = max(after["start"], before["end"])
    first["start"] = max(first["start"], after["start"])
    first["end"] = max(first["end"], first["start"])


def _without_overlap(words: Sequence[Word], edges: Sequence[float]) -> list[Word]:
    """Kept and new words that overlap at an edge of the range are cut at it: their middles lie on either side."""
    found = [dict(word) for word in words]
    for before, after in pairwise(found):
        for edge in edges:
            if _middle(before) < edge <= _middle(after) and before["end"] > after["start"]:
                before["end"], after["start"] = min(before["end"], edge), max(after["start"], edge)
    return found


def _phrases(words: Sequence[Word]) -> Iterator[list[Word]]:
    phrase = [words[0]]
    for before, word in pairwise(words):
        if word["start"] - before["end"] >= PHRASE_PAUSE_SECONDS:
            yield phrase
            phrase = []
        phrase.append(word)
    yield phrase


def _new_segments(
    words: Sequence[Word], chunks: Sequence[Chunk], turns: Sequence[Turn]
) -> Iterator[Fields]:
    attributions = attribute([Span(word["start"], word["end"]) for word in words], turns)
    for part in parts(attributions):
        said = list(words[part.first : part.end])
        middle = said[len(said) // 2]
        chunk = min(chunks, key=lambda chunk: _distance(middle, chunk), default=None)
        if chunk is None:
            raise ConflictError("This part of the recording is not transcribed yet.")
        yield {
            "chunk_id": chunk.pk,
            "start": said[0]["start"],
            "end": said[-1]["end"],
            "text": text_of(said),
            "words": said,
            "speaker": part.speaker,
            "speaker_confidence": part.confidence,
            "phrase": None,
            **NO_FIGURES,
        }
