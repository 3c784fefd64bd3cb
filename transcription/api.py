"""The Transcription API: each view validates the request, calls one function and returns its result."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db.models import Count, Max
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import api_view, content_negotiation_class, parser_classes
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from transcription import access, hooks, recordings, serializers
from transcription.jobs import lifecycle
from transcription.jobs.diarize import request_diarization
from transcription.jobs.installed_models import list_models
from transcription.jobs.retry_and_delete import delete_job
from transcription.jobs.status import (
    API_STATUS,
    not_found_document,
    processing_seconds,
    real_time_factor,
    status_document,
    status_documents,
    status_messages,
)
from transcription.models import Diarization, Job, Leased
from transcription.parsers import UPLOAD, MultiPartParser, NoForm, takes_body
from transcription.request_checks import (
    Conflict,
    find_job,
    not_completed_message,
    probe_upload,
    requester,
    require_channels,
    require_one_file,
    require_weights,
    validate,
)
from transcription.transcript import exports, suspects
from transcription.transcript.segments import display_time
from transcription.transcript.word_alignment import segment_with_words

_logger = logging.getLogger(__name__)


@extend_schema(responses=serializers.Models)
@api_view(["GET", "HEAD"])
def models(request: Request) -> Response:
    """The Whisper models that the engine can run, and whether their weights are downloaded."""
    return Response({"models": serializers.Model(list_models(), many=True).data})


@takes_body(UPLOAD)
@extend_schema(
    request={"multipart/form-data": serializers.TranscriptionRequest},
    responses={
        200: serializers.Started,
        400: serializers.Problem,
        413: serializers.Problem,
        503: serializers.Problem,
        429: serializers.Problem,
        507: serializers.Problem,
    },
)
@api_view(["POST"])
@parser_classes([MultiPartParser, NoForm])
def start(request: Request) -> Response:
    """Upload a recording and start its transcription."""
    n_bytes = str(request.META.get("CONTENT_LENGTH") or "")
    hooks.before_upload.send(
        sender=Job,
        owner_id=access.owner_id(),
        n_bytes=int(n_bytes) if n_bytes.isdecimal() else 0,
    )
    require_one_file(request)
    data = validate(serializers.TranscriptionRequest, request.data)
    upload: TemporaryUploadedFile = data["file"]
    require_weights(data["model_name"])
    info = probe_upload(upload)
    if data["channels"] == Job.Channels.SPEAKERS:
        require_channels(info)
    job = lifecycle.create_job(
        recording=recordings.store_upload(upload=upload, info=info),
        model_name=data["model_name"].name,
        language=data["language"],
        diarize=data["diarize"],
        count=serializers.speaker_count(data),
        channels=data["channels"],
    )
    hooks.report(request._request, hooks.UPLOAD, job)
    _logger.info("Job %s: %s, %s bytes", job.pk, job.recording.name, upload.size)
    return _started_response(job)


def _started_response(job: Job) -> Response:
    message = status_messages([job])[job.pk]
    return Response({"job_id": str(job.pk), "status": "processing", "message": message})


@extend_schema(
    parameters=[serializers.JobsQuery], responses={200: serializers.Jobs, 400: serializers.Problem}
)
@api_view(["GET", "HEAD"])
def list_jobs(request: Request) -> Response:
    """The jobs, newest first."""
    query = validate(serializers.JobsQuery, request.query_params)
    hooks.report_list(request._request, Job)
    jobs = Job.objects.order_by("-created_at")
    if "status" in query:
        jobs = jobs.filter(
            status__in=[value for value, name in API_STATUS.items() if name == query["status"]]
        )
    documents = status_documents(list(jobs[: query["limit"]]))
    return Response({"jobs": documents, "count": len(documents)})


@access.open_to_links
@extend_schema(responses=serializers.JobStatus)
@api_view(["GET", "HEAD"])
def job_status(request: Request, job_id: str) -> Response:
    """A job's status and progress. An unknown job has the status `not_found`, with status code 200."""
    try:
        document = status_document(find_job(job_id))
    except Http404:
        document = not_found_document(job_id)
    return Response(document)


