"""Serializers: they validate requests, and describe responses in the API schema."""

from typing import Any

from django.conf import settings
from rest_framework import serializers
from rest_framework.fields import empty

from transcription.models import Job
from transcription.speech import catalogue
from transcription.speech.diarization.base import AUTOMATIC, SpeakerCount
from transcription.speech.diarization.loading import TAKE_A_COUNT
from transcription.transcript.exports import FORMATS
from transcription.transcript.suspects import REASONS

ACCEPTED_FILES = "Send audio or video, such as mp3, wav, m4a, flac, ogg, webm or mp4."
MAX_SPEAKERS = 50


def _number_of_speakers(help_text: str) -> serializers.IntegerField:
    return serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_SPEAKERS,
        help_text=help_text,
    )


class BooleanWithDefault(serializers.BooleanField):
    """A boolean whose default applies to a missing form field too; REST framework takes that for False."""

    default_empty_html = empty


class SpeakerNumbers(serializers.Serializer[Any]):
    num_speakers = _number_of_speakers("The number of speakers, if you know it.")
    min_speakers = _number_of_speakers("The minimum number of speakers.")
    max_speakers = _number_of_speakers("The maximum number of speakers.")

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        count = speaker_count(values)
        engine = settings.TRANSCRIBER_DIARIZATION_ENGINE
        if count != AUTOMATIC and engine not in TAKE_A_COUNT:
            raise serializers.ValidationError(
                f"The diarization engine {engine} takes no number of speakers: leave it out."
            )
        if count.exactly is not None and (count.at_least, count.at_most) != (None, None):
            raise serializers.ValidationError(
                {
                    "num_speakers": "Send num_speakers alone, or min_speakers and max_speakers without it."
                }
            )
        if (count.at_least or 1) > (count.at_most or MAX_SPEAKERS):
            raise serializers.ValidationError(
                {"min_speakers": "min_speakers is larger than max_speakers."}
            )
        return values


def speaker_count(values: dict[str, Any]) -> SpeakerCount:
    """The SpeakerCount of validated SpeakerNumbers; SpeakerCount() without numbers."""
    return SpeakerCount(
        values.get("num_speakers"), values.get("min_speakers"), values.get("max_speakers")
    )


class RecordingFile(serializers.Serializer[Any]):
    file = serializers.FileField(
        max_length=255,
        help_text="Any audio or video file.",
        error_messages={
            "required": (
                "Send the recording as a file with a name in the field `file` of a multipart form, "
                "as curl does with -F file=@recording.mp3."
            ),
            "invalid": "Send the recording as a file, in a multipart form.",
            "empty": "The file is empty.",
        },
    )


class ModelName(serializers.Serializer[Any]):
    model_name = serializers.CharField(default="tiny.en", max_length=100)

    def validate_model_name(self, name: str) -> catalogue.ModelInfo:
        try:
            model = catalogue.resolve(name)
        except catalogue.UnknownModelError as error:
            raise serializers.ValidationError(str(error)) from error
        if not catalogue.can_run(model, engine=settings.TRANSCRIBER_ENGINE):
            raise serializers.ValidationError(
                f"The engine {settings.TRANSCRIBER_ENGINE} cannot run {model.name}. "
                "GET /api/transcribe/models lists the models that it can run."
            )
        return model


class ModelAndLanguage(ModelName):
    language = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=20,
        help_text="Code, with or without a region, or English name; detected if left out or `auto`.",
    )

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        values = super().validate(values)
        language, model = catalogue.language_code(values["language"]), values["model_name"]
        if language and not catalogue.supports_language(model, language):
            supported = ", ".join(sorted(catalogue.languages(model)))
            raise serializers.ValidationError(
                {
                    "language": f"The model {model.name} does not support the language {language!r}. "
                    f"It supports: {supported}."
                }
            )
        if model.is_english_only:
            language = "en"
        return {**values, "language": language}


class TranscriptionRequest(RecordingFile, ModelAndLanguage, SpeakerNumbers):
    diarize = BooleanWithDefault(default=True)
    channels = serializers.ChoiceField(
        choices=Job.Channels.values,
        default=Job.Channels.AUTO,
        help_text="`mix`: all channels and tracks are mixed. `speakers`: each channel, or each track if there are "
        "several, is one speaker and is transcribed by itself. `auto`: as `mix`, but the final message says if the "
        "channels hold a speaker each.",
    )

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        values = super().validate(values)
        if values["channels"] == Job.Channels.SPEAKERS and speaker_count(values) != AUTOMATIC:
            raise serializers.ValidationError(
                {
                    "channels": "With channels=speakers each channel is a speaker: send no number of speakers."
                }
            )
        return values


class JobsQuery(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["processing", "completed", "failed"], required=False)
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=100)


class ResultQuery(serializers.Serializer[Any]):
    partial = serializers.BooleanField(  # type: ignore[assignment]  # hides an attribute that is not used here
        default=False, help_text="Return the partial transcript of a job that is not completed."
    )
    words = serializers.BooleanField(
        default=False, help_text="Include each segment's words, and the transcript's revision."
    )


