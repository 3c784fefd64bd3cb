"""Retranslations as a worker leaves them, and what they were made of: words of one second, by hand."""

from typing import Any

from retranslation import proposals
from retranslation.models import Retranslation
from transcription.models import Job, Leased, Segment

FIELDS = [
    field.attname
    for field in Segment._meta.concrete_fields
    if field.attname not in ("id", "job_id")
]


def words_of(text: str, start: float) -> list[dict[str, Any]]:
    return [
        {"start": start + n, "end": start + n + 1.0, "text": f" {word}", "probability": 0.9}
        for n, word in enumerate(text.split())
    ]


def heard(
    job: Job | None,
    start: float,
    end: float,
    text: str,
    *,
    at: float | None = None,
    segment_id: object = "seg-1",
    **fields: Any,
) -> Retranslation:
    """This text was heard in this range; a word lasts a second, the first begins at `at`."""
    retranslation = Retranslation.objects.create(
        job=job,
        segment_id=str(segment_id),
        start=start,
        end=end,
        model_name="base",
        model_used="base",
        asked_by="ann",
        state=Leased.State.DONE,
        text=text,
        words=words_of(text, start if at is None else at),
        confidence=0.9 if text else None,
        **fields,
    )
    proposals.propose(retranslation=retranslation)
    return retranslation


def accept(retranslation: Retranslation) -> dict[str, Any]:
    return proposals.accept(retranslation_id=retranslation.pk, decided_by="bob")


def reject(retranslation: Retranslation) -> dict[str, Any]:
    return proposals.reject(retranslation_id=retranslation.pk, decided_by="bob")


def undo(retranslation: Retranslation) -> dict[str, Any]:
    return proposals.undo(retranslation_id=retranslation.pk, decided_by="bob")


def rows(job: Job) -> list[dict[str, Any]]:
    """All that the rows of a transcript say, ids too."""
    return list(job.segments.order_by("start", "pk").values("id", *FIELDS))


def texts(job: Job) -> list[str]:
    return list(job.segments.order_by("start", "pk").values_list("text", flat=True))