@extend_schema(
    request=None,
    responses={200: serializers.JobStatus, 404: serializers.Problem, 409: serializers.Problem},
)
@api_view(["POST"])
def cancel(request: Request, job_id: str) -> Response:
    """Cancel a job. What was transcribed stays readable; a job that only lacks speakers completes without them.

    Cancelling is idempotent; a job that has completed or failed is a 409.
    """
    job = find_job(job_id)
    cancelled = lifecycle.cancel_job(job_id=job.pk)
    job = find_job(job_id)
    if not cancelled and job.status != Job.Status.CANCELLED:
        raise Conflict(f"The job is {job.status}: it cannot be cancelled.")
    if cancelled:
        hooks.report(request._request, hooks.CANCEL, job)
    _logger.info("Job %s: cancelled by %s", job.pk, requester(request))
    return Response(status_document(job))


@extend_schema(responses={204: None, 403: serializers.Problem, 404: serializers.Problem})
@api_view(["DELETE"])
def delete(request: Request, job_id: str) -> Response:
    """Delete a job with its transcript and its recording, even if it is in progress."""
    job = find_job(job_id)
    access.refuse_but_owner(job.recording, to="delete")
    if not delete_job(job_id=job.pk):
        raise Http404("Transcription job not found or expired")
    hooks.report(request._request, hooks.DELETE, job, object_id=job_id)
    _logger.info("Job %s: deleted by %s", job.pk, requester(request))
    return Response(status=status.HTTP_204_NO_CONTENT)


@access.open_to_links
@extend_schema(
    parameters=[serializers.ResultQuery],
    responses={
        200: serializers.Result,
        202: serializers.JobStatus,
        400: serializers.Problem,
        404: serializers.Problem,
        409: serializers.Problem,
    },
)
@api_view(["GET", "HEAD"])
def result(request: Request, job_id: str) -> Response:
    """The transcript. 202 with the job's status while it is in progress, 409 if it failed or was cancelled."""
    job = find_job(job_id)
    query = validate(serializers.ResultQuery, request.query_params)
    if not query["partial"] and (response := _not_completed_response(job)):
        return response
    if not query["words"]:
        return Response(exports.result(job, list(job.segments.defer("words"))))
    segments = list(job.segments.all())
    with_words = [segment_with_words(segment) for segment in segments]
    document = exports.result(job, segments) | {"segments": with_words, "revision": job.revision}
    return Response(document)


def _not_completed_response(job: Job) -> Response | None:
    """202 with the status if the job is in progress, None if it is completed. Raises Conflict if it ended otherwise."""
    if job.status == Job.Status.COMPLETED:
        return None
    if job.status in Job.ACTIVE:
        return Response(status_document(job), status=status.HTTP_202_ACCEPTED)
    raise Conflict(
        f"The job ended without a full transcript: {job.message}. "
        "Add ?partial=true to get the partial transcript."
    )


