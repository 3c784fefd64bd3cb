"""Exports: a transcript as SRT, WebVTT, plain text, CSV, DOCX or JSON. A new format is a writer in `_WRITERS`."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import PurePath

from django.utils import timezone

from transcription.models import Job, Segment
from transcription.transcript.segments import clock_time, display_time, full_text, segment_object
from transcription.transcript.subtitles import make_cues

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets read a cell that begins with one of these as a formula (CSV injection)."""
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Options:
    speakers: bool = True
    times: bool = True
    """For txt and docx; the other formats always have times."""


@dataclass(frozen=True, slots=True)
class Export:
    name: str
    content_type: str
    content: bytes


def export(*, job: Job, format: str, options: Options) -> Export:  # noqa: A002  # the API's word
    """Write the transcript, complete or not, to a file named after the recording."""
    content_type, write = _WRITERS[format]
    stem = PurePath(job.recording.name).stem or "transcript"
    segments = job.segments.all() if format in SUBTITLES else job.segments.defer("words")
    content = write(job, list(segments), options)
    return Export(f"{stem}.{format}", content_type, content)


def result(job: Job, segments: Sequence[Segment]) -> dict[str, object]:
    """Return the result document of the API."""
    return {
        "segments": [segment_object(segment) for segment in segments],
        "text": full_text(segments),
        "language": job.language or None,
        "audio_duration": job.recording.known_duration,
    }


def _srt(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    import srt

    cues = make_cues(segments, with_names=options.speakers)
    subtitles = [
        srt.Subtitle(
            index,
            timedelta(milliseconds=cue.start),
            timedelta(milliseconds=cue.end),
            # An arrow separates the times of a cue, so text may not contain one.
            "\n".join(cue.lines).replace("-->", "→"),
        )
        for index, cue in enumerate(cues, 1)
    ]
    return str(srt.compose(subtitles, reindex=False)).encode()


def _vtt(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    import webvtt

    document = webvtt.WebVTT()
    for cue in make_cues(segments):
        lines = [html.escape(line, quote=False) for line in cue.lines]
        name = " ".join((cue.speaker or "").split())  # a line break would end the tag
        if options.speakers and name:
            lines[0] = f"<v {html.escape(name)}>{lines[0]}"
        start, end = display_time(cue.start / 1000), display_time(cue.end / 1000)
        document.captions.append(webvtt.Caption(start, end, lines))
    return str(document.content).encode()


def _txt(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    text = "\n".join(head + said for head, said in _paragraphs(segments, options))
    return f"{text}\n".encode() if text else b""


def _csv(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(["start", "end", *(["speaker"] if options.speakers else []), "text"])
    for segment in segments:
        speaker = [_cell(segment.speaker or "")] if options.speakers else []
        times = [f"{segment.start:.3f}", f"{segment.end:.3f}"]
        table.writerow([*times, *speaker, _cell(segment.text)])
    return file.getvalue().encode(
        "utf-8-sig"
    )  # with a byte order mark, by which Excel recognizes UTF-8


def _json(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    return json.dumps(result(job, segments), ensure_ascii=False, indent=2).encode()


def _docx(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    from docx import Document

    document = Document()
    title = _xml(job.recording.name)
    properties = document.core_properties  # the library's template has its own, of 2013
    properties.title, properties.author, properties.comments = title, "", ""
    properties.created = properties.modified = timezone.now()
    document.add_heading(title, level=1)
    facts = [f"{job.created_at:%Y-%m-%d}", job.model_name]
    if job.recording.duration is not None:
        facts.insert(1, clock_time(job.recording.duration))
    document.add_paragraph(" · ".join(facts))
    for head, said in _paragraphs(segments, options):
        paragraph = document.add_paragraph()
        if head:
            paragraph.add_run(_xml(head)).bold = True
        paragraph.add_run(_xml(said))
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _paragraphs(segments: Sequence[Segment], options: Options) -> Iterator[tuple[str, str]]:
    """Yield heading (time, speaker) and text of each segment, or without times of each speaker's run of segments."""
    if options.times:
        for segment in segments:
            time = f"[{clock_time(segment.start)}] "
            yield time + _speaker(segment, options), segment.text
    elif options.speakers:
        for _, said in groupby(segments, key=lambda segment: segment.speaker):
            of_one = list(said)
            yield _speaker(of_one[0], options), full_text(of_one)
    elif segments:
        yield "", full_text(segments)


def _speaker(segment: Segment, options: Options) -> str:
    return f"{segment.speaker}: " if options.speakers and segment.speaker else ""


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _xml(text: str) -> str:
    return NOT_IN_XML.sub("", text)


_WRITERS: dict[str, tuple[str, Callable[[Job, Sequence[Segment], Options], bytes]]] = {
    "srt": ("application/x-subrip; charset=utf-8", _srt),
    "vtt": ("text/vtt; charset=utf-8", _vtt),
    "txt": ("text/plain; charset=utf-8", _txt),
    "json": ("application/json", _json),
    "docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", _docx),
    "csv": ("text/csv; charset=utf-8", _csv),
}
FORMATS = tuple(_WRITERS)
SUBTITLES = ("srt", "vtt")
"""Formats that need word times; the others need the text alone."""
