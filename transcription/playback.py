"""Playback on the pages: the recording's samples as WAV, and the peaks of its waveform."""

import struct
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import cast

from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe
from whitenoise.responders import StaticFile  # type: ignore[import-untyped]

from transcription import access, recordings
from transcription.models import Job, Recording
from transcription.request_checks import find_job
from transcription.speech.engines.base import SAMPLE_RATE

HEADER_BYTES = 44
MAX_UINT32 = 2**32 - 1  # the header's largest size: 37 hours; beyond, players use Content-Length


@access.open_to_links
@require_safe
def audio(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """The recording as WAV, with support for byte ranges.

    It is built from the transcribed samples, so that its times are exactly those of the transcript. Browsers
    do not play every uploaded format, and seek inexactly in some, such as MP3.
    """
    job = find_job(job_id)
    if job.recording.duration is None:
        return _not_read(job)
    n_samples = recordings.count_samples(job.recording)
    if n_samples is None:
        return _not_found("The recording's files were deleted. Upload it again.")
    close_old_connections()  # a download may take hours, and database connections are limited

    size = HEADER_BYTES + 2 * n_samples
    etag = f'"{job.recording_id.hex}-{n_samples}"'
    requested = _requested_range(request, size=size, etag=etag)
    if requested is not None and not requested:
        return _unsatisfiable(size)
    sent = range(size) if requested is None else requested
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        response = StreamingHttpResponse(_wav(job.recording, n_samples, sent))
    if requested is not None:
        response.status_code = 206
        response["Content-Range"] = f"bytes {requested[0]}-{requested[-1]}/{size}"
    response["Content-Type"] = "audio/wav"
    response["Content-Length"] = str(len(sent))
    response["Accept-Ranges"] = "bytes"
    if request.GET.get("download") == "1":
        name = f"{PurePath(job.recording.name).stem}.wav"
        response["Content-Disposition"] = content_disposition_header(True, name)
    return _cached(request, response, etag=etag)


@access.open_to_links
@require_safe
def playable(request: HttpRequest, job_id: str) -> HttpResponse:
    """Whether the recording is decoded, so that it can be played. Asked again and again while it is transcribed."""
    job = find_job(job_id)
    document = {"is_decoded": job.recording.duration is not None}
    return JsonResponse(document, headers={"Cache-Control": "no-store"})


@access.open_to_links
@require_safe
def peaks(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """The waveform's peaks: one byte per 1/20 s, for as much of the recording as is prepared."""
    job = find_job(job_id)
    data = recordings.read_peaks(job.recording)
    if not data:
        if job.recording.duration is None:
            return _not_read(job)
        return _not_found("There is no waveform for this recording.")
    response = HttpResponse(data, content_type="application/octet-stream")
    response["X-Peaks-Per-Second"] = str(recordings.PEAKS_PER_SECOND)
    if job.recording.duration is None:
        response["Cache-Control"] = "no-store"  # incomplete: more peaks follow
        return response
    return _cached(request, response, etag=f'"{job.recording_id.hex}-{len(data)}"')


def _cached(request: HttpRequest, response: HttpResponseBase, *, etag: str) -> HttpResponseBase:
    """Let the browser, but no shared cache, store the response; 304 if the ETag matches."""
    response["Cache-Control"] = "private"
    response["ETag"] = etag
    result = get_conditional_response(request, etag=etag, response=cast("HttpResponse", response))
    return cast("HttpResponseBase", result)


def _not_read(job: Job) -> HttpResponse:
    if job.status in Job.ACTIVE:
        return _error(409, "The recording is still being read. Try again in a moment.")
    return _error(
        409, f"The job is {job.status}: its recording was not fully read. Upload it again."
    )


def _not_found(detail: str) -> HttpResponse:
    return _error(404, detail)


def _error(status: int, detail: str) -> HttpResponse:
    return JsonResponse({"detail": detail}, status=status, headers={"Cache-Control": "no-store"})


def _unsatisfiable(size: int) -> HttpResponse:
    detail = f"The range starts after the end of the {size:,} bytes."
    return JsonResponse(
        {"detail": detail}, status=416, headers={"Content-Range": f"bytes */{size}"}
    )


def _requested_range(request: HttpRequest, *, size: int, etag: str) -> range | None:
    """The requested byte range, empty if it starts after the end; None for the whole file.

    RFC 9110, section 14.2: an invalid Range header is ignored, as is one whose If-Range does not match;
    several ranges may be ignored.
    """
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    try:
        first, last = StaticFile.parse_byte_range(request.headers.get("Range", ""))
    except ValueError:
        return None
    if first < 0:  # a suffix range: the last bytes
        first = max(first + size, 0)
    if last is None:
        last = size - 1
    elif last < first:
        return None
    return range(first, min(last + 1, size))


async def _wav(recording: Recording, n_samples: int, sent: range) -> AsyncIterator[bytes]:
    if sent.start < HEADER_BYTES:
        yield _header(n_samples)[sent.start : sent.stop]
    async for data in recordings.stream_samples(
        recording,
        begin=max(sent.start - HEADER_BYTES, 0),
        end=sent.stop - HEADER_BYTES,
    ):
        yield data


def _header(n_samples: int) -> bytes:
    """The 44-byte WAV header: RIFF, one `fmt ` chunk (PCM, mono, 16 bit), the start of the `data` chunk."""
    n_bytes = 2 * n_samples
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        min(HEADER_BYTES - 8 + n_bytes, MAX_UINT32),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        SAMPLE_RATE,
        2 * SAMPLE_RATE,
        2,
        16,
        b"data",
        min(n_bytes, MAX_UINT32),
    )
