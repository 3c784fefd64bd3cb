"""Times as people read them, and form fields as people send them."""

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
def test_a_time_is_shown_in_hours_minutes_seconds_and_thousandths(
    seconds: float, shown: str
) -> None:
    assert display_time(seconds) == shown


def test_the_full_text_joins_segments_with_spaces() -> None:
    assert full_text([]) == ""
    assert full_text([Segment(text="And so,"), Segment(text="ask not.")]) == "And so, ask not."


class Form(serializers.Serializer[dict[str, bool]]):
    wanted = BooleanWithDefault(default=True)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("", True),
        ("wanted=true", True),
        ("wanted=True", True),
        ("wanted=1", True),
        ("wanted=on", True),
        ("wanted=false", False),
        ("wanted=False", False),
        ("wanted=0", False),
        ("wanted=no", False),
        ("wanted=off", False),
        ("other=false", True),
    ],
)
def test_a_flag_left_out_of_a_form_has_its_default(sent: str, read: bool) -> None:
    form = Form(data=QueryDict(sent))
    assert form.is_valid(), form.errors
    assert form.validated_data == {"wanted": read}


@pytest.mark.parametrize("sent", ["wanted=perhaps", "wanted=2", "wanted=null"])
def test_a_flag_that_says_neither_is_refused(sent: str) -> None:
    form = Form(data=QueryDict(sent))
    assert not form.is_valid()
    assert "wanted" in form.errors
