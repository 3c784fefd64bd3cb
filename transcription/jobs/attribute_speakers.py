"""Writing each segment's speaker: the last step of a job with diarization."""

from collections.abc import Iterator

from transcription.editing import changes
from transcription.editing.changes import DECODER_FIELDS, Change
from transcription.models import Diarization, Job
from transcription.transcript.speaker_split import SplitPlan, plan_split

COPIED_FIELDS = ("chunk_id", *DECODER_FIELDS)
"""What all parts of a split segment share."""


def attribute_speakers(*, job: Job, diarization: Diarization) -> bool:
    """Give every segment its speaker, splitting segments where it changes. False if nothing changed.

    The job's row must be locked. Of 5,000 segments only those that change are written.
    """
    segments = job.segments.order_by("start", "end", "pk")
    plans = plan_split(segments, diarization.named_turns())
    planned = [change for plan in plans for change in _changes(plan)]
    if planned:
        changes.apply(job, planned)
    Diarization.objects.filter(pk=diarization.pk).update(revision=job.revision)
    return bool(planned)


def _changes(plan: SplitPlan) -> Iterator[Change]:
    for index, after in enumerate(plan.parts):
        if index >= len(plan.segments):
            copied = {name: getattr(plan.segments[0], name) for name in COPIED_FIELDS}
            yield Change(None, None, {**copied, **after})
            continue
        segment = plan.segments[index]
        changed = {name: value for name, value in after.items() if getattr(segment, name) != value}
        if changed:
            before = {name: getattr(segment, name) for name in changed}
            yield Change(segment.pk, before, changed)
    for segment in plan.segments[len(plan.parts) :]:
        yield Change(segment.pk, changes.fields_of(segment), None)
