"""Plans how segments are split where the speaker changes, and merged again by a later diarization. Writes nothing.

The parts of a split segment share `Segment.phrase`, the id of the original segment, which the first part keeps.
An edited segment no longer matches its words, so it is not split and gets one speaker.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

from transcription.models import Segment
from transcription.speech.diarization.attribution import Attribution, attribute, parts
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Segments, and the parts that replace them. The segments' rows are reused for the parts, in order."""

    segments: list[Segment]
    parts: list[Fields]
    """Fields of each part. More than `segments` if parts are added, fewer if segments are deleted."""


def plan_split(segments: Iterable[Segment], turns: Sequence[Turn]) -> Iterator[SplitPlan]:
    """Attribute segments, ordered by time, to the speakers of `turns`, and split them where the speaker changes."""
    units = list(_units(segments))
    spans = [unit.spans() for unit in units]
    attributions = iter(attribute(list(chain.from_iterable(spans)), turns))
    for unit, unit_spans in zip(units, spans, strict=True):
        unit_attributions = list(islice(attributions, len(unit_spans)))
        yield SplitPlan(unit.segments, _parts(unit, unit_attributions))


@dataclass(frozen=True, slots=True)
class _Unit:
    """Segments that are split as one: adjacent parts of a phrase with their words, or one segment without words."""

    segments: list[Segment]
    words: list[dict[str, Any]]

    def spans(self) -> list[Span]:
        if not self.words:
            return [Span(self.segments[0].start, self.segments[0].end)]
        return [Span(word["start"], word["end"]) for word in self.words]


def _units(segments: Iterable[Segment]) -> Iterator[_Unit]:
    phrases: dict[int, list[Segment]] = {}
    for segment in segments:
        phrases.setdefault(segment.phrase or segment.pk, []).append(segment)
    for phrase in phrases.values():
        for matches_words, group in groupby(phrase, key=text_matches_words):
            if not matches_words:
                yield from (_Unit([segment], []) for segment in group)
                continue
            adjacent = list(group)
            yield _Unit(adjacent, [word for segment in adjacent for word in segment.words])


def _parts(unit: _Unit, attributions: Sequence[Attribution]) -> list[Fields]:
    speaker_parts = parts(attributions)
    if not unit.words:
        [part] = speaker_parts
        return [{"speaker": part.speaker, "speaker_confidence": part.confidence}]
    first, last = unit.segments[0], unit.segments[-1]
    phrase = first.phrase or (first.pk if len(speaker_parts) > 1 else None)
    fields = []
    for index, part in enumerate(speaker_parts):
        words = unit.words[part.first : part.end]
        fields.append(
            {
                "start": first.start if index == 0 else words[0]["start"],
                "end": last.end if index == len(speaker_parts) - 1 else words[-1]["end"],
                "text": text_of(words),
                "words": words,
                "speaker": part.speaker,
                "speaker_confidence": part.confidence,
                "phrase": phrase,
            }
        )
    return fields


def text_matches_words(segment: Segment) -> bool:
    """Whether the segment has words and they make up its text."""
    return bool(segment.words) and segment.text == text_of(segment.words)


def is_edited(segment: Segment) -> bool:
    """Whether the segment has words and its text differs from them."""
    return bool(segment.words) and not text_matches_words(segment)


def text_of(words: Sequence[dict[str, Any]]) -> str:
    """The text of words, each of which begins with the space before it, if any."""
    return "".join(word["text"] for word in words).strip()
