"""Transcripts as files: subtitles that can be read, and texts that come out as they went in."""

import csv
import io
import json
import random
import re
import unicodedata
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import av
import pysubs2
import pytest
import srt
import webvtt
from bidi import get_display
from django.test import Client
from django.utils import timezone
from docx import Document
from docx.text.paragraph import Paragraph

from tests.effort import cpu_seconds
from tests.transcription.builders import make_job
from transcription.models import Job, Segment
from transcription.transcript.subtitles import Cue, make_cues

pytestmark = pytest.mark.django_db

LONG = (
    "Four score and seven years ago our fathers brought forth, upon this continent, a new nation. "
)


@pytest.fixture
def job() -> Job:
    job = make_job(diarize=False)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.COMPLETED)
    job.recording.name = "Täglich, 3. Mai.m4a"
    job.recording.save()
    job.refresh_from_db()
    return job


def say(
    job: Job, start: float, text: str, *, speaker: str | None = None, seconds: float = 0.3
) -> Segment:
    """A segment whose words last `seconds` each."""
    words: list[dict[str, Any]] = [
        {
            "start": start + n * seconds,
            "end": start + (n + 1) * seconds,
            "text": f" {word}",
            "probability": 0.9,
        }
        for n, word in enumerate(text.split())
    ]
    return Segment.objects.create(
        job=job,
        chunk=job.chunks.get(),
        start=start,
        end=words[-1]["end"] if words else start + 1,
        text=text,
        words=words,
        speaker=speaker,
    )


def set_words(segment: Segment, *texts: str, seconds: float = 0.3) -> None:
    """The words as Whisper hears them, with or without a blank before each."""
    segment.words = [
        {
            "start": segment.start + n * seconds,
            "end": segment.start + (n + 1) * seconds,
            "text": text,
            "probability": 0.9,
        }
        for n, text in enumerate(texts)
    ]
    segment.text = "".join(texts).strip()
    segment.end = segment.words[-1]["end"]
    segment.save()


def exported(client: Client, job: Job, **query: str) -> bytes:
    answer = client.get(f"/api/transcribe/export/{job.pk}", query)
    assert answer.status_code == 200, answer.content
    return bytes(answer.content)


def width(line: str) -> int:
    return sum(
        1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in line
        if unicodedata.category(letter) not in ("Mn", "Me", "Cf")
    )


def check_limits(cues: list[Cue]) -> None:
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < width(line) <= 42 and line == line.strip() for line in cue.lines), cue
        assert 500 <= cue.end - cue.start <= 7000, cue
    assert all(one.end <= other.start for one, other in pairwise(cues))


# ---- Subtitles


def test_a_long_segment_becomes_cues_within_the_limits(job: Job) -> None:
    say(job, 0.0, LONG * 3, speaker="ANN")
    cues = make_cues(job.segments.all())
    check_limits(cues)
    assert " ".join(line for cue in cues for line in cue.lines) == (LONG * 3).strip()
    assert cues[0].lines[-1].endswith(",")
    assert cues[0].start == 0


def test_speakers_who_overlap_take_turns_in_order_of_time(job: Job) -> None:
    say(job, 0.0, " ".join(f"word{n}" for n in range(20)), speaker="ANN", seconds=1.0)
    for at in (3.0, 8.0, 14.0):
        say(job, at, f"yes{at:.0f}", speaker="BOB", seconds=0.6)
    cues = make_cues(job.segments.all(), with_names=True)
    check_limits(cues)
    for at in (3, 8, 14):
        [cue] = [cue for cue in cues if f"BOB: yes{at}" in " ".join(cue.lines)]
        assert abs(cue.start - 1000 * at) < 1000
    spoken = " ".join(line for cue in cues for line in cue.lines)
    assert spoken.count("ANN:") == 4
    assert [f"word{n}" in spoken.split() for n in range(20)] == [True] * 20


def test_cues_of_random_speech_are_within_the_limits_and_say_everything_once(job: Job) -> None:
    rng = random.Random(7)
    letters = "abcdefgh äöüß жчш 你好世界。 สวัสดี ,.!?-'{}<>&\\N\u200c\u200d\u00a0"
    said, at = [], 0.0
    for _ in range(200):
        words = [
            "".join(rng.choices(letters, k=rng.randint(1, 12))) for _ in range(rng.randint(1, 40))
        ]
        if rng.random() < 0.1:
            words.append("x" * rng.randint(43, 200))
        text = " ".join(" ".join(words).split())
        if not width(text):
            continue
        segment = say(
            job,
            at,
            text,
            speaker=rng.choice(["ANN", "BOB", None]),
            seconds=rng.choice([0.0, 0.2, 3.0, 9.0]),
        )
        said.append(text)
        at = segment.end - rng.choice([0.0, 0.0, 0.4]) + rng.choice([0.0, 2.5])
    for with_names in (False, True):
        check_limits(make_cues(job.segments.order_by("pk"), with_names=with_names))
    joined = "".join("".join(cue.lines) for cue in make_cues(job.segments.order_by("pk")))
    assert sorted("".join(joined.split())) == sorted("".join("".join(said).split()))


