"""The documented shapes of the Chat API, and what the Summary API shares with it."""

import math
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chat.llm.base import Passage
from chat.llm.loading import DEFAULT_MODEL
from chat.llm.text import well_formed

MOST_TOKENS = 100_000
MOST_MESSAGES = 1000
MOST_SECONDS = 1e9


class SegmentShape(serializers.Serializer[Any]):
    """A segment as GET /api/transcribe/result/{job_id} has it; what else it holds is ignored."""

    start = serializers.FloatField(allow_null=True, required=False)
    end = serializers.FloatField(allow_null=True, required=False)
    text = serializers.CharField()
    speaker = serializers.CharField(allow_null=True, required=False)


@extend_schema_field(SegmentShape(many=True))
class SegmentsField(serializers.Field[list[Passage], Any, Any, Any]):
    """Segments of a transcript; thousands of nested serializers would take seconds."""

    default_error_messages = {"not_a_list": "Send a list of segments."}

    def to_internal_value(self, data: Any) -> list[Passage]:
        if not isinstance(data, list):
            self.fail("not_a_list")
        found = [_segment(item, index) for index, item in enumerate(data)]
        if all(passage.start is not None for passage in found):
            found.sort(key=lambda passage: passage.start or 0.0)
        return found


def _segment(item: Any, index: int) -> Passage:
    problem = _problem(item)
    if problem:
        raise serializers.ValidationError(f"Segment {index}: {problem}")
    start, end = item.get("start"), item.get("end")
    speaker = item.get("speaker")
    return Passage(
        text=well_formed(item["text"]),
        start=None if start is None else float(start),
        end=None if end is None else float(end),
        speaker=well_formed(speaker) if speaker else None,
    )


def _problem(item: Any) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        return 'a segment is an object such as {"start": 0.0, "end": 1.2, "text": "..."}.'
    for name in ("start", "end"):
        if not _is_time(item.get(name)):
            return f"{name} is a number of seconds, 0 or more, or null."
    start, end = item.get("start"), item.get("end")
    if start is not None and end is not None and end < start:
        return "it ends before it starts."
    if not isinstance(item.get("speaker"), str | None):
        return "speaker is a text or null."
    return ""


def _is_time(value: Any) -> bool:
    if value is None:
        return True
    return type(value) in (int, float) and 0 <= value <= MOST_SECONDS  # NaN is not


class TextField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        return well_formed(super().to_internal_value(data))


class FiniteFloatField(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        value = super().to_internal_value(data)
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class TranscriptFields(serializers.Serializer[Any]):
    """What a question or a summary is about; services.transcript_of reads it."""

    transcript = SegmentsField(required=False, allow_null=True)
    full_text = TextField(
        required=False,
        allow_blank=True,
        allow_null=True,
        default="",
        help_text="The transcript as text; not needed where `transcript` is sent, which has times.",
    )
    job_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="A completed transcription, in place of both."
    )
    model_name = TextField(
        default=DEFAULT_MODEL,
        allow_blank=True,
        max_length=200,
        help_text="GET /api/chat/models lists them.",
    )

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        sent = bool(values.get("transcript")) or bool((values.get("full_text") or "").strip())
        if values.get("job_id") and sent:
            raise serializers.ValidationError("Send either a transcript or a job_id.")
        if not values.get("job_id") and not sent:
            raise serializers.ValidationError(
                "Send a transcript: `transcript` (segments), `full_text`, "
                "or the `job_id` of a completed transcription."
            )
        return values


class MessageShape(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = TextField()


class ChatRequest(TranscriptFields):
    messages = MessageShape(
        many=True,
        allow_empty=False,
        max_length=MOST_MESSAGES,  # type: ignore[call-arg]  # of the list
    )
    temperature = FiniteFloatField(default=0.7, min_value=0.0, max_value=2.0)
    max_tokens = serializers.IntegerField(default=500, min_value=1, max_value=MOST_TOKENS)
    stream = serializers.BooleanField(
        default=False,
        help_text="Answer with server-sent events, in the shape of OpenAI's chunks.",
    )

    def validate_messages(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        if messages[-1]["role"] != "user":
            raise serializers.ValidationError("The last message must be the user's.")
        return messages


class ModelShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()


class ChatModels(serializers.Serializer[Any]):
    models = ModelShape(many=True)


class Usage(serializers.Serializer[Any]):
    """Tokens; null where the provider does not tell."""

    prompt = serializers.IntegerField(allow_null=True)
    completion = serializers.IntegerField(allow_null=True)
    total = serializers.IntegerField(allow_null=True)


class Citation(serializers.Serializer[Any]):
    start = serializers.FloatField(allow_null=True)
    end = serializers.FloatField(allow_null=True)
    speaker = serializers.CharField(allow_null=True)
    text = serializers.CharField()


class AssistantMessage(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField()


class ChatAnswer(serializers.Serializer[Any]):
    message = AssistantMessage()
    model_used = serializers.CharField()
    usage = Usage()
    citations = Citation(many=True)
    finish_reason = serializers.CharField(help_text="stop, or length where max_tokens ended it.")
