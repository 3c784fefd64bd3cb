"""Plans the changes that accepting a retranslation would make to the segments; writes nothing.

Segments keep their ids and speakers. A new word is assigned to the segment that contains the same word, else to the
one that it overlaps most, else to the nearest; but a run of words that the transcript missed altogether becomes new
segments. Words of a segment that lie outside the range are kept.
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
    MAX_WORD_SHIFT_SECONDS,
    MISSED_SPEECH_SECONDS,
    PHRASE_PAUSE_SECONDS,
    TOLERANCE_SECONDS,
)
from transcription.transcript.speaker_split import text_matches_words, text_of

Word = dict[str, Any]
"""A stored word: start, end, text and probability."""
NO_DECODER_FIELDS: Fields = dict.fromkeys(DECODER_FIELDS)
"""Cleared, because they were measured for the text that is replaced."""
NOT_TRANSCRIBED_YET = "This part of the recording is not transcribed yet."


@dataclass(frozen=True, slots=True)
class _Target:
    """A segment to which new words are assigned, and its own words before and after the range, which are kept."""

    segment: Segment
    kept_before: list[Word]
    kept_after: list[Word]


def plan_segment(*, span: Span, words: Sequence[Word], segment: Segment) -> list[Change]:
    """Assign all new words to one segment. Raises ConflictError."""
    return [_change(_target(segment, span), words, span)]


def plan_range(
    *,
    span: Span,
    words: Sequence[Word],
    segments: Sequence[Segment],
    chunks: Sequence[Chunk],
    turns: Sequence[Turn],
) -> list[Change]:
    """The changes of `segments`, which overlap `span` and are in order of time; then the segments to add.

    Raises ConflictError.
    """
    targets = [_target(segment, span) for segment in segments if _has_words_in(segment, span)]
    assigned, missed = _assign(words, targets)
    changed = [_change(target, new, span) for target, new in zip(targets, assigned, strict=True)]
    for before, after in pairwise(one.after for one in changed if one.after is not None):
        _remove_overlap(before, after)
    added = [
        Change(None, None, fields)
        for run in missed
        for phrase in split_at_pauses(run)
        for fields in _new_segments(phrase, chunks, turns)
    ]
    return changed + added


def _middle(word: Word) -> float:
    return float(word["start"] + word["end"]) / 2


def _is_inside(segment: Segment, span: Span) -> bool:
    """Tolerates rounding: clients send the times that are displayed."""
    return (
        segment.start >= span.start - TOLERANCE_SECONDS
        and segment.end <= span.end + TOLERANCE_SECONDS
    )


def _has_words_in(segment: Segment, span: Span) -> bool:
    if _is_inside(segment, span):
        return True
    if segment.words:
        return any(span.start <= _middle(word) < span.end for word in segment.words)
    shared = min(segment.end, span.end) - max(segment.start, span.start)
    return shared > TOLERANCE_SECONDS


def _target(segment: Segment, span: Span) -> _Target:
    if _is_inside(segment, span):
        return _Target(segment, [], [])
    if not text_matches_words(segment):  # without the times of its text's words it cannot be cut
        raise ConflictError(
            f"Segment {segment.pk} lies only partly in the range, and its text was edited. "
            f"Retranslate all of it, from {segment.start:.2f} to {segment.end:.2f} s."
        )
    return _Target(
        segment,
        [word for word in segment.words if _middle(word) < span.start],
        [word for word in segment.words if _middle(word) >= span.end],
    )


def _assign(
    words: Sequence[Word], targets: Sequence[_Target]
) -> tuple[list[list[Word]], list[list[Word]]]:
    """The new words of each target, and the runs of words that the transcript missed."""
    segments = [target.segment for target in targets]
    assigned: list[list[Word]] = [[] for _ in segments]
    missed: list[list[Word]] = []
    indexed = zip(_target_indices(words, targets), words, strict=True)
    for index, group in groupby(indexed, key=lambda pair: pair[0]):
        run = [word for _, word in group]
        if index is not None:
            assigned[index] += run
        elif _is_missed_speech(run, segments):
            missed.append(run)
        else:
            for word in run:
                assigned[_nearest(word, segments)].append(word)
    return assigned, missed


def _target_indices(words: Sequence[Word], targets: Sequence[_Target]) -> list[int | None]:
    """For each word the index of the target that contains the same word, else of the one that it overlaps most.

    None for a word that overlaps none. Words are matched by their text first, because two models place the same word
    up to half a second apart, and many segments are shorter than that. Indices never decrease.
    """
    old = [
        (word, index)
        for index, target in enumerate(targets)
        for word in target.segment.words
        if word not in target.kept_before and word not in target.kept_after
    ]
    matcher = SequenceMatcher(
        a=[_normalized(word) for word, _ in old],
        b=[_normalized(word) for word in words],
        autojunk=False,
    )
    matched = {
        block.b + n: old[block.a + n][1]
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
        if abs(_middle(old[block.a + n][0]) - _middle(words[block.b + n])) < MAX_WORD_SHIFT_SECONDS
    }
    segments = [target.segment for target in targets]
    indices: list[int | None] = []
    lowest = 0
    for position, word in enumerate(words):
        index = matched.get(position, _most_overlapping(word, segments))
        if index is not None:
            later = (matched[at] for at in matched if at > position)
            highest = min(later, default=len(segments) - 1)
            index = lowest = max(lowest, min(index, highest))
        indices.append(index)
    return indices


def _normalized(word: Word) -> str:
    """The word's text without case, blanks and punctuation."""
    return "".join(letter for letter in word["text"].casefold() if letter.isalnum())


