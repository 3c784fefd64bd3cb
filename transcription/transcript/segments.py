"""Segments in the API's shape: display times, segment objects, the whole text."""

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
    """Return a segment in the API's shape, the same in results and in live messages."""
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
    return " ".join(segment.text for segment in segments)
