"""What endpoints of several apps check in the same way, and refuse with the same words."""

from typing import Any, BinaryIO, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import Http404
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request

from transcription.jobs.installed_models import list_models
from transcription.leasing.registry import SPEECH
from transcription.models import Job
from transcription.serializers import WHAT_IS_ALLOWED
from transcription.speech import audio, catalogue, fetching, weights


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


class Unavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


def valid(shape: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    serializer = shape(data=data)
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def find_job(written_id: str) -> Job:
    """The job with its recording. Raises Http404."""
    try:
        return Job.objects.select_related("recording").get(pk=UUID(written_id))
    except (ValueError, Job.DoesNotExist):
        raise Http404("Transcription job not found or expired") from None


def probe_upload(upload: TemporaryUploadedFile) -> audio.AudioInfo:
    """What an upload holds; it is then at its start again. Refuses what is too large or no audio."""
    limit = settings.TRANSCRIBER_MAX_UPLOAD_BYTES
    if (upload.size or 0) > limit:
        raise TooLarge(
            f"The file is larger than the {limit:,} bytes allowed here "
            "(TRANSCRIBER_MAX_UPLOAD_BYTES)."
        )
    try:
        info = audio.probe(cast("BinaryIO", upload.file))
    except audio.NotAudioError as error:
        raise serializers.ValidationError({"file": [f"{error} {WHAT_IS_ALLOWED}"]}) from error
    upload.seek(0)
    return info


def require_weights(model: catalogue.ModelInfo, *, role: str = SPEECH) -> None:
    """Refuse a model whose weights are neither here, nor with workers of `role`, nor to be had, naming the remedy."""
    models_here = [each.name for each in list_models(role=role) if each.is_downloaded]
    if model.name in models_here:
        return
    engine = settings.TRANSCRIBER_ENGINE
    if not fetching.can_download(model, engine=engine):
        reason = "the model hub cannot be reached"
        problem = weights.unavailable(model, engine, settings.TRANSCRIBER_MODELS_DIR, reason)
        names = ", ".join(models_here)
        here = f"Models that are here: {names}." if names else "No model is here."
        raise Unavailable(f"{problem} {here}")


def person(request: Request) -> str:
    """Who asks: the name of who is logged in, else the address."""
    user = get_user(request._request)  # of the session; the API itself asks for no account
    if user.is_authenticated:
        return str(user.get_username())[:150]
    return str(request.META.get("REMOTE_ADDR") or "")


def not_completed(job: Job) -> str:
    """Why what needs a full transcript is refused."""
    if job.status in Job.ACTIVE:
        return "The job is under way. Ask again when it is completed."
    return f"The job is {job.status}: there is no full transcript. Upload the recording again."