class IgnoreAcceptHeader(BaseContentNegotiation):
    """The query says which file is sent, whatever the Accept header says (such as text/vtt). Errors are JSON."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


@access.open_to_links
@extend_schema(
    parameters=[serializers.ExportQuery],
    responses={
        (200, "*/*"): OpenApiTypes.BINARY,
        202: serializers.JobStatus,
        400: serializers.Problem,
        404: serializers.Problem,
        409: serializers.Problem,
    },
)
@api_view(["GET", "HEAD"])
@content_negotiation_class(IgnoreAcceptHeader)
def export(request: Request, job_id: str) -> HttpResponseBase:
    """Download the transcript as a file. 202 and 409 as for the result."""
    job = find_job(job_id)
    query = validate(serializers.ExportQuery, request.query_params)
    if not query["partial"] and (response := _not_completed_response(job)):
        return response
    file = exports.export(
        job=job,
        format=query["format"],
        options=exports.Options(speakers=query["speakers"], times=query["times"]),
    )
    hooks.report(request._request, hooks.EXPORT, job, detail=query["format"])
    disposition = content_disposition_header(True, file.name)
    assert disposition is not None, "None only for inline files without a name"
    headers = {"Content-Disposition": disposition}
    return HttpResponse(file.content, content_type=file.content_type, headers=headers)


@extend_schema(
    request=serializers.SpeakerNumbers,
    responses={
        200: serializers.Started,
        400: serializers.Problem,
        404: serializers.Problem,
        409: serializers.Problem,
    },
)
@api_view(["POST"])
def diarize(request: Request, job_id: str) -> Response:
    """Run diarization, for the first time or again.

    Without numbers in the request the earlier ones apply; an empty or null number means: detect it.
    """
    job = find_job(job_id)
    count = serializers.speaker_count(validate(serializers.SpeakerNumbers, request.data))
    sent, fields = set(request.data), set(serializers.SpeakerNumbers().fields)
    if not sent <= fields:
        unknown, allowed = ", ".join(sorted(sent - fields)), ", ".join(sorted(fields))
        raise ValidationError(
            f"Unknown fields: {unknown[:100]}. "
            f"Send {allowed}, as a form or as JSON (with its Content-Type), or nothing."
        )
    if not request_diarization(job_id=job.pk, count=count if sent else None):
        job.refresh_from_db(fields=["status"])
        if job.channels == Job.Channels.SPEAKERS:
            raise Conflict(
                "The recording's channels are its speakers: nothing is left to find out."
            )
        raise Conflict(not_completed_message(job))
    job.refresh_from_db(fields=["message"])
    hooks.report(request._request, hooks.DIARIZE, job)
    _logger.info("Job %s: diarization requested, %s", job.pk, count)
    return _started_response(job)


@extend_schema(
    responses={200: serializers.Suspects, 404: serializers.Problem, 409: serializers.Problem},
)
@api_view(["GET", "HEAD"])
def list_suspects(request: Request, job_id: str) -> Response:
    """Passages that a person should check, with the reasons; `segment_id` is null for speech without text."""
    job = find_job(job_id)
    if job.status != Job.Status.COMPLETED:
        raise Conflict(not_completed_message(job))
    documents = [_suspect_document(suspect) for suspect in suspects.find_suspects(job=job)]
    return Response({"suspects": documents, "count": len(documents)})


def _suspect_document(suspect: suspects.Suspect) -> dict[str, Any]:
    segment = suspect.segment
    return {
        "segment_id": segment and segment.pk,
        "start": suspect.start,
        "end": suspect.end,
        "start_display": display_time(suspect.start),
        "end_display": display_time(suspect.end),
        "text": segment.text if segment else "",
        "speaker": segment and segment.speaker,
        "reasons": list(suspect.reasons),
    }


@extend_schema(responses={200: serializers.Debug, 404: serializers.Problem})
@api_view(["GET", "HEAD"])
def debug(request: Request, job_id: str) -> Response:
    """A job's stages, chunks, workers and timings, for the service's administrator."""
    job = find_job(job_id)
    chunks = list(job.chunks.order_by("index").defer("streams", "speech"))
    segments = job.segments.aggregate(n=Count("pk"), latest=Max("end"))
    duration = job.recording.known_duration
    diarization = Diarization.objects.filter(job=job).defer("turns", "centroids").first()
    return Response(
        {
            **status_document(job),
            "state": job.status,
            "cached_segments": segments["n"],
            "latest_time": segments["latest"] or 0.0,
            "model_name": job.model_name,
            "engine": job.engine or settings.TRANSCRIBER_ENGINE,
            "device": job.device or settings.TRANSCRIBER_DEVICE,
            "language": job.language,
            "channels": job.channels,
            "diarize": job.diarize,
            "num_speakers": job.num_speakers,
            "min_speakers": job.min_speakers,
            "max_speakers": job.max_speakers,
            "diarization_engine": diarization and diarization.engine,
            "diarization_model": diarization and diarization.model,
            "speakers_found": diarization and len(diarization.seconds_by_speaker()),
            "audio_duration": duration,
            "queue_wait_seconds": (job.started_at - job.created_at).total_seconds()
            if job.started_at
            else None,
            "processing_seconds": processing_seconds(job),
            "real_time_factor": real_time_factor(job),
            "created_at": job.created_at.timestamp(),
            "stages": [
                {"kind": stage.kind, **_lease_document(stage)} for stage in job.stages.all()
            ],
            "chunk_states": {
                state: sum(chunk.state == state for chunk in chunks)
                for state in Leased.State.values
            },
            "chunks": [
                {"index": c.index, "start": c.start, "end": c.end, **_lease_document(c)}
                for c in chunks
            ],
        }
    )


def _lease_document(row: Leased) -> dict[str, Any]:
    return {
        "state": row.state,
        "attempts": row.attempts,
        "failures": row.failures,
        "worker": row.worker,
        "lease_until": _timestamp(row.lease_until),
        "seconds": (row.finished_at - row.started_at).total_seconds()
        if row.finished_at and row.started_at
        else None,
        "error": row.error,
    }


def _timestamp(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
