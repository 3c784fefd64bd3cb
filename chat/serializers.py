"""The serializers of the Chat API, and the fields that the Summary API shares with it."""

import math
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chat.llm.base import Passage
from chat.llm.loading import DEFAULT_MODEL
from chat.llm.text import well_formed

MAX_TOKENS = 100_000
MAX_MESSAGES = 1000
MAX_TIME_SECONDS = 1e9
_ADDRESS_FIELDS = {"base_url", "api_base", "api_key"}
"""What some clients send to choose a provider. An address that a request chooses could be one of this network."""
_NO_ADDRESS = [
    "Requests cannot choose the provider. Whoever runs the service does, with OPENAI_BASE_URL."
]


class SegmentShape(serializers.Serializer[Any]):
    """A segment as GET /api/transcribe/result/{job_id} returns it; other fields are ignored."""

    start = serializers.FloatField(allow_null=True, required=False)
    end = serializers.FloatField(allow_null=True, required=False)
    text = serializers.CharField()
    speaker = serializers.CharField(allow_null=True, required=False)


@extend_schema_field(SegmentShape(many=True))
class SegmentsField(serializers.Field[list[Passage], Any, Any, Any]):
    """Segments of a transcript, parsed by hand: thousands of nested serializers would take seconds."""

    default_error_messages = {"not_a_list": "Send a list of segments."}

    def to_internal_value(self, data: Any) -> list[Passage]:
        if not isinstance(data, list):
            self.fail("not_a_list")
        segments = [_parse_segment(item, index) for index, item in enumerate(data)]
        if all(segment.start is not None for segment in segments):
            segments.sort(key=lambda segment: segment.start or 0.0)
        return segments


def _parse_segment(item: Any, index: int) -> Passage:
    """Parse one segment. Raises ValidationError."""
    error = _segment_error(item)
    if error:
        raise serializers.ValidationError(f"Segment {index}: {error}")
    start, end = item.get("start"), item.get("end")
    speaker = item.get("speaker")
    return Passage(
        text=well_formed(item["text"]),
        start=None if start is None else float(start),
        end=None if end is None else float(end),
        speaker=well_formed(speaker) if speaker else None,
    )


def _segment_error(item: Any) -> str:
    """What is wrong with a segment; empty if it is valid."""
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        return 'a segment must be an object such as {"start": 0.0, "end": 1.2, "text": "..."}.'
    for name in ("start", "end"):
        if not _is_time(item.get(name)):
            return f"{name} must be a number of seconds, 0 or more, or null."
    start, end = item.get("start"), item.get("end")
    if start is not None and end is not None and end < start:
        return "end must not be before start."
    if not isinstance(item.get("speaker"), str | None):
        return "speaker must be a string or null."
    return ""


def _is_time(value: Any) -> bool:
    if value is None:
        return True
    return type(value) in (int, float) and 0 <= value <= MAX_TIME_SECONDS  # false for NaN


class TextField(serializers.CharField):
    """A string without NUL and lone surrogates."""

    def to_internal_value(self, data: Any) -> str:
        return well_formed(super().to_internal_value(data))


class FiniteFloatField(serializers.FloatField):
    """A number that is neither infinite nor NaN."""

    def to_internal_value(self, data: Any) -> float:
        value = super().to_internal_value(data)
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class TranscriptFields(serializers.Serializer[Any]):
    """The transcript that a question or a summary is about; services.transcript_of loads it."""

    transcript = SegmentsField(required=False, allow_null=True)
    full_text = TextField(
        required=False,
        allow_blank=True,
        allow_null=True,
        default="",
        help_text="The transcript as text. Ignored if `transcript` is sent, which has times.",
    )
    job_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="A completed transcription, instead of both."
    )
    model_name = TextField(
        default=DEFAULT_MODEL,
        allow_blank=True,
        max_length=200,
        help_text="GET /api/chat/models lists them.",
    )

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (sent := _ADDRESS_FIELDS & set(data)):
            # Ignored, it would leave who sent it believe that the transcript went elsewhere.
            raise serializers.ValidationError(dict.fromkeys(sent, _NO_ADDRESS))
        return super().to_internal_value(data)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        has_text = bool(values.get("transcript")) or bool((values.get("full_text") or "").strip())
        if values.get("job_id") and has_text:
            raise serializers.ValidationError("Send either a transcript or a job_id, not both.")
        if not values.get("job_id") and not has_text:
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
        max_length=MAX_MESSAGES,  # type: ignore[call-arg]  # an argument of ListSerializer
    )
    temperature = FiniteFloatField(default=0.7, min_value=0.0, max_value=2.0)
    max_tokens = serializers.IntegerField(default=500, min_value=1, max_value=MAX_TOKENS)
    stream = serializers.BooleanField(
        default=False,
        help_text="Stream the answer as server-sent events in OpenAI's format.",
    )

    def validate_messages(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        if messages[-1]["role"] != "user":
            raise serializers.ValidationError("The last message must have the role user.")
        return messages


class ModelShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()


class ChatModels(serializers.Serializer[Any]):
    models = ModelShape(many=True)


class Usage(serializers.Serializer[Any]):
    """Token counts; null if the provider does not report them."""

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
    finish_reason = serializers.CharField(
        help_text="`stop`, or `length` if max_tokens cut the answer."
    )
