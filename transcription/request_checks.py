"""Request validation and error messages that the endpoints of several apps share."""

from typing import Any, BinaryIO, TypeVar, cast
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request

from transcription import access, hooks
from transcription.jobs.installed_models import list_models
from transcription.leasing.registry import SPEECH
from transcription.models import Job
from transcription.serializers import ACCEPTED_FILES
from transcription.speech import audio, catalogue, fetching, weights
from transcription.speech.media import messages

Row = TypeVar("Row", bound=Model)


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


class Unavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


def validate(serializer_class: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """The validated data. Raises ValidationError."""
    serializer = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def find_job(job_id: str) -> Job:
    """Fetch a job with its recording. Raises Http404."""
    return find(
        Job.objects.select_related("recording"),
        job_id,
        missing="Transcription job not found or expired",
    )


def find(rows: QuerySet[Row], row_id: str, *, missing: str) -> Row:
    """Fetch the row with this id, and report that it is read.

    Raises Http404; PermissionDenied if it may be read, but is to be changed.
    """
    try:
        pk = UUID(row_id)
        row = rows.get(pk=pk)
    except ValueError:
        raise Http404(missing) from None
    except ObjectDoesNotExist:
        access.refuse_readers(rows.model, pk=pk)
        raise Http404(missing) from None
    if not access.current().changes:
        hooks.report(None, hooks.READ, row)
    return row


def require_one_file(request: Request) -> None:
    """Raise ValidationError if the form has several files: which of them is meant is not for us to guess."""
    names = [file.name for _field, files in request.FILES.lists() for file in files]
    if len(names) > 1:
        raise serializers.ValidationError(
            {"file": [f"Send one file a request, not {len(names)}: {', '.join(names)}."]}
        )


def probe_upload(upload: TemporaryUploadedFile) -> audio.AudioInfo:
    """Probe an uploaded file and rewind it.

    Raises TooLarge, ValidationError if it is not audio or video, or Unavailable if it could not be examined.
    """
    limit = settings.TRANSCRIBER_MAX_UPLOAD_BYTES
    if (upload.size or 0) > limit:
        raise TooLarge(
            f"The file is larger than the {limit:,} bytes allowed (TRANSCRIBER_MAX_UPLOAD_BYTES)."
        )
    try:
        info = audio.probe(cast("BinaryIO", upload.file))
    except audio.NotAudioError as error:
        raise serializers.ValidationError({"file": [f"{error} {ACCEPTED_FILES}"]}) from error
    except audio.DecoderLostError as error:
        raise Unavailable(f"The file could not be examined: {error} Send it again.") from error
    upload.seek(0)
    return info


def require_channels(info: audio.AudioInfo) -> None:
    """Raises ValidationError unless the file has as many channels or tracks as can be a speaker each."""
    n_channels = audio.n_speaker_channels(info.track_channels)
    if n_channels < 2:
        problem = (
            "The recording has one channel, so speakers cannot be told apart by channel. "
            "Leave channels out: they are told apart by their voices."
        )
    elif len(info.track_channels) > messages.MAX_TRACKS:
        problem = f"The recording has {n_channels} tracks; {audio.MANY_CHANNELS}"
    elif n_channels > audio.MAX_SPEAKER_CHANNELS:
        problem = f"The recording has {n_channels} channels; {audio.MANY_CHANNELS}"
    else:
        return
    raise serializers.ValidationError({"channels": problem})


def require_weights(model: catalogue.ModelInfo, *, role: str = SPEECH) -> None:
    """Check that this machine or a worker of `role` has the model's weights, or that they can be downloaded.

    Raises Unavailable, with the remedy.
    """
    downloaded = [each.name for each in list_models(role=role) if each.is_downloaded]
    if model.name in downloaded:
        return
    engine = settings.TRANSCRIBER_ENGINE
    if not fetching.can_download(model, engine=engine):
        reason = "the model hub cannot be reached"
        problem = weights.unavailable(model, engine, settings.TRANSCRIBER_MODELS_DIR, reason)
        names = ", ".join(downloaded) or "none"
        raise Unavailable(f"{problem} Downloaded models: {names}.")


def requester(request: Request) -> str:
    """The name of the logged-in user, else the client's address."""
    user = access.person_of(request._request)
    if user.is_authenticated:
        return str(user.get_username())[:150]
    return str(request.META.get("REMOTE_ADDR") or "")


def not_completed_message(job: Job) -> str:
    """The error message for a request that needs a full transcript."""
    if job.status in Job.ACTIVE:
        return "The job is in progress. Try again when it is completed."
    return f"The job is {job.status}: there is no full transcript. Upload the recording again."
