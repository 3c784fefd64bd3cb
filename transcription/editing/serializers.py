"""The shapes of edits: what requests may hold, and what answers look like (for the schema)."""

import re
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from transcription.editing.services import MAX_TEXT_LENGTH
from transcription.models import Edit as EditRow
from transcription.serializers import ResultSegment

NAME_LETTERS = 100
MOST_EDITS = 200
printable = RegexValidator(
    r"[\x00-\x1f\x7f\ufffe\uffff]",
    message="It holds control characters, which no document can show.",
    inverse_match=True,
)


class Text(serializers.CharField):
    """A string, as it is: a number is none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_blank": True, "trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Line(Text):
    """Text in one line: whatever blanks and breaks it is sent with."""

    def __init__(self, **options: Any) -> None:
        options = {"allow_blank": False, "validators": [printable], **options}
        super().__init__(trim_whitespace=True, **options)

    def to_internal_value(self, data: Any) -> str:
        return re.sub(r"\s+", " ", super().to_internal_value(data)).strip()


class Seen(serializers.Serializer[Any]):
    """A segment as whoever edits it saw it."""

    text = Text(required=False)
    speaker = Text(required=False, allow_null=True)

    def validate_speaker(self, name: str | None) -> str | None:
        return name or None


class SeenText(serializers.Serializer[Any]):
    text = Text()


class SeenSegment(SeenText):
    id = serializers.IntegerField()


class SegmentWish(serializers.Serializer[Any]):
    text = Line(
        required=False,
        max_length=MAX_TEXT_LENGTH,
        error_messages={"blank": "A segment has some text. To take it out, DELETE it."},
    )
    speaker = Line(required=False, allow_null=True, allow_blank=True, max_length=NAME_LETTERS)
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
    was = Text(help_text="The segment's text as you see it.")


class Split(serializers.Serializer[Any]):
    position = serializers.IntegerField(
        min_value=0, help_text="Index into the text; it is cut between the nearest two words."
    )
    was = SeenText()


class Merge(serializers.Serializer[Any]):
    next = SeenSegment(help_text="The segment that follows.")
    was = SeenText()


class Rename(serializers.Serializer[Any]):
    to = Line(
        max_length=NAME_LETTERS,
        help_text="Its new name; if somebody has it already, the two become one.",
    )

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name for an attribute.
        return {"from": Text(help_text="The speaker's name as it is."), **super().get_fields()}


class EditsQuery(serializers.Serializer[Any]):
    segment_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    limit = serializers.IntegerField(
        min_value=0, max_value=MOST_EDITS, default=MOST_EDITS, help_text="0: the revision alone."
    )


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
    segments = ResultSegment(
        many=True,
        help_text="Those that are different now, or new; with words unless they were renamed.",
    )
    removed = serializers.ListField(child=serializers.IntegerField())
    revision = serializers.IntegerField()
