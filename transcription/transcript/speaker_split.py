"""A job's segments, split where the speaker changes, and joined again when the speakers are found anew.

The parts of one phrase share `Segment.phrase`, the id of the segment they were split from, which the first part
keeps. A segment whose text a person has put right says something else than its words do, so it stays whole
and has one speaker.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

from django.db.models import F

from transcription.models import Diarization, Job, Segment
from transcription.speech.diarization.attribution import Attribution, attribute, parts
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

BATCH = 500
SPEAKER_FIELDS = ("speaker", "speaker_confidence")
FIELDS = (*SPEAKER_FIELDS, "start", "end", "text", "words", "phrase")
COPIED_FIELDS = (
    "job_id",
    "chunk_id",
    "avg_logprob",
    "no_speech_prob",
    "compression_ratio",
    "temperature",
)
"""What all parts of a phrase have alike: the decoder's figures are the phrase's."""


def attribute_speakers(*, job: Job, diarization: Diarization) -> bool:
    """Give every segment its speaker, and tell listeners by the job's revision. False when nothing changed.

    To be called inside a transaction that holds the job's row.
    """
    turns = [Turn(*turn) for turn in diarization.named_turns()]
    changes = _Changes()
    runs = list(_runs(job.segments.order_by("start", "end", "pk")))
    spans = [run.spans() for run in runs]
    found = iter(attribute(list(chain.from_iterable(spans)), turns))
    for run, of_run in zip(runs, spans, strict=True):
        attributions = list(islice(found, len(of_run)))
        if run.words:
            _split(run, attributions, changes)
        else:
            [part] = parts(attributions)
            changes.set(run.segments[0], speaker=part.speaker, speaker_confidence=part.confidence)
    if not changes.write():
        return False
    Job.objects.filter(pk=job.pk).update(
        revision=F("revision") + 1, removed_segments=[*job.removed_segments, *changes.removed]
    )
    return True


class _Changes:
    """What is to be written: of 5,000 segments, those alone that are not as they were."""

    def __init__(self) -> None:
        self.removed: list[int] = []
        self._spoken: list[Segment] = []
        self._reshaped: list[Segment] = []
        self._added: list[Segment] = []

    def set(self, segment: Segment, **values: Any) -> None:
        changed = {name for name, value in values.items() if getattr(segment, name) != value}
        for name in changed:
            setattr(segment, name, values[name])
        if changed.issubset(SPEAKER_FIELDS):
            self._spoken += [segment] if changed else []
        else:
            self._reshaped.append(segment)

    def add(self, like: Segment, **values: Any) -> None:
        copied = {name: getattr(like, name) for name in COPIED_FIELDS}
        self._added.append(Segment(**copied, **values))

    def write(self) -> bool:
        _update(self._spoken, SPEAKER_FIELDS)
        _update(self._reshaped, FIELDS)
        Segment.objects.bulk_create(self._added, batch_size=BATCH)
        for first in range(0, len(self.removed), BATCH):
            Segment.objects.filter(pk__in=self.removed[first : first + BATCH]).delete()
        return bool(self.removed or self._spoken or self._reshaped or self._added)


def _update(segments: list[Segment], fields: Sequence[str]) -> None:
    """As bulk_update, in a third of its time: all these rows are there, so each insert is an update."""
    Segment.objects.bulk_create(
        segments,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=fields,
    )


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
        for as_heard, adjacent in groupby(phrase, key=is_as_heard):
            if not as_heard:
                yield from (_Run([segment], []) for segment in adjacent)
                continue
            run = list(adjacent)
            yield _Run(run, [word for segment in run for word in segment.words])


def is_as_heard(segment: Segment) -> bool:
    """Whether its text is what its words say: nobody has put it right."""
    return bool(segment.words) and segment.text == text_of(segment.words)


def text_of(words: Sequence[dict[str, Any]]) -> str:
    return "".join(word["text"] for word in words).strip()


def _split(run: _Run, attributions: Sequence[Attribution], changes: _Changes) -> None:
    """Split a run anew. The segments that are there are used again, in their order."""
    found = parts(attributions)
    first, last = run.segments[0], run.segments[-1]
    start, end = first.start, last.end
    phrase = first.phrase or (first.pk if len(found) > 1 else None)
    for index, part in enumerate(found):
        words = run.words[part.first : part.end]
        values = {
            "start": start if index == 0 else words[0]["start"],
            "end": end if index == len(found) - 1 else words[-1]["end"],
            "text": text_of(words),
            "words": words,
            "speaker": part.speaker,
            "speaker_confidence": part.confidence,
            "phrase": phrase,
        }
        if index < len(run.segments):
            changes.set(run.segments[index], **values)
        else:
            changes.add(first, **values)
    changes.removed += [segment.pk for segment in run.segments[len(found) :]]
