"""What the pages play a recording from: its samples as WAV, and the peaks of its waveform."""

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

from transcription import recordings
from transcription.models import Job, Recording
from transcription.request_checks import find_job
from transcription.speech.engines.base import SAMPLE_RATE

HEADER_BYTES = 44
MAX_UINT32 = 2**32 - 1  # what the header can say; 37 hours, after which players count the bytes


@require_safe
def audio(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """The recording as WAV, all of it or a range. Its times are those of the transcript.

    Made of the samples that were transcribed, not of the upload: what a browser makes of an MP3's times is
    its own affair, and it does not play every format.
    """
    job = find_job(job_id)
    if job.recording.duration is None:
        return _missing(_why_unread(job))
    n_samples = recordings.count_samples(job.recording)
    if n_samples is None:
        return _missing("The recording is gone. Upload it again.")
    close_old_connections()  # a client may take hours, and a database has few connections to give

    size = HEADER_BYTES + 2 * n_samples
    etag = f'"{job.recording_id.hex}-{n_samples}"'
    asked = _asked_range(request, size=size, etag=etag)
    if asked is not None and not asked:
        return _unsatisfiable(size)
    sent = range(size) if asked is None else asked
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        response = StreamingHttpResponse(_wav(job.recording, n_samples, sent))
    if asked is not None:
        response.status_code = 206
        response["Content-Range"] = f"bytes {asked[0]}-{asked[-1]}/{size}"
    response["Content-Type"] = "audio/wav"
    response["Content-Length"] = str(len(sent))
    response["Accept-Ranges"] = "bytes"
    if request.GET.get("download") == "1":
        name = f"{PurePath(job.recording.name).stem}.wav"
        response["Content-Disposition"] = content_disposition_header(True, name)
    return _cached(request, response, etag=etag)


@require_safe
def peaks(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """A byte for each 1/20 s of the recording, as far as it is prepared."""
    job = find_job(job_id)
    found = recordings.read_peaks(job.recording)
    if not found:
        unread = job.recording.duration is None
        return _missing(_why_unread(job) if unread else "There is no waveform of this recording.")
    response = HttpResponse(found, content_type="application/octet-stream")
    response["X-Peaks-Per-Second"] = str(recordings.PEAKS_PER_SECOND)
    if job.recording.duration is None:
        response["Cache-Control"] = "no-store"  # there will be more
        return response
    return _cached(request, response, etag=f'"{job.recording_id.hex}-{len(found)}"')


def _cached(request: HttpRequest, response: HttpResponseBase, *, etag: str) -> HttpResponseBase:
    """The response, to be kept by the browser alone; 304 where it has it."""
    response["Cache-Control"] = "private"
    response["ETag"] = etag
    answer = get_conditional_response(request, etag=etag, response=cast("HttpResponse", response))
    return cast("HttpResponseBase", answer)


def _why_unread(job: Job) -> str:
    if job.status in Job.ACTIVE:
        return "The recording is still being read. Ask again in a moment."
    return f"The job is {job.status}: its recording was not read to the end."


def _missing(detail: str) -> HttpResponse:
    return JsonResponse({"detail": detail}, status=404, headers={"Cache-Control": "no-store"})


def _unsatisfiable(size: int) -> HttpResponse:
    detail = f"The range lies behind the end of the {size:,} bytes."
    return JsonResponse(
        {"detail": detail}, status=416, headers={"Content-Range": f"bytes */{size}"}
    )


def _asked_range(request: HttpRequest, *, size: int, etag: str) -> range | None:
    """The bytes of the single range that is asked for, empty when it lies behind the end; None for all.

    HTTP wants what is no range, or one of another state of the file, to be answered with all; of several
    ranges at once it lets that be an answer.
    """
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    try:
        first, last = StaticFile.parse_byte_range(request.headers.get("Range", ""))
    except ValueError:
        return None
    if first < 0:  # so many from the end
        first = max(first + size, 0)
    if last is None:
        last = size - 1
    elif last < first:
        return None
    return range(first, min(last + 1, size))


async def _wav(recording: Recording, n_samples: int, asked: range) -> AsyncIterator[bytes]:
    if asked.start < HEADER_BYTES:
        yield _header(n_samples)[asked.start : asked.stop]
    async for data in recordings.stream_samples(
        recording,
        begin=max(asked.start - HEADER_BYTES, 0),
        end=asked.stop - HEADER_BYTES,
    ):
        yield data


def _header(n_samples: int) -> bytes:
    """The 44 bytes before the samples: RIFF, one `fmt ` chunk (PCM, mono, 16 bit) and one `data` chunk."""
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