def _most_overlapping(word: Word, segments: Sequence[Segment]) -> int | None:
    overlaps = [
        min(word["end"], segment.end) - max(word["start"], segment.start) for segment in segments
    ]
    most = max(range(len(overlaps)), key=lambda index: overlaps[index], default=None)
    return most if most is not None and overlaps[most] > 0 else None


def _is_missed_speech(run: Sequence[Word], segments: Sequence[Segment]) -> bool:
    """Whether a run of words that overlap no segment is speech of its own: long, or a pause away from the segments."""
    if not segments or run[-1]["end"] - run[0]["start"] >= MISSED_SPEECH_SECONDS:
        return True
    first, last = segments[_nearest(run[0], segments)], segments[_nearest(run[-1], segments)]
    return min(_distance(run[0], first), _distance(run[-1], last)) >= PHRASE_PAUSE_SECONDS


def _nearest(word: Word, segments: Sequence[Segment]) -> int:
    return min(range(len(segments)), key=lambda index: _distance(word, segments[index]))


def _distance(word: Word, segment: Segment | Chunk) -> float:
    return max(segment.start - _middle(word), _middle(word) - segment.end, 0.0)


def _change(target: _Target, new: Sequence[Word], span: Span) -> Change:
    """The change of a target that gets the new words; it is deleted if no word is left."""
    segment = target.segment
    words = [*target.kept_before, *new, *target.kept_after]
    if not words:
        return Change(segment.pk, fields_of(segment), None)
    words = _cut_at_edges(words, (span.start, span.end))
    return Change(
        segment.pk,
        fields_of(segment),
        {
            **fields_of(segment),
            **NO_DECODER_FIELDS,
            "start": min(segment.start, words[0]["start"]),
            "end": max(segment.end, words[-1]["end"]),
            "text": text_of(words),
            "words": words,
        },
    )


def _remove_overlap(before: Fields, after: Fields) -> None:
    """Shorten two consecutive segments whose new words overlap, in place."""
    if not before["words"] or not after["words"] or before["end"] <= after["start"]:
        return
    last, first = before["words"][-1], after["words"][0]
    last["end"] = min(last["end"], max(first["start"], last["start"]))
    before["end"] = max(last["end"], min(before["end"], first["start"]))
    after["start"] = max(after["start"], before["end"])
    first["start"] = max(first["start"], after["start"])
    first["end"] = max(first["end"], first["start"])


def _cut_at_edges(words: Sequence[Word], edges: Sequence[float]) -> list[Word]:
    """The words, where a kept and a new word that overlap at an edge of the range both end there."""
    copies = [dict(word) for word in words]
    for before, after in pairwise(copies):
        for edge in edges:
            if _middle(before) < edge <= _middle(after) and before["end"] > after["start"]:
                before["end"], after["start"] = min(before["end"], edge), max(after["start"], edge)
    return copies


def split_at_pauses(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Yield the phrases of words, of which there is one at least."""
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
    """The fields of a phrase's segments, one for each speaker's part. Raises ConflictError."""
    attributions = attribute([Span(word["start"], word["end"]) for word in words], turns)
    for part in parts(attributions):
        own = list(words[part.first : part.end])
        middle = own[len(own) // 2]
        chunk = min(chunks, key=lambda chunk: _distance(middle, chunk), default=None)
        if chunk is None:
            raise ConflictError(NOT_TRANSCRIBED_YET)
        yield {
            "chunk_id": chunk.pk,
            "start": own[0]["start"],
            "end": own[-1]["end"],
            "text": text_of(own),
            "words": own,
            "speaker": part.speaker,
            "speaker_confidence": part.confidence,
            "phrase": None,
            **NO_DECODER_FIELDS,
        }
