"""Exports a transcript as SRT, WebVTT, plain text, CSV, DOCX or JSON. To add a format, add a writer to `_WRITERS`."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, zip_longest
from pathlib import PurePath
from typing import TYPE_CHECKING

from django.utils import timezone

from transcription.models import Job, Segment
from transcription.transcript.bidi import directions, embed, is_right_to_left
from transcription.transcript.segments import clock_time, display_time, full_text, segment_object
from transcription.transcript.subtitles import Cue, make_cues

if TYPE_CHECKING:
    from docx.text.paragraph import Paragraph

FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets evaluate a cell that begins with one of these as a formula (CSV injection)."""
RIGHT_TO_LEFT_LANGUAGES = ("ar", "fa", "he", "ps", "sd", "ur", "yi")
"""Those that Whisper knows, by the names it gives them."""
WORD_JOINER = "\u2060"
SRT_MARKUP = re.compile(r"<|\\|--(?=>)|&(?=#?\w+;)|\d+:\d+:\d+(?=[,.:]\d)|^\d+$")
"""What players and editors could take for a tag, line break, entity, time or number of a cue: a joiner follows it."""
BRACES = str.maketrans("{}", "｛｝")
"""libass hides whatever stands between braces, a joiner too: only another character helps."""
INVALID_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Options:
    speakers: bool = True
    times: bool = True
    """For txt and docx only; the other formats always have times."""


@dataclass(frozen=True, slots=True)
class Export:
    name: str
    content_type: str
    content: bytes


def export(*, job: Job, format: str, options: Options) -> Export:  # noqa: A002  # the API's word
    """Export the transcript, complete or partial, as a file named after the recording."""
    content_type, write = _WRITERS[format]
    stem = PurePath(job.recording.name).stem or "transcript"
    segments = job.segments.all() if format in SUBTITLE_FORMATS else job.segments.defer("words")
    content = write(job, list(segments), options)
    return Export(f"{stem}.{format}", content_type, content)


def result(job: Job, segments: Sequence[Segment]) -> dict[str, object]:
    """The body of the API's result endpoint."""
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
            "\n".join(_embed(cue, map(_guard_srt, cue.lines))),
        )
        for index, cue in enumerate(cues, 1)
    ]
    return str(srt.compose(subtitles, reindex=False)).encode()


def _vtt(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    import webvtt

    document = webvtt.WebVTT()
    for cue in make_cues(segments):
        lines = _embed(cue, (html.escape(line, quote=False) for line in cue.lines))
        name = " ".join((cue.speaker or "").split())  # a line break would break the tag
        if options.speakers and name:
            lines[0] = f"<v {html.escape(name)}>{lines[0]}"
        start, end = display_time(cue.start / 1000), display_time(cue.end / 1000)
        document.captions.append(webvtt.Caption(start, end, lines))
    return str(document.content).encode()


def _guard_srt(line: str) -> str:
    """Have a line that looks like a part of the file's structure, or like a tag, shown as the text that it is."""
    return SRT_MARKUP.sub(rf"\g<0>{WORD_JOINER}", line).translate(BRACES)


def _embed(cue: Cue, lines: Iterable[str]) -> list[str]:
    return [embed(line, right_to_left=cue.is_right_to_left) for line in lines]


def _txt(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    text = "\n".join(
        embed(heading + text, right_to_left=is_right_to_left(text + heading))
        for heading, text in _paragraphs(segments, options)
    )
    return f"{text}\n".encode() if text else b""


def _csv(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["start", "end", *(["speaker"] if options.speakers else []), "text"])
    for segment in segments:
        speaker = [_escape_formula(segment.speaker or "")] if options.speakers else []
        times = [f"{segment.start:.3f}", f"{segment.end:.3f}"]
        writer.writerow([*times, *speaker, _escape_formula(segment.text)])
    return file.getvalue().encode("utf-8-sig")  # Excel recognizes UTF-8 by the byte order mark


def _json(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    return json.dumps(result(job, segments), ensure_ascii=False, indent=2).encode()


def _docx(job: Job, segments: Sequence[Segment], options: Options) -> bytes:
    from docx import Document

    document = Document()
    title = _remove_invalid_xml(job.recording.name)
    properties = document.core_properties  # python-docx sets its template's author and date
    properties.title, properties.author, properties.comments = title, "", ""
    properties.created = properties.modified = timezone.now()
    _add_text(document.add_heading(level=1), "", title, job.language)
    subtitle = [f"{job.created_at:%Y-%m-%d}", job.model_name]
    if job.recording.duration is not None:
        subtitle.insert(1, clock_time(job.recording.duration))
    document.add_paragraph(" · ".join(subtitle))
    for heading, text in _paragraphs(segments, options):
        _add_text(
            document.add_paragraph(),
            _remove_invalid_xml(heading),
            _remove_invalid_xml(text),
            job.language,
        )
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _add_text(paragraph: "Paragraph", heading: str, text: str, language: str) -> None:
    """Add a bold heading and a text, in runs of one direction: Word does not find out directions by itself."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    whole, right_to_left = heading + text, is_right_to_left(text + heading)
    if right_to_left:
        paragraph._p.get_or_add_pPr().append(OxmlElement("w:bidi"))
    begin = 0
    of_each = zip_longest([True] * len(heading), directions(whole, right_to_left=right_to_left))
    for (is_bold, is_rtl), group in groupby(of_each):
        end = begin + len(list(group))
        run = paragraph.add_run(whole[begin:end])
        run.bold = is_bold
        if is_rtl:
            run.font.rtl, run.font.cs_bold = True, is_bold
            if language in RIGHT_TO_LEFT_LANGUAGES:
                properties = run._r.get_or_add_rPr()
                properties.append(OxmlElement("w:lang", {qn("w:bidi"): language}))
        begin = end


def _paragraphs(segments: Sequence[Segment], options: Options) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) of each paragraph: a segment, or without times, consecutive segments of one speaker."""
    if options.times:
        for segment in segments:
            time = f"[{clock_time(segment.start)}] "
            yield time + _speaker_label(segment, options), segment.text
    elif options.speakers:
        for _, group in groupby(segments, key=lambda segment: segment.speaker):
            same_speaker = list(group)
            yield _speaker_label(same_speaker[0], options), full_text(same_speaker)
    elif segments:
        yield "", full_text(segments)


def _speaker_label(segment: Segment, options: Options) -> str:
    return f"{segment.speaker}: " if options.speakers and segment.speaker else ""


def _escape_formula(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_PREFIXES) else text


def _remove_invalid_xml(text: str) -> str:
    return INVALID_IN_XML.sub("", text)


_WRITERS: dict[str, tuple[str, Callable[[Job, Sequence[Segment], Options], bytes]]] = {
    "srt": ("application/x-subrip; charset=utf-8", _srt),
    "vtt": ("text/vtt; charset=utf-8", _vtt),
    "txt": ("text/plain; charset=utf-8", _txt),
    "json": ("application/json", _json),
    "docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", _docx),
    "csv": ("text/csv; charset=utf-8", _csv),
}
FORMATS = tuple(_WRITERS)
SUBTITLE_FORMATS = ("srt", "vtt")
"""Formats that need the times of words."""
