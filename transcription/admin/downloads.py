"""Transcripts as downloads: one file, or a zip archive for several jobs."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import PurePath
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from transcription.models import Job
from transcription.transcript import exports

BLOCK_BYTES = 64 * 1024
MAX_NAME_BYTES = 200
"""File systems allow 255; the rest is for a number and the suffix."""
SKIPPED = "skipped.txt"


def one_file(*, job: Job, format: str) -> HttpResponseBase:  # noqa: A002  # as `exports` calls it
    file = exports.export(job=job, format=format, options=exports.Options())
    disposition = content_disposition_header(True, file.name)
    return HttpResponse(
        file.content,
        content_type=file.content_type,
        headers={"Content-Disposition": disposition or "attachment"},
    )


def archive(
    *,
    jobs: Iterable[Job],
    format: str,  # noqa: A002
    skipped: Iterable[str],
) -> HttpResponseBase:
    """A zip file with one file per job, written to a temporary file. `skipped` are the lines of skipped.txt."""
    file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115  # `_blocks` closes it
    taken = {SKIPPED}
    with ZipFile(file, "w", ZIP_DEFLATED) as zip_file:
        for job in jobs:
            transcript = exports.export(job=job, format=format, options=exports.Options())
            zip_file.writestr(_unique_name(transcript.name, taken), transcript.content)
        if lines := "".join(f"{line}\n" for line in skipped):
            zip_file.writestr(SKIPPED, lines)
    length = file.tell()
    file.seek(0)
    headers = {
        "Content-Disposition": f'attachment; filename="transcripts-{format}.zip"',
        "Content-Length": str(length),
    }
    return StreamingHttpResponse(_blocks(file), content_type="application/zip", headers=headers)


async def _blocks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield block


def _unique_name(name: str, taken: set[str]) -> str:
    """A safe file name that is not in `taken`, even where case is ignored; adds it there."""
    path = PurePath(name)
    safe = re.sub(r"[^\w (),.+-]", "_", path.stem).encode()[:MAX_NAME_BYTES]
    stem = safe.decode(errors="ignore").strip(" .") or "transcript"
    unique, number = f"{stem}{path.suffix}", 1
    while unique.casefold() in taken:
        number += 1
        unique = f"{stem} ({number}){path.suffix}"
    taken.add(unique.casefold())
    return unique
