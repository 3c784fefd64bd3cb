"""Formats segments for people and the API: display times, segment objects, the full text."""

from collections.abc import Iterable
from typing import Any

from transcription.models import Segment


def display_time(seconds: float) -> str:
    """Format seconds as `hh:mm:ss.mmm`, such as 00:01:02.345."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{milliseconds:03d}"


def clock_time(seconds: float) -> str:
    """Format seconds as `hh:mm:ss`, such as 00:01:02."""
    return display_time(seconds).rpartition(".")[0]


def segment_object(segment: Segment) -> dict[str, Any]:
    """A segment as the API and live messages represent it."""
    return {
        "id": segment.pk,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker,
        "speaker_confidence": segment.speaker_confidence,
        "start_display": display_time(segment.start),
        "end_display": display_time(segment.end),
    }


def full_text(segments: Iterable[Segment]) -> str:
    """Join the texts of segments with spaces."""
    return " ".join(segment.text for segment in segments)
