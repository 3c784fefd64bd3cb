"""Summaries that tests have made, step by step."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from chat.llm.base import Style
from chat.serializers import SegmentsField
from chat.services import transcript_of
from summaries import map_reduce, services
from summaries.models import Summary
from tests.summaries.provider import NOTES, Asked, said
from tests.summaries.talk import segments


def begin(*, n_segments: int = 120, model_name: str = "", **values: Any) -> Summary:
    talk = SegmentsField().to_internal_value(segments(n_segments))
    return services.create_summary(
        transcript=transcript_of({"transcript": talk}),
        transcription_id=None,
        model_name=model_name,
        style=values.get("style", Style.PARAGRAPH),
        max_length=values.get("max_length", 500),
    )


def work() -> map_reduce.Outcome:
    outcome = map_reduce.work_on_next()
    assert outcome is not None
    return outcome


def now(summary: Summary) -> Summary:
    return Summary.objects.get(pk=summary.pk)


def let_it_be_due(summary: Summary) -> None:
    Summary.objects.filter(pk=summary.pk).update(not_before=timezone.now() - timedelta(seconds=1))


def failing_after(n: int, *, status: int = 500) -> Any:
    """A reply of errors, once so many parts were answered."""
    n_answered = 0

    def reply(asked: Asked) -> str | int:
        nonlocal n_answered
        if asked.kind == NOTES:
            if n_answered >= n:
                return status
            n_answered += 1
        return said(asked)

    return reply
