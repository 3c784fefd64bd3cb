"""Serializers of edits: they validate requests, and describe responses in the API schema."""

import re
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from transcription.editing.services import MAX_TEXT_LENGTH
from transcription.models import Edit as EditRow
from transcription.serializers import ResultSegment

MAX_NAME_LENGTH = 100
MAX_EDITS = 200
no_control_characters = RegexValidator(
    r"[\x00-\x1f\x7f\ufffe\uffff]",
    message="Control characters are not allowed: remove them.",
    inverse_match=True,
)


class Text(serializers.CharField):
    """A string, not trimmed. Unlike in CharField, numbers are invalid."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_blank": True, "trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Line(Text):
    """Text in one line, trimmed: runs of whitespace become one space."""

    def __init__(self, **options: Any) -> None:
        options = {"allow_blank": False, "validators": [no_control_characters], **options}
        super().__init__(trim_whitespace=True, **options)

    def to_internal_value(self, data: Any) -> str:
        return re.sub(r"\s+", " ", super().to_internal_value(data)).strip()


class Seen(serializers.Serializer[Any]):
    """The segment's fields as the client last saw them, for optimistic locking."""

    text = Text(required=False)
    speaker = Text(required=False, allow_null=True)

    def validate_speaker(self, name: str | None) -> str | None:
        return name or None


class SeenText(serializers.Serializer[Any]):
    text = Text()


class SeenSegment(SeenText):
    id = serializers.IntegerField()


class SegmentWish(serializers.Serializer[Any]):  # a component of the API's schema: its name stays
    text = Line(
        required=False,
        max_length=MAX_TEXT_LENGTH,
        error_messages={"blank": "A segment needs some text. To remove the segment, send DELETE."},
    )
    speaker = Line(required=False, allow_null=True, allow_blank=True, max_length=MAX_NAME_LENGTH)
    was = Seen(
        help_text="The present values of the fields that you change. If they differ, the answer is 409."
    )

    def validate_speaker(self, name: str | None) -> str | None:
        return name or None

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        new_values = {name: values[name] for name in ("text", "speaker") if name in values}
        if not new_values:
            raise serializers.ValidationError("Send text, speaker or both.")
        missing = [name for name in new_values if name not in values["was"]]
        if missing:
            raise serializers.ValidationError(
                {"was": f"Send the present {' and '.join(missing)} of the segment in `was`."}
            )
        return {"values": new_values, "was": values["was"]}


class RemoveQuery(serializers.Serializer[Any]):
    was = Text(help_text="The segment's present text. If it differs, the answer is 409.")


class Split(serializers.Serializer[Any]):
    position = serializers.IntegerField(
        min_value=0,
        help_text="Index into the text. The segment is split between the nearest two words.",
    )
    was = SeenText()


class Merge(serializers.Serializer[Any]):
    next = SeenSegment(help_text="The next segment.")
    was = SeenText()


class Rename(serializers.Serializer[Any]):
    to = Line(
        max_length=MAX_NAME_LENGTH,
        help_text="The speaker's new name. If another speaker has it, the two are merged.",
    )

    def get_fields(self) -> dict[str, Any]:
        # `from` is a keyword in Python, so it cannot be an attribute of the class.
        return {"from": Text(help_text="The speaker's present name."), **super().get_fields()}


class EditsQuery(serializers.Serializer[Any]):
    segment_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    limit = serializers.IntegerField(
        min_value=0,
        max_value=MAX_EDITS,
        default=MAX_EDITS,
        help_text="0 returns only the revision.",
    )


# ---- Responses


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
    changes = SegmentChange(many=True, help_text="The first 20.")


class Edits(serializers.Serializer[Any]):
    edits = Edit(many=True)
    count = serializers.IntegerField()
    revision = serializers.IntegerField()


class Edited(serializers.Serializer[Any]):
    edit = Edit(allow_null=True)
    segments = ResultSegment(
        many=True,
        help_text="Changed and added segments; with words, unless a speaker was renamed.",
    )
    removed = serializers.ListField(child=serializers.IntegerField())
    revision = serializers.IntegerField()