def test_no_cue_runs_across_a_change_of_speaker_or_a_long_pause(job: Job) -> None:
    say(job, 0.0, "Who comes?", speaker="ANN")
    say(job, 0.7, "A guest.", speaker="BOB")
    words: list[dict[str, Any]] = [
        {"start": 5.0, "end": 5.5, "text": " Well", "probability": 0.9},
        {"start": 9.0, "end": 9.5, "text": " then.", "probability": 0.9},
    ]
    last = say(job, 5.0, "Well then.", speaker="BOB")
    Segment.objects.filter(pk=last.pk).update(words=words, end=9.5)
    cues = make_cues(job.segments.all())
    assert [(cue.lines, cue.speaker) for cue in cues] == [
        (("Who comes?",), "ANN"),
        (("A guest.",), "BOB"),
        (("Well",), "BOB"),
        (("then.",), "BOB"),
    ]
    assert (cues[2].start, cues[2].end, cues[3].start) == (5000, 6000, 9000)


def test_a_cue_can_be_read_where_words_have_no_time_or_people_interrupt(job: Job) -> None:
    say(job, 0.0, LONG * 3, speaker="ANN")
    say(job, 5.0, "Yes.", speaker="BOB")
    say(job, 30.0, LONG * 3, speaker="ANN", seconds=0.0)
    cues = make_cues(job.segments.all())
    check_limits(cues)
    assert [cue.speaker for cue in cues].count("BOB") == 1


def test_an_edited_text_is_cut_at_the_times_of_the_words_that_were_heard(job: Job) -> None:
    segment = say(job, 0.0, LONG)
    Segment.objects.filter(pk=segment.pk).update(text=LONG.strip().replace("Four", "Fore"))
    first, second = make_cues(job.segments.all())
    assert " ".join(first.lines).startswith("Fore score")
    heard = {word["text"].strip(): word["start"] for word in segment.words}
    assert second.start == round(1000 * heard[second.lines[0].split()[0]])