class ExportQuery(serializers.Serializer[Any]):
    format = serializers.ChoiceField(
        choices=FORMATS,
        error_messages={
            "invalid_choice": f"Unknown format. The formats are {', '.join(FORMATS)}.",
            "required": f"Choose a format. The formats are {', '.join(FORMATS)}.",
        },
    )
    speakers = serializers.BooleanField(default=True)
    times = serializers.BooleanField(default=True, help_text="For txt and docx.")
    partial = serializers.BooleanField(default=False)  # type: ignore[assignment]  # as above


class Model(serializers.Serializer[Any]):
    name = serializers.CharField()
    full_name = serializers.CharField()
    is_downloaded = serializers.BooleanField()
    size_mb = serializers.FloatField()
    description = serializers.CharField()


class Models(serializers.Serializer[Any]):
    models = Model(many=True)


class Started(serializers.Serializer[Any]):
    job_id = serializers.UUIDField()
    status = serializers.CharField()
    message = serializers.CharField()


class JobStatus(Started):
    progress = serializers.IntegerField(min_value=0, max_value=100)
    updated_at = serializers.FloatField(help_text="Unix time.")


class Jobs(serializers.Serializer[Any]):
    jobs = JobStatus(many=True)
    count = serializers.IntegerField()


class SegmentObject(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    start = serializers.FloatField()
    end = serializers.FloatField()
    text = serializers.CharField()
    speaker = serializers.CharField(allow_null=True)
    speaker_confidence = serializers.FloatField(allow_null=True)
    start_display = serializers.CharField()
    end_display = serializers.CharField()


class Word(serializers.Serializer[Any]):
    start = serializers.FloatField()
    end = serializers.FloatField()
    text = serializers.CharField(help_text="With the space before it.")
    probability = serializers.FloatField(
        allow_null=True, help_text="Null for a word that was edited."
    )


class SegmentWithWords(SegmentObject):
    words = Word(many=True)
    edited = serializers.BooleanField(help_text="Whether the text was edited.")


class ResultSegment(SegmentWithWords):
    words = Word(many=True, required=False, help_text="With words=true.")
    edited = serializers.BooleanField(required=False, help_text="With words=true.")


class Result(serializers.Serializer[Any]):
    segments = ResultSegment(many=True)
    text = serializers.CharField()
    language = serializers.CharField(allow_null=True)
    audio_duration = serializers.FloatField(allow_null=True)
    revision = serializers.IntegerField(required=False, help_text="With words=true.")


class Suspect(serializers.Serializer[Any]):
    segment_id = serializers.IntegerField(allow_null=True)
    start = serializers.FloatField()
    end = serializers.FloatField()
    start_display = serializers.CharField()
    end_display = serializers.CharField()
    text = serializers.CharField(allow_blank=True)
    speaker = serializers.CharField(allow_null=True)
    reasons = serializers.ListField(child=serializers.ChoiceField(choices=REASONS))


class Suspects(serializers.Serializer[Any]):
    suspects = Suspect(many=True)
    count = serializers.IntegerField()


class Problem(serializers.Serializer[Any]):
    detail = serializers.CharField()


class DebugChunk(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    start = serializers.FloatField()
    end = serializers.FloatField()
    state = serializers.CharField()
    attempts = serializers.IntegerField()
    failures = serializers.IntegerField()
    worker = serializers.CharField()
    lease_until = serializers.FloatField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    error = serializers.CharField()


class Debug(JobStatus):
    state = serializers.CharField(help_text="queued, running, completed, failed or cancelled.")
    cached_segments = serializers.IntegerField()
    latest_time = serializers.FloatField(help_text="End of the last segment, in seconds.")
    model_name = serializers.CharField()
    engine = serializers.CharField()
    device = serializers.CharField()
    language = serializers.CharField()
    channels = serializers.ChoiceField(choices=Job.Channels.values, help_text="As requested.")
    diarize = serializers.BooleanField()
    num_speakers = serializers.IntegerField(allow_null=True, help_text="As requested.")
    min_speakers = serializers.IntegerField(allow_null=True)
    max_speakers = serializers.IntegerField(allow_null=True)
    diarization_engine = serializers.CharField(allow_null=True)
    diarization_model = serializers.CharField(allow_null=True)
    speakers_found = serializers.IntegerField(allow_null=True)
    audio_duration = serializers.FloatField(allow_null=True)
    queue_wait_seconds = serializers.FloatField(allow_null=True)
    processing_seconds = serializers.FloatField(allow_null=True)
    real_time_factor = serializers.FloatField(allow_null=True)
    created_at = serializers.FloatField()
    stages = serializers.ListField(child=serializers.DictField())
    chunk_states = serializers.DictField(child=serializers.IntegerField())
    chunks = DebugChunk(many=True)
