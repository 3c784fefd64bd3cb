"""Display times, the full text, and boolean form fields."""

import pytest
from django.http import QueryDict
from rest_framework import serializers

from transcription.models import Segment
from transcription.serializers import BooleanWithDefault
from transcription.transcript.segments import display_time, full_text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "00:00:00.000"),
        (0.12, "00:00:00.120"),
        (2.34, "00:00:02.340"),
        (0.0004, "00:00:00.000"),
        (0.0006, "00:00:00.001"),
        (59.9994, "00:00:59.999"),
        (59.9996, "00:01:00.000"),
        (3599.9999, "01:00:00.000"),
        (62.345, "00:01:02.345"),
        (4 * 3600 + 5 * 60 + 6.789, "04:05:06.789"),
        (100 * 3600, "100:00:00.000"),
    ],
)
def test_a_time_is_displayed_in_hours_minutes_seconds_and_milliseconds(
    seconds: float, shown: str
) -> None:
    assert display_time(seconds) == shown


def test_the_full_text_joins_segments_with_spaces() -> None:
    assert full_text([]) == ""
    assert full_text([Segment(text="And so,"), Segment(text="ask not.")]) == "And so, ask not."


class Form(serializers.Serializer[dict[str, bool]]):
    enabled = BooleanWithDefault(default=True)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("", True),
        ("enabled=true", True),
        ("enabled=True", True),
        ("enabled=1", True),
        ("enabled=on", True),
        ("enabled=false", False),
        ("enabled=False", False),
        ("enabled=0", False),
        ("enabled=no", False),
        ("enabled=off", False),
        ("other=false", True),
    ],
)
def test_a_boolean_missing_from_a_form_has_its_default(query: str, value: bool) -> None:
    form = Form(data=QueryDict(query))
    assert form.is_valid(), form.errors
    assert form.validated_data == {"enabled": value}


@pytest.mark.parametrize("query", ["enabled=perhaps", "enabled=2", "enabled=null"])
def test_an_invalid_boolean_is_rejected(query: str) -> None:
    form = Form(data=QueryDict(query))
    assert not form.is_valid()
    assert "enabled" in form.errors
