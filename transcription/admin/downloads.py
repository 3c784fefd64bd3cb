"""Transcripts of several jobs as one archive."""

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

BLOCK = 64 * 1024
MOST_NAME_BYTES = 200
"""File systems take 255, of which some are for a number and the format."""
SKIPPED = "skipped.txt"


def one_file(*, job: Job, format: str) -> HttpResponseBase:  # noqa: A002  # as `exports` calls it
    made = exports.export(job=job, format=format, options=exports.Options())
    disposition = content_disposition_header(True, made.name)
    return HttpResponse(
        made.content,
        content_type=made.content_type,
        headers={"Content-Disposition": disposition or "attachment"},
    )


def archive(
    *,
    jobs: Iterable[Job],
    format: str,  # noqa: A002
    skipped: Iterable[str],
) -> HttpResponseBase:
    """A zip with a file of each job, made on the disk one after the other; `skipped` are lines that name the others."""
    file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115  # `_blocks` closes it
    taken = {SKIPPED}
    with ZipFile(file, "w", ZIP_DEFLATED) as written:
        for job in jobs:
            made = exports.export(job=job, format=format, options=exports.Options())
            written.writestr(_free_name(made.name, taken), made.content)
        if lines := "".join(f"{line}\n" for line in skipped):
            written.writestr(SKIPPED, lines)
    length = file.tell()
    file.seek(0)
    headers = {
        "Content-Disposition": f'attachment; filename="transcripts-{format}.zip"',
        "Content-Length": str(length),
    }
    return StreamingHttpResponse(_blocks(file), content_type="application/zip", headers=headers)


async def _blocks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK):
            yield block


def _free_name(name: str, taken: set[str]) -> str:
    """A name like `name` that no system takes for a path, and that is not taken, whatever letters' case counts for."""
    path = PurePath(name)
    plain = re.sub(r"[^\w (),.+-]", "_", path.stem).encode()[:MOST_NAME_BYTES]
    stem = plain.decode(errors="ignore").strip(" .") or "transcript"
    free, number = f"{stem}{path.suffix}", 1
    while free.casefold() in taken:
        number += 1
        free = f"{stem} ({number}){path.suffix}"
    taken.add(free.casefold())
    return free
