"""Splitting segments where the speaker changes, and joining them again when the speakers are found anew: planning only.

The parts of one segment share `Segment.phrase`, the id of the segment they were split from, which the first part
keeps. A segment whose text was edited does not match its words any more, so it stays whole and has one speaker.
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
    """What becomes of the segments of one run, which are reused in order."""

    segments: list[Segment]
    parts: list[Fields]
    """The fields of each part; more than `segments` where parts are to be added, fewer where some are to be deleted."""


def plan_split(segments: Iterable[Segment], turns: Sequence[Turn]) -> Iterator[SplitPlan]:
    """Attribute all segments, in order of time, to the speakers of `turns`, and split them where those change."""
    runs = list(_runs(segments))
    spans = [run.spans() for run in runs]
    attributions = iter(attribute(list(chain.from_iterable(spans)), turns))
    for run, of_run in zip(runs, spans, strict=True):
        yield SplitPlan(run.segments, _parts(run, list(islice(attributions, len(of_run)))))


@dataclass(frozen=True, slots=True)
class _Run:
    """What is attributed together: adjacent parts of a phrase with all their words, or one segment without words."""

    segments: list[Segment]
    words: list[dict[str, Any]]

    def spans(self) -> list[Span]:
        if not self.words:
            return [Span(self.segments[0].start, self.segments[0].end)]
        return [Span(word["start"], word["end"]) for word in self.words]


def _runs(segments: Iterable[Segment]) -> Iterator[_Run]:
    phrases: dict[int, list[Segment]] = {}
    for segment in segments:
        phrases.setdefault(segment.phrase or segment.pk, []).append(segment)
    for phrase in phrases.values():
        for unedited, adjacent in groupby(phrase, key=is_unedited):
            if not unedited:
                yield from (_Run([segment], []) for segment in adjacent)
                continue
            run = list(adjacent)
            yield _Run(run, [word for segment in run for word in segment.words])


def _parts(run: _Run, attributions: Sequence[Attribution]) -> list[Fields]:
    found = parts(attributions)
    if not run.words:
        [part] = found
        return [{"speaker": part.speaker, "speaker_confidence": part.confidence}]
    first, last = run.segments[0], run.segments[-1]
    phrase = first.phrase or (first.pk if len(found) > 1 else None)
    fields = []
    for index, part in enumerate(found):
        words = run.words[part.first : part.end]
        fields.append(
            {
                "start": first.start if index == 0 else words[0]["start"],
                "end": last.end if index == len(found) - 1 else words[-1]["end"],
                "text": text_of(words),
                "words": words,
                "speaker": part.speaker,
                "speaker_confidence": part.confidence,
                "phrase": phrase,
            }
        )
    return fields


def is_unedited(segment: Segment) -> bool:
    """Whether the segment's text is what its words say."""
    return bool(segment.words) and segment.text == text_of(segment.words)


def text_of(words: Sequence[dict[str, Any]]) -> str:
    """The text of words, each of which has the blank before it."""
    return "".join(word["text"] for word in words).strip()
