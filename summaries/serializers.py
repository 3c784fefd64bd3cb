"""Serializers of requests, which are validated with them, and of answers, for the schema."""

from typing import Any

from rest_framework import serializers

from chat.llm.base import Style
from chat.serializers import TranscriptFields

MAX_WORDS = 10_000


class SummaryRequest(TranscriptFields):
    max_length = serializers.IntegerField(
        default=500, min_value=1, max_value=MAX_WORDS, help_text="Words; never more."
    )
    format = serializers.ChoiceField(
        choices=[style.value for style in Style], default=Style.PARAGRAPH.value
    )


class SummaryResult(serializers.Serializer[Any]):
    summary = serializers.CharField()
    topics = serializers.ListField(child=serializers.CharField())
    length = serializers.IntegerField(help_text="Words of the summary.")
    model_used = serializers.CharField()
