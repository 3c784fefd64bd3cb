"""The shapes of edits: what requests may hold, and what answers look like (for the schema)."""

import re
from typing import Any

from rest_framework import serializers

from transcription.models import Edit as EditRow
from transcription.serializers import SegmentWithWords

MOST_LETTERS = 5000
"""Of a segment's text: five minutes of fast speech."""
NAME_LETTERS = 100


class Line(serializers.CharField):
    """Text in one line: whatever blanks and breaks it is sent with."""

    def to_internal_value(self, data: Any) -> str:
        return re.sub(r"\s+", " ", super().to_internal_value(data)).strip()


def _name(**options: Any) -> Line:
    return Line(max_length=NAME_LETTERS, **options)


class Seen(serializers.Serializer[Any]):
    """A segment as whoever edits it saw it."""

    text = serializers.CharField(
        required=False, allow_blank=True, trim_whitespace=False, max_length=10 * MOST_LETTERS
    )
    speaker = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=NAME_LETTERS
    )


class SeenText(serializers.Serializer[Any]):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)


class SeenSegment(SeenText):
    id = serializers.IntegerField()


class SegmentWish(serializers.Serializer[Any]):
    text = Line(
        required=False,
        max_length=MOST_LETTERS,
        error_messages={"blank": "A segment has some text. To take it out, DELETE it."},
    )
    speaker = _name(required=False, allow_null=True, allow_blank=True)
    was = Seen(help_text="What the segment says as you see it: nothing is overwritten unseen.")

    def validate_speaker(self, name: str | None) -> str | None:
        return name or None

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        wished = {name: values[name] for name in ("text", "speaker") if name in values}
        if not wished:
            raise serializers.ValidationError("Send text, speaker or both.")
        missing = [name for name in wished if name not in values["was"]]
        if missing:
            raise serializers.ValidationError(
                {
                    "was": f"Send {' and '.join(missing)} as you see it, so that nothing is overwritten unseen."
                }
            )
        return {"values": wished, "was": values["was"]}


class RemoveQuery(serializers.Serializer[Any]):
    was = serializers.CharField(
        allow_blank=True, trim_whitespace=False, help_text="The segment's text as you see it."
    )


class Split(serializers.Serializer[Any]):
    position = serializers.IntegerField(
        min_value=0, help_text="Index into the text; it is cut between the nearest two words."
    )
    was = SeenText()


class Merge(serializers.Serializer[Any]):
    next = SeenSegment(help_text="The segment that follows.")
    was = SeenText()


class Rename(serializers.Serializer[Any]):
    to = _name(help_text="Its new name; if somebody has it already, the two become one.")

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name for an attribute.
        return {"from": _name(help_text="The speaker's name as it is."), **super().get_fields()}


class EditsQuery(serializers.Serializer[Any]):
    segment_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)


# ---- Answers


class SegmentChange(serializers.Serializer[Any]):
    segment_id = serializers.IntegerField()
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)


class Edit(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=EditRow.Kind.values)
    summary = serializers.CharField()
    done_by = serializers.CharField()
    created_at = serializers.FloatField(help_text="Unix time.")
    undone_by = serializers.CharField()
    undone_at = serializers.FloatField(allow_null=True)
    segment_ids = serializers.ListField(child=serializers.IntegerField())
    changes = SegmentChange(many=True, help_text="The first of them.")


class Edits(serializers.Serializer[Any]):
    edits = Edit(many=True)
    count = serializers.IntegerField()
    revision = serializers.IntegerField()


class Edited(serializers.Serializer[Any]):
    edit = Edit(allow_null=True)
    segments = SegmentWithWords(many=True, help_text="Those that are different now, or new.")
    removed = serializers.ListField(child=serializers.IntegerField())
    revision = serializers.IntegerField()
