"""Serializers of requests, which are validated with them, and of answers, for the schema."""

import math
from typing import Any

from rest_framework import serializers

from retranslation.services import MAX_SECONDS
from transcription.serializers import ModelAndLanguage, ModelName, RecordingFile, Started

MIN_SECONDS = 0.01
"""Half of the shortest word (`speech.segments.MIN_WORD_SECONDS`)."""
DEFAULT_MODEL = "whisper-large-v3-turbo"


def _seconds(help_text: str) -> serializers.FloatField:
    return serializers.FloatField(help_text=help_text)


class RangeRequest(ModelAndLanguage):
    segment_id = serializers.CharField(max_length=100)
    start_time = _seconds("Seconds from the start of the recording.")
    end_time = _seconds("At most 10 minutes later.")
    model_name = serializers.CharField(default=DEFAULT_MODEL, max_length=100)

    def validate_start_time(self, seconds: float) -> float:
        if not math.isfinite(seconds) or seconds < 0:
            raise serializers.ValidationError("Send a number of seconds, 0 or more.")
        return seconds

    def validate_end_time(self, seconds: float) -> float:
        if not math.isfinite(seconds):
            raise serializers.ValidationError("Send a number of seconds.")
        return seconds

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        values = super().validate(values)
        length = values["end_time"] - values["start_time"]
        if length < MIN_SECONDS:
            raise serializers.ValidationError(
                {"end_time": f"It must be later than start_time, by at least {MIN_SECONDS} s."}
            )
        if length > MAX_SECONDS:
            raise serializers.ValidationError(
                {
                    "end_time": f"The range is {length:.6g} s long; at most {MAX_SECONDS:.0f} s are allowed. "
                    "Send it in parts."
                }
            )
        return values


class ClipRequest(RecordingFile, RangeRequest):
    job_id = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        help_text="The job of the clip's recording; with it the result can be accepted into the transcript.",
    )


class SuspectsQuery(ModelName):
    model_name = serializers.CharField(default=DEFAULT_MODEL, max_length=100)
    job_id = serializers.CharField()


class JobQuery(serializers.Serializer[Any]):
    job_id = serializers.CharField()


class ListQuery(serializers.Serializer[Any]):
    job_id = serializers.CharField(required=False)
    segment_id = serializers.CharField(required=False, max_length=100)
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=100)


class RetranslatedSegment(serializers.Serializer[Any]):
    segment_id = serializers.CharField()
    text = serializers.CharField()
    confidence = serializers.FloatField(
        allow_null=True, help_text="Mean probability of a word; null without words."
    )
    speaker = serializers.CharField(allow_null=True)
    model_used = serializers.CharField()
    id = serializers.UUIDField()
    start_time = serializers.FloatField()
    end_time = serializers.FloatField()


class TextChange(serializers.Serializer[Any]):
    segment_id = serializers.IntegerField(allow_null=True)
    old_text = serializers.CharField(allow_null=True)
    new_text = serializers.CharField(allow_null=True)


class Retranslation(RetranslatedSegment):
    job_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=["processing", "completed", "failed"])
    message = serializers.CharField()
    old_text = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField())
    decision = serializers.ChoiceField(choices=["none", "accepted", "rejected"])
    asked_by = serializers.CharField()
    created_at = serializers.FloatField(help_text="Unix time.")
    decided_by = serializers.CharField()
    decided_at = serializers.FloatField(allow_null=True)
    changes = TextChange(many=True)


class HistoryEntry(serializers.Serializer[Any]):
    retranslation_id = serializers.UUIDField()
    old_text = serializers.CharField(allow_null=True)
    new_text = serializers.CharField(allow_null=True)
    model_used = serializers.CharField()
    decision = serializers.ChoiceField(choices=["none", "accepted", "rejected"])
    decided_by = serializers.CharField()


class Retranslations(serializers.Serializer[Any]):
    retranslations = Retranslation(many=True)
    count = serializers.IntegerField()
    history = HistoryEntry(
        many=True,
        required=False,
        help_text="The changes of a job's segment that were proposed or made, oldest first.",
    )


class BatchStarted(Started):
    progress = serializers.IntegerField(min_value=0, max_value=100)


class BatchStatus(BatchStarted):
    retranslations = Retranslation(many=True)