def test_scripts_without_blanks_are_wrapped(job: Job) -> None:
    segment = say(job, 0.0, "我")
    text = "今天我们讨论一个很长的问题，它没有空格。" * 4
    words: list[dict[str, Any]] = [
        {
            "start": n * 0.2,
            "end": (n + 1) * 0.2,
            "text": text[2 * n : 2 * n + 2],
            "probability": 0.9,
        }
        for n in range(len(text) // 2)
    ]
    Segment.objects.filter(pk=segment.pk).update(text=text, words=words, end=words[-1]["end"])
    cues = make_cues(job.segments.all())
    check_limits(cues)
    assert "".join("".join(cue.lines) for cue in cues) == text


def test_what_belongs_to_a_word_stays_with_it(job: Job) -> None:
    segment = say(job, 0.0, "x")
    set_words(segment, *[" well", "-known", " 10", "%"] * 12)
    cues = make_cues(job.segments.all())
    check_limits(cues)
    shown = [word for cue in cues for line in cue.lines for word in line.split()]
    assert shown == ["well-known", "10%"] * 12


def test_no_line_begins_with_punctuation(job: Job) -> None:
    segment = say(job, 0.0, "x")
    two_full_lines = [*("今" * 21), "，", *("今" * 20)]
    set_words(segment, *two_full_lines, seconds=0.1)
    cues = make_cues(job.segments.all())
    check_limits(cues)
    assert not [line for cue in cues for line in cue.lines if line.startswith("，")]


@pytest.mark.parametrize("clause", ["He came home late,", "“He is home late,”"])
def test_a_line_ends_where_a_clause_does_rather_than_in_the_middle(job: Job, clause: str) -> None:
    say(job, 0.0, f"{clause} everybody in the house heard.")
    [cue] = make_cues(job.segments.all())
    assert cue.lines == (clause, "everybody in the house heard.")


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_control_characters_end_no_cue(client: Client, job: Job, kind: str) -> None:
    set_words(say(job, 0.0, "x"), " Who\x0b", "\n\ncomes", " so\u2028late?\x1c")
    read = pysubs2.SSAFile.from_string(exported(client, job, format=kind).decode())
    assert [one.plaintext for one in read] == ["Who comes so late?"]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_signs_that_join_letters_are_kept(client: Client, job: Job, kind: str) -> None:
    texts = ["می\u200cخواهم بروم", "👩\u200d👩\u200d👧 hi", "क्\u200dष", "10\u00a0km"]
    for n, text in enumerate(texts):
        set_words(say(job, 10.0 * n, "x"), f" {text}")
    read = pysubs2.SSAFile.from_string(exported(client, job, format=kind).decode())
    assert [re.sub("[\u202a-\u202c]", "", one.plaintext) for one in read] == texts


HOSTILE = [
    "{\\an8}top\\Nnew",
    "a <i>tag</i> & more",
    "1 --> 2",
    "<v Bob>I am Bob",
    "00:00:01.000 --> 00:00:02.000",
    "NOTE this",
]


def test_hostile_text_comes_out_of_parsers_as_it_went_in(client: Client, job: Job) -> None:
    for n, text in enumerate(HOSTILE):
        say(job, 10.0 * n, text)
    subtitles = list(srt.parse(exported(client, job, format="srt").decode()))
    assert [unguarded(one.content) for one in subtitles] == HOSTILE
    captions = webvtt.from_string(exported(client, job, format="vtt").decode()).captions
    assert len(captions) == len(HOSTILE)
    for caption, text in zip(captions, HOSTILE, strict=True):
        raw = " ".join(caption.raw_text.split())
        assert raw.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


def unguarded(content: str) -> str:
    """The text of an SRT cue without what keeps it from being taken for markup, in one line."""
    text = re.sub("[\u2060\u202a-\u202c]", "", content)
    return " ".join(text.replace("｛", "{").replace("｝", "}").split())


FRAGMENTS = [
    *("1", "42", "00:00:01,000", "1:02:03.4", "-->", "--", "->", ">", "<", "<i>", "</i>", "< b >"),
    *('<font color="red">', "<br>", "{\\an8}", "{\\pos(1,2)}", "{y:i}", "{", "}", "\\N", "\\h"),
    *("&lt;", "&amp;", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x1c", "\r", "\n", "\n\n"),
    *("word", "so", ",", "שלום", "X1:0", "WEBVTT", "\ufeff"),
]


def test_whatever_is_said_is_text_to_readers_of_srt(client: Client, job: Job) -> None:
    rng = random.Random(11)
    for n in range(300):
        text = "".join(
            rng.choice(FRAGMENTS) + rng.choice(["", " "]) for _ in range(rng.randint(1, 9))
        )
        set_words(say(job, 10.0 * n, "x", speaker=rng.choice([None, "<b>", "42\x0c{\\an8}"])), text)
    say(job, 3000.0, "x" * 40 + " 1234")
    cues = make_cues(job.segments.order_by("start"), with_names=True)
    assert cues[-1].lines[-1] == "1234", "a line that could be the number of the next cue"
    expected = [(cue.start, cue.end, " ".join(" ".join(cue.lines).split())) for cue in cues]
    assert len(expected) > 250
    file = exported(client, job, format="srt").decode()
    for reader in (read_by_srt, read_by_pysubs2, read_by_ffmpeg):
        read = [(start, end, unguarded(text)) for start, end, text in reader(file)]
        assert read == expected, reader.__name__


def read_by_srt(file: str) -> list[tuple[int, int, str]]:
    millisecond = timedelta(milliseconds=1)
    return [
        (one.start // millisecond, one.end // millisecond, one.content) for one in srt.parse(file)
    ]


def read_by_pysubs2(file: str) -> list[tuple[int, int, str]]:
    read = pysubs2.SSAFile.from_string(file, format_="srt")
    return [(one.start, one.end, one.plaintext) for one in read]


def read_by_ffmpeg(file: str) -> list[tuple[int, int, str]]:
    """What FFmpeg makes of it, as libass shows that: without what is in braces, with line breaks."""
    container: Any = av.open(io.BytesIO(file.encode()), format="srt")
    with container:
        return [
            (packet.pts, packet.pts + packet.duration, shown_by_libass(subtitle.ass.decode()))
            for packet in container.demux()
            for subtitle in packet.decode()
        ]


def shown_by_libass(event: str) -> str:
    text = event.split(",", 8)[8]
    return re.sub(r"\\[Nnh]", " ", re.sub(r"\{[^}]*\}", "", text))


def test_pysubs2_reads_the_same_cues(client: Client, job: Job) -> None:
    say(job, 0.0, LONG * 2, speaker="ANN")
    say(job, 30.0, "Yes.", speaker="BOB")
    cues = make_cues(job.segments.all(), with_names=True)
    for kind in ("srt", "vtt"):
        read = pysubs2.SSAFile.from_string(exported(client, job, format=kind).decode())
        assert len(read) == len(cues)
        assert all(event.start < event.end <= event.start + 7000 for event in read)
    read = pysubs2.SSAFile.from_string(exported(client, job, format="srt").decode())
    assert [(one.start, one.end, one.plaintext) for one in read] == [
        (cue.start, cue.end, "\n".join(cue.lines)) for cue in cues
    ]


def test_speakers_are_named_where_they_begin(client: Client, job: Job) -> None:
    say(job, 0.0, "Who comes?", speaker="ANN")
    say(job, 2.0, "Well?", speaker="ANN")
    say(job, 4.0, "A guest.", speaker="B<OB")
    subtitles = srt.parse(exported(client, job, format="srt").decode())
    assert [one.content for one in subtitles] == [
        "ANN: Who comes?",
        "Well?",
        "B<\u2060OB: A guest.",
    ]
    vtt = exported(client, job, format="vtt").decode()
    assert "<v ANN>Who comes?" in vtt
    assert "<v B&lt;OB>A guest." in vtt
    assert b"ANN" not in exported(client, job, format="srt", speakers="false")
    assert b"ANN" not in exported(client, job, format="vtt", speakers="false")


def test_a_name_is_apart_from_a_text_that_was_put_right(client: Client, job: Job) -> None:
    segment = say(job, 0.0, "Who comes?", speaker="ANN")
    Segment.objects.filter(pk=segment.pk).update(text="Who came?")
    [subtitle] = srt.parse(exported(client, job, format="srt").decode())
    assert subtitle.content == "ANN: Who came?"


def test_a_name_with_a_line_break_breaks_no_file(client: Client, job: Job) -> None:
    say(job, 0.0, "Who comes?", speaker="ANN\n\n00:00:05.000 --> 00:00:09.000\nBOB")
    [caption] = webvtt.from_string(exported(client, job, format="vtt").decode()).captions
    assert caption.text == "Who comes?"
    assert len(list(srt.parse(exported(client, job, format="srt").decode()))) == 1


# ---- Text from right to left


def shown(line: str, *, base: Literal["L", "R"] | None) -> str:
    """A line as it is displayed, from left to right, in a place of this direction; None: that of the line itself."""
    return re.sub("[\u202a-\u202c]", "", get_display(line, base_dir=base))


MIXED = [
    # speaker, text, and the line as it is shown
    ("Anna", "שלום.", ".םולש :Anna"),
    (None, "שלום.", ".םולש"),
    ("Anna", "אני ב-GPS, כן?", "?ןכ ,GPS-ב ינא :Anna"),
    ("דנה", "שלום לך!", "!ךל םולש :הנד"),
    ("Anna", "مرحبا 12 يوم.", ".موي 12 ابحرم :Anna"),
    ("דנה", "Hello, שלום.", "הנד: Hello, םולש."),
    ("Anna", "Hello.", "Anna: Hello."),
    ("דנה", "42.", ".42 :הנד"),
]


@pytest.mark.parametrize("base", ["L", "R", None])
def test_names_and_punctuation_are_where_the_text_has_them(
    client: Client, job: Job, base: Literal["L", "R"] | None
) -> None:
    for n, (speaker, text, _) in enumerate(MIXED):
        say(job, 10.0 * n, text, speaker=speaker)
    srt_lines = [one.content for one in srt.parse(exported(client, job, format="srt").decode())]
    txt = exported(client, job, format="txt", times="false").decode().splitlines()
    for line, (_, _, expected) in zip(srt_lines, MIXED, strict=True):
        if expected.isascii():
            assert line == expected
        else:
            assert shown(line, base=base) == expected
    assert txt == srt_lines


def test_each_line_of_a_cue_has_the_direction_of_its_text(client: Client, job: Job) -> None:
    said = "אמרתי לו שיחפש את זה בגוגל, WhatsApp לא יעזור לו הפעם!"
    say(job, 0.0, said, speaker="Anna")
    [subtitle] = srt.parse(exported(client, job, format="srt").decode())
    first, second = subtitle.content.split("\n")
    for base in ("L", None):
        assert shown(first, base=base).endswith(" :Anna")
        assert shown(second, base=base).startswith("!")
    [caption] = webvtt.from_string(exported(client, job, format="vtt").decode()).captions
    assert caption.voice == "Anna"
    assert [shown(line, base="L")[0] for line in caption.text.split("\n")][-1] == "!"
    text = re.sub("[\u202a-\u202c\n]", " ", caption.text)
    assert " ".join(text.split()) == said


def test_a_time_stands_where_its_line_begins(client: Client, job: Job) -> None:
    say(job, 62.0, "שלום.", speaker="Anna")
    line = exported(client, job, format="txt").decode().rstrip("\n")
    for base in ("L", "R", None):
        # Players mirror the brackets; python-bidi does not.
        assert shown(line, base=base) == ".םולש :Anna ]00:01:02["


def test_data_have_no_marks(client: Client, job: Job) -> None:
    say(job, 0.0, "שלום.", speaker="Anna")
    rows = list(csv.reader(io.StringIO(exported(client, job, format="csv").decode("utf-8-sig"))))
    assert rows[1][2:] == ["Anna", "שלום."]
    assert json.loads(exported(client, job, format="json"))["text"] == "שלום."


def test_a_document_says_which_of_its_text_is_from_right_to_left(client: Client, job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(language="he")
    job.recording.name = "ראיון 3.m4a"
    job.recording.save()
    say(job, 0.0, "אני ב-GPS Pro 2, כן?", speaker="Anna")
    say(job, 10.0, "He said שלום to me.", speaker="Anna")
    say(job, 20.0, "Hello.", speaker="Anna")
    title, _, hebrew, mixed, english = Document(
        io.BytesIO(exported(client, job, format="docx"))
    ).paragraphs
    assert [is_bidi(one) for one in (title, hebrew, mixed, english)] == [True, True, False, False]
    assert [(run.text, bool(run.font.rtl)) for run in title.runs] == [
        ("ראיון 3.", True),
        ("m4a", False),
    ]
    assert [(run.text, bool(run.font.rtl), bool(run.bold)) for run in hebrew.runs] == [
        ("[00:00:00] ", True, True),
        ("Anna", False, True),
        (": ", True, True),
        ("אני ב-", True, False),
        ("GPS Pro 2", False, False),
        (", כן?", True, False),
    ]
    assert [(run.text, bool(run.font.rtl)) for run in mixed.runs] == [
        ("[00:00:10] Anna: ", False),
        ("He said ", False),
        ("שלום", True),
        (" to me.", False),
    ]
    assert [(run.text, bool(run.font.rtl)) for run in english.runs] == [
        ("[00:00:20] Anna: ", False),
        ("Hello.", False),
    ]
    first = hebrew.runs[0]
    assert first.font.cs_bold
    assert first._r.xpath("w:rPr/w:lang/@w:bidi") == ["he"]
    assert not hebrew.runs[1]._r.xpath("w:rPr/w:rtl | w:rPr/w:lang")


def is_bidi(paragraph: Paragraph) -> bool:
    return bool(paragraph._p.xpath("w:pPr/w:bidi"))


# ---- Texts


def test_text_has_speakers_and_times_as_they_are_wanted(client: Client, job: Job) -> None:
    say(job, 0.0, "Who comes?", speaker="ANN")
    say(job, 62.0, "Well?", speaker="ANN")
    say(job, 64.0, "A guest.", speaker="BOB")
    assert exported(client, job, format="txt").decode() == (
        "[00:00:00] ANN: Who comes?\n[00:01:02] ANN: Well?\n[00:01:04] BOB: A guest.\n"
    )
    without_times = exported(client, job, format="txt", times="false").decode()
    assert without_times == "ANN: Who comes? Well?\nBOB: A guest.\n"
    bare = exported(client, job, format="txt", times="false", speakers="false").decode()
    assert bare == "Who comes? Well? A guest.\n"


def test_a_table_is_no_formula(client: Client, job: Job) -> None:
    say(job, 0.0, '=HYPERLINK("x") "quoted", ä', speaker="@ANN")
    content = exported(client, job, format="csv")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert content.startswith(b"\xef\xbb\xbf")
    assert rows == [
        ["start", "end", "speaker", "text"],
        ["0.000", "0.900", "'@ANN", '\'=HYPERLINK("x") "quoted", ä'],
    ]


def test_a_document_can_be_opened(client: Client, job: Job) -> None:
    say(job, 0.0, "Who \x0bcomes? <&>", speaker="ANN")
    document = Document(io.BytesIO(exported(client, job, format="docx")))
    assert document.paragraphs[0].text == "Täglich, 3. Mai.m4a"
    assert document.paragraphs[-1].text == "[00:00:00] ANN: Who comes? <&>"
    assert document.paragraphs[-1].runs[0].bold
    properties = document.core_properties
    assert (properties.title, properties.author) == ("Täglich, 3. Mai.m4a", "")
    assert properties.created is not None
    assert properties.created.date() == timezone.now().date()


def test_json_is_the_result(client: Client, job: Job) -> None:
    say(job, 0.0, "Who comes?", speaker="ANN")
    result = client.get(f"/api/transcribe/result/{job.pk}").json()
    assert json.loads(exported(client, job, format="json")) == result


@pytest.mark.parametrize("kind", ["srt", "vtt", "txt", "json", "docx", "csv"])
def test_a_transcript_without_speech_can_be_exported(client: Client, job: Job, kind: str) -> None:
    assert isinstance(exported(client, job, format=kind), bytes)


# ---- Requests


def test_a_download_has_the_recordings_name(client: Client, job: Job) -> None:
    answer = client.get(f"/api/transcribe/export/{job.pk}?format=vtt")
    assert answer["Content-Type"] == "text/vtt; charset=utf-8"
    assert answer["Content-Disposition"] == (
        "attachment; filename*=utf-8''T%C3%A4glich%2C%203.%20Mai.vtt"
    )


def test_whoever_accepts_only_the_files_type_gets_it(client: Client, job: Job) -> None:
    say(job, 0.0, "Who comes?")
    url = f"/api/transcribe/export/{job.pk}"
    answer = client.get(f"{url}?format=vtt", HTTP_ACCEPT="text/vtt")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/vtt; charset=utf-8")
    refused = client.get(f"{url}?format=pdf", HTTP_ACCEPT="text/vtt")
    assert (refused.status_code, refused["Content-Type"]) == (400, "application/json")


def test_unknown_formats_and_jobs_are_refused(client: Client, job: Job) -> None:
    answer = client.get(f"/api/transcribe/export/{job.pk}?format=pdf")
    assert answer.status_code == 400
    assert answer.json()["detail"] == (
        "format: Unknown format. The formats are srt, vtt, txt, json, docx, csv."
    )
    without = client.get(f"/api/transcribe/export/{job.pk}")
    assert without.status_code == 400
    assert "The formats are srt, vtt, txt, json, docx, csv." in without.json()["detail"]
    assert client.get("/api/transcribe/export/nothing?format=srt").status_code == 404


def test_a_job_that_is_not_completed_is_exported_as_far_as_it_is_wanted(
    client: Client, job: Job
) -> None:
    say(job, 0.0, "Who comes?")
    url = f"/api/transcribe/export/{job.pk}?format=txt"
    for status, code in ((Job.Status.RUNNING, 202), (Job.Status.FAILED, 409)):
        Job.objects.filter(pk=job.pk).update(status=status)
        assert client.get(url).status_code == code
        assert client.get(f"{url}&partial=true").content == b"[00:00:00] Who comes?\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "texts",
    [[" word"] * 10, [" größer"] * 10, [*[" слово"] * 9, " " + "ж" * 60], ["你好世"] * 10],
    ids=["ascii", "latin", "cyrillic", "chinese"],
)
def test_ten_times_the_segments_are_exported_with_ten_times_the_work(
    client: Client, job: Job, texts: list[str]
) -> None:
    words: list[dict[str, Any]] = [
        {"start": n * 0.2, "end": (n + 1) * 0.2, "text": text, "probability": 0.9}
        for n, text in enumerate(texts)
    ]
    seconds: dict[str, list[float]] = {"srt": [], "docx": []}
    n_there = 0
    for n_segments in (500, 5000):
        Segment.objects.bulk_create(
            Segment(
                job=job,
                chunk=job.chunks.get(),
                start=n * 2.0,
                end=n * 2.0 + 2,
                text="".join(texts).strip(),
                words=[
                    {**word, "start": word["start"] + n * 2, "end": word["end"] + n * 2}
                    for word in words
                ],
            )
            for n in range(n_there, n_segments)
        )
        n_there = n_segments
        for kind, spent in seconds.items():
            spent.append(cpu_seconds(partial(exported, client, job, format=kind), rounds=2))
    for few, more in seconds.values():
        assert more < 35 * few
