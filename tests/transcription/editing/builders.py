"""Edits as a person makes them, who sees the rows as they are."""

from typing import Any

from tests.rows import reload
from tests.transcription.builders import make_job, rows
from transcription.editing import services
from transcription.editing.services import Edited
from transcription.models import Diarization, Edit, Job, Segment

ONE, TWO = "SPEAKER_1", "SPEAKER_2"
EDITOR = "ann"
TEXTS = ("how are you", "fine thanks", "good to hear")


def completed_job(*texts: str) -> Job:
    """A second for each word, from 0 on; all by one speaker."""
    job = make_job(*(texts or TEXTS), diarize=False)
    job.segments.update(speaker=ONE, speaker_confidence=0.75)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.COMPLETED)
    return reload(job)


def editing_state(job: Job) -> Any:
    """All that edits change, but the revision."""
    names = list(Diarization.objects.filter(job=job).values_list("names", flat=True))
    edits = list(Edit.objects.filter(job=job).values_list("pk", "undone_at"))
    return rows(job), names, edits, reload(job).removed_segments


def segment_with_text(job: Job, text: str) -> Segment:
    return job.segments.get(text=text)


def next_segment(segment: Segment) -> Segment:
    segments = list(segment.job.segments.all())
    return segments[segments.index(segment) + 1]


def change_segment(segment: Segment, **values: Any) -> Edited:
    was = {name: getattr(segment, name) for name in values}
    return services.change(segment_id=segment.pk, values=values, was=was, done_by=EDITOR)


def split_segment(segment: Segment, position: int) -> Edited:
    was = {"text": segment.text}
    return services.split(segment_id=segment.pk, position=position, was=was, done_by=EDITOR)


def merge_segments(segment: Segment, second: Segment | None = None) -> Edited:
    second = second or next_segment(segment)
    return services.merge(
        segment_id=segment.pk,
        next_id=second.pk,
        was={"text": segment.text},
        next_was={"text": second.text},
        done_by=EDITOR,
    )


def remove_segment(segment: Segment) -> Edited:
    return services.remove(segment_id=segment.pk, was={"text": segment.text}, done_by=EDITOR)


def rename_speaker(job: Job, name: str, new_name: str) -> Edited:
    return services.rename(job_id=job.pk, name=name, new_name=new_name, done_by=EDITOR)


def undo_edit(job: Job, edited: Edited | Edit) -> Edited:
    edit = edited.edit if isinstance(edited, Edited) else edited
    assert edit is not None
    return services.undo(job_id=job.pk, edit_id=edit.pk, done_by="bob")
