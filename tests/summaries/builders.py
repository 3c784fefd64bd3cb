"""Summaries for tests: as rows, as a client requests them, and as a worker makes them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from chat.llm.base import Style
from chat.serializers import SegmentsField
from chat.services import transcript_of
from summaries import map_reduce, services
from summaries.models import Summary
from tests.summaries.fake_provider import CompletionRequest, Kind, default_reply

N_SEGMENTS = 120


def segments(n: int = N_SEGMENTS) -> list[dict[str, Any]]:
    """A conversation of two speakers in the API's shape; no two segments have the same text."""
    return [
        {
            "start": 10.0 * index,
            "end": 10.0 * index + 9,
            "speaker": f"SPEAKER_{index % 2 + 1}",
            "text": f"Point {index} of the agenda is the plan for the harbour, which costs {index + 7} crowns and "
            f"takes until the year {2030 + index}, as the council has said many times before.",
        }
        for index in range(n)
    ]


def make_summary(**fields: Any) -> Summary:
    """A row with these fields; nothing is enqueued."""
    transcript = {"language": "", "passages": [["Confidential.", None, None, None]]}
    return Summary.objects.create(
        **{"transcript": transcript, "message": "Under way", "model_used": "scripted", **fields}
    )


def request_summary(
    *,
    n_segments: int = N_SEGMENTS,
    model_name: str = "",
    style: Style = Style.PARAGRAPH,
    max_length: int = 500,
) -> Summary:
    """A summary of `segments(n_segments)`, enqueued as the API does it."""
    passages = SegmentsField().to_internal_value(segments(n_segments))
    return services.create_summary(
        transcript=transcript_of({"transcript": passages}),
        transcription_id=None,
        model_name=model_name,
        style=style,
        max_length=max_length,
    )


def summarize_next() -> map_reduce.Outcome:
    outcome = map_reduce.summarize_next()
    assert outcome is not None, "no summary waits"
    return outcome


def end_backoff(summary: Summary) -> None:
    Summary.objects.filter(pk=summary.pk).update(not_before=timezone.now() - timedelta(seconds=1))


def fail_after(n_parts: int) -> Callable[[CompletionRequest], str | int]:
    """A reply for `Script`: once `n_parts` parts were condensed, error 500."""
    n_condensed = 0

    def reply(request: CompletionRequest) -> str | int:
        nonlocal n_condensed
        if request.kind == Kind.NOTES:
            if n_condensed >= n_parts:
                return 500
            n_condensed += 1
        return default_reply(request)

    return reply
