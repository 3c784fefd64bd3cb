"""Jobs are found by what was said in them and by their recordings' names, and the passages are shown."""

import random
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import accumulate
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.transcription.builders import make_ended_job
from transcription.editing import changes
from transcription.jobs import retry_and_delete
from transcription.models import Job, Segment
from transcription.transcript import search
from transcription.transcript.search import Excerpt, excerpts, find_jobs

pytestmark = [pytest.mark.django_db, pytest.mark.both]
folds_diacritics = connection.vendor == "sqlite"
SPEECH = "And so, my fellow Americans, ask not what your country can do for you"


def make_job(
    *texts: str, name: str = "a.flac", status: Job.Status = Job.Status.COMPLETED, age: int = 0
) -> Job:
    """A job with a segment for each text, made so many minutes ago."""
    job = make_ended_job(*texts, name=name, status=status)
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=age))
    return job


def finds(text: str) -> bool:
    return find_jobs(text=text).exists()


def passages(text: str, job: Job, each: int = 3) -> list[Excerpt]:
    return excerpts(text=text, jobs=[job], each=each)[job.pk]


def whole(excerpt: Excerpt) -> str:
    return "".join(text for text, _ in excerpt.parts)


def hits(excerpt: Excerpt) -> list[str]:
    return [text for text, is_hit in excerpt.parts if is_hit]


def check_index() -> None:
    """SQLite compares the index with all that the rows say, and raises; PostgreSQL has no other truth than its rows."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {search.INDEX_NAME} ({search.INDEX_NAME}, rank) VALUES ('integrity-check', 1)"
            )


# ---- What is found


@pytest.mark.parametrize(
    "text",
    [
        "country",
        "COUNTRY",
        "americans,",
        "you ask",
        "country americans",
        "  fellow\tmy \n so ",
        '"country"',
        "not (what)",
        "AND ask",
        "👍 country",
        "- country",
    ],
)
def test_a_job_is_found_by_words_of_one_segment_in_any_order(text: str) -> None:
    job = make_job("Good morning", SPEECH)
    make_job("Good morning", "What a day")
    assert list(find_jobs(text=text)) == [job]


@pytest.mark.parametrize(
    "text", ["ountry", "country morning", "mericans", "ask country dog", "countryy"]
)
def test_what_no_segment_holds_is_not_found(text: str) -> None:
    make_job("Good morning", SPEECH)
    assert not finds(text)


def test_the_last_word_may_be_the_beginning_of_one_and_no_other() -> None:
    make_job(SPEECH)
    assert finds("fell")
    assert finds("americans c")
    assert not finds("c americans")
    assert not finds("fell americans")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("don't", "I don't know"),
        ("state-of-the-art", "a state-of-the-art thing"),
        ("art thing", "a state-of-the-art thing"),
        ("3.5", "version 3.5 is out"),
        ("o'neill said", "Mrs. O'Neill, as I said"),
        (r"c:\temp", r"look in C:\temp please"),
        ("user@example.org", "mail user@example.org now"),
        ("rock'n'roll", "it is rock'n'roll"),
        ("snake_case", "in snake_case here"),
    ],
)
def test_words_with_punctuation_in_them_are_found(text: str, said: str) -> None:
    job = make_job(said)
    assert finds(text)
    assert hits(passages(text, job)[0])
    assert not finds(f"{text} elsewhere")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("über", "Wir reden ÜBER alles"),
        ("u\u0308ber", "Wir reden über alles"),
        ("привет", "Привет, мир"),
        ("ΚΑΛΗ", "καλη μέρα"),
        ("हिन्दी", "यह हिन्दी है"),
        ("العربية", "اللغة العربية جميلة"),
        ("한국", "저는 한국어를 공부해요"),
    ],
)
def test_words_of_any_alphabet_are_found_in_any_case(text: str, said: str) -> None:
    job = make_job(said)
    assert finds(text)
    [excerpt] = passages(text, job)
    assert len(hits(excerpt)) == 1
    assert whole(excerpt) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [("muller", "Herr Müller"), ("müller", "Mr Muller"), ("cafe", "un café"), ("Ăn", "an apple")],
)
def test_diacritics_make_no_difference_in_the_embedded_database(text: str, said: str) -> None:
    job = make_job(said)
    assert finds(text) == folds_diacritics
    assert [hits(excerpt) for excerpt in passages(text, job)] == (
        [[word for word in said.split() if word not in ("Herr", "Mr", "un", "apple")]]
        if folds_diacritics
        else []
    )


@pytest.mark.parametrize(
    ("text", "said", "marked"),
    [
        ("天气", "今天天气很好", ["天气"]),
        ("天气 今天", "今天天气很好", ["今天", "天气"]),
        ("がく", "わたしはだいがくせいです", ["がく"]),
        ("カメ", "このカメラは高い", ["カメ"]),
        ("ภาษา", "ฉันพูดภาษาไทย", ["ภาษา"]),
        ("gpt 模型", "我们用GPT大模型", ["GPT", "模型"]),
        ("𠮷野", "昨日𠮷野家で食べた", ["𠮷野"]),
    ],
)
def test_parts_of_a_text_without_blanks_are_found(text: str, said: str, marked: list[str]) -> None:
    job = make_job(said)
    make_job("明日は雨です")
    assert list(find_jobs(text=text)) == [job]
    [excerpt] = passages(text, job)
    assert hits(excerpt) == marked
    assert whole(excerpt) == said


# ---- Names, order, filters


@pytest.mark.parametrize("text", ["2026-11", "TEAM meeting", "Überblick", "überblick", ".m4a", "%"])
def test_a_job_is_found_by_a_part_of_its_recordings_name(text: str) -> None:
    job = make_job("Good morning", name="2026-11 Team meeting, 100 % ÜBERBLICK.m4a")
    make_job("Good morning", name="other.flac")
    assert list(find_jobs(text=text)) == [job]
    assert passages(text, job) == []


def test_a_name_that_was_stored_decomposed_is_found() -> None:
    make_job("Good morning", name="Mu\u0308ller.wav")
    assert finds("Müller")
    assert finds("mu\u0308ller")
    assert not finds("Müllers")


@pytest.mark.parametrize("text", ["_", ".*", "a|b", "[a-z]", "^a", "$", "\\", "?", "(?i)a"])
def test_a_name_is_looked_for_as_it_is_typed(text: str) -> None:
    make_job("Good morning", name="a-b")
    assert not finds(text)
    make_job("Good morning", name=f"x{text}y")
    assert finds(text)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_text_finds_all_jobs_and_no_passages(text: str) -> None:
    job = make_job(SPEECH)
    make_job()
    assert find_jobs(text=text).count() == 2
    assert passages(text, job) == []


@pytest.mark.parametrize("text", ["", "country", ".flac"])
def test_jobs_are_found_newest_first(text: str) -> None:
    ages = [3, 1, 2]
    by_age = {age: make_job(SPEECH, SPEECH, age=age) for age in ages}
    assert list(find_jobs(text=text)) == [by_age[age] for age in sorted(ages)]


@pytest.mark.parametrize("text", ["", "country", ".flac"])
def test_what_is_found_can_be_filtered_further(text: str) -> None:
    jobs = {status: make_job(SPEECH, status=status) for status in Job.Status}
    for status, job in jobs.items():
        assert list(find_jobs(text=text).filter(status=status)) == [job]
    assert find_jobs(text=text).count() == len(jobs)


# ---- What people, and others, type


HOSTILE = [
    *("'", '"', '""', '"""', "*", "-", "--", ":", "::", "(", ")", "()", "^", "\\", "\\'", "&"),
    *("|", "!", "!!", "<->", "& |", "{", "}", "[", "+", ";", "/*", "$$", "…", "。", "👍", "\x01"),
    *("\0\0'", "text:zebra", "-zebra", "NEAR(zebra yak, 2)", "zebra OR", "NOT zebra", "AND", "OR"),
    *("zebra*", "^zebra", "zebra:*", "zebra & yak", "zebra\0yak", '"zebra', "zebra'", "zebra\\"),
    *("'); DROP TABLE transcription_segment; --", "zebra <-> yak", "!zebra", "\ud800", "%s", "%"),
    *("zebra" * 2000, "z " * 5000, '"' * 10_000, "'" * 10_000, "\\" * 10_000, "(" * 10_000),
    *("* " * 5000, "天" * 10_000, "天 " * 5000, "\0" * 9999 + "'", "\u0301" * 10_000, "\U0001e900"),
    " ".join(chr(0x4E00 + index) for index in range(5000)),
    " ".join(chr(0x100 + index) for index in range(5000)),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_no_text_does_harm(text: str) -> None:
    job = make_job("Good morning", name="a.flac")
    assert list(find_jobs(text=text)) == []
    assert find_jobs(text=text).filter(status="completed").count() == 0
    assert passages(text, job) == []
    assert Segment.objects.count() == 1


def test_a_long_text_is_found_by_its_beginning() -> None:
    said = " ".join(f"word{index}" for index in range(300))
    job = make_job(said)
    assert finds(said)
    assert passages(said, job)[0].parts[0] == ("word0", True)
    assert not finds(said[:300] + " elsewhere")


# ---- The index keeps in step


def test_a_text_that_is_put_right_is_found_and_the_old_one_is_not() -> None:
    segment = make_job("Good morning", "the zebra").segments.get(text="the zebra")
    Segment.objects.filter(pk=segment.pk).update(text="the yak")
    assert (finds("zebra"), finds("yak")) == (False, True)
    segment.text = "the gnu"
    segment.save()
    assert (finds("yak"), finds("gnu")) == (False, True)
    segment.text = "the emu"
    Segment.objects.bulk_update([segment], ["text"])
    assert (finds("gnu"), finds("emu")) == (False, True)
    check_index()


def test_segments_that_are_split_anew_are_found_as_they_are_now() -> None:
    job = make_job("the zebra", "Good morning")
    first, second = job.segments.all()
    changes._upsert(
        ["speaker", "text"],
        {
            first.pk: {"speaker": None, "text": "the yak"},
            second.pk: {"speaker": "SPEAKER_1", "text": "Good morning"},
        },
    )
    assert (finds("zebra"), finds("yak"), finds("morning")) == (False, True, True)
    assert job.segments.get(pk=second.pk).speaker == "SPEAKER_1"
    check_index()


def test_removed_segments_are_found_no_more() -> None:
    job = make_job("the zebra", "the yak", "the gnu")
    job.segments.get(text="the zebra").delete()
    job.segments.filter(text="the yak").delete()
    assert (finds("zebra"), finds("yak"), finds("gnu")) == (False, False, True)
    check_index()


@pytest.mark.parametrize("end", [retry_and_delete.rerun, retry_and_delete.delete_job])
def test_a_job_that_is_done_again_or_deleted_is_found_no_more(end: Any) -> None:
    job, other = make_job("the zebra"), make_job("the zebra")
    assert end(job_id=job.pk)
    assert list(find_jobs(text="zebra")) == [other]
    check_index()


def test_what_is_rolled_back_is_not_found() -> None:
    job = make_job("the zebra")
    with transaction.atomic():
        job.segments.update(text="the yak")
        assert finds("yak")
        transaction.set_rollback(True)
    assert (finds("zebra"), finds("yak")) == (True, False)
    check_index()


def test_an_index_that_is_there_is_left_alone() -> None:
    with CaptureQueriesContext(connection) as queries:
        search.ensure_index()
    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert statements
    assert all(statement.lstrip().startswith("SELECT") for statement in statements)


@pytest.fixture
def remade_table() -> Iterator[None]:
    """The segments' table as it is after a migration that changed one of its columns."""
    _change_speaker(120)
    try:
        yield
    finally:
        _change_speaker(100)
        search.ensure_index()


def _change_speaker(max_length: int) -> None:
    new = models.CharField(max_length=max_length, null=True, blank=True)
    new.set_attributes_from_name("speaker")
    with connection.schema_editor() as editor:
        editor.alter_field(Segment, Segment._meta.get_field("speaker"), new, strict=False)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL changes tables in place")
@pytest.mark.django_db(transaction=True)
def test_migrating_restores_the_index_of_a_table_that_was_made_anew(remade_table: None) -> None:
    job = make_job("the zebra", "the yak")
    job.segments.filter(text="the yak").update(text="the gnu")
    assert not finds("zebra"), "the triggers are there: nothing is tested"
    call_command("migrate", verbosity=0)
    assert (finds("zebra"), finds("yak"), finds("gnu")) == (True, False, True)
    job.segments.update(text="the emu")
    assert (finds("zebra"), finds("emu")) == (False, True)
    check_index()


# ---- Excerpts


def test_excerpts_are_the_first_passages_of_each_job_in_order_of_time() -> None:
    job = make_job("one zebra", "nothing", "two zebras", "three zebras", "four zebras")
    other, without = make_job("a zebra"), make_job("nothing", name="zebra.wav")
    Segment.objects.filter(text="four zebras").update(start=0.5)
    found = excerpts(text="zebra", jobs=[without, other, job])
    assert [whole(excerpt) for excerpt in found[job.pk]] == [
        "one zebra",
        "four zebras",
        "two zebras",
    ]
    assert [whole(excerpt) for excerpt in found[other.pk]] == ["a zebra"]
    assert found[without.pk] == []
    first = found[job.pk][1]
    assert (first.segment_id, first.start) == (Segment.objects.get(text="four zebras").pk, 0.5)
    assert first.parts == (("four ", False), ("zebras", True))
    assert len(passages("zebra", job, each=1)) == 1


def test_every_hit_is_marked_and_nothing_else() -> None:
    job = make_job("Zebra, zebras: the ZEBRA's zebrafish & a subzebra")
    assert hits(passages("the zebra", job)[0]) == ["Zebra", "zebras", "the", "ZEBRA", "zebrafish"]
    assert hits(passages("zebra the", job)[0]) == ["Zebra", "the", "ZEBRA"]


def test_markup_and_decomposed_letters_come_back_as_they_are() -> None:
    said = "<b>Zebra</b> & Mu\u0308ller"
    [excerpt] = passages("zebra mu\u0308ller" if folds_diacritics else "zebra", make_job(said))
    assert whole(excerpt) == said
    assert hits(excerpt) == ["Zebra", "Mu\u0308ller"][: 1 + folds_diacritics]


def test_a_long_text_is_shortened_around_its_first_hit() -> None:
    words = [f"word{index}" for index in range(400)]
    words[200] = "zebra"
    [excerpt] = passages("zebra", make_job(" ".join(words)))
    shown = whole(excerpt)
    assert hits(excerpt) == ["zebra"]
    assert shown[0] == shown[-1] == "…"
    assert len(shown) <= search.EXCERPT_LENGTH + 2
    assert set(shown.strip("…").split()) <= set(words)
    assert "word199" in shown


def test_a_long_text_without_blanks_is_shortened_too() -> None:
    [excerpt] = passages("天气", make_job("好" * 500 + "天气" + "好" * 500))
    assert hits(excerpt) == ["天气"]
    assert 100 < len(whole(excerpt)) <= search.EXCERPT_LENGTH + 2


def test_a_long_text_with_many_hits_is_no_longer_for_it() -> None:
    [excerpt] = passages("zebra", make_job("a zebra " * 100))
    assert 10 < len(hits(excerpt)) < 30
    assert len(whole(excerpt)) <= search.EXCERPT_LENGTH + 2


@pytest.mark.parametrize("at", [0, 399])
def test_a_hit_at_either_end_of_a_long_text_is_shown(at: int) -> None:
    words = [f"word{index}" for index in range(400)]
    words[at] = "zebra"
    [excerpt] = passages("zebra", make_job(" ".join(words)))
    assert hits(excerpt) == ["zebra"]
    assert [excerpt.parts[0][1], excerpt.parts[-1][1]] == [at == 0, at == 399]


# ---- What it costs


def test_a_page_costs_two_queries_however_many_jobs_there_are() -> None:
    for index in range(12):
        make_job("the zebra", name=f"{index}.flac")
    with CaptureQueriesContext(connection) as queries:
        jobs = find_jobs(text="zebra")
    assert len(queries) == 0
    with CaptureQueriesContext(connection) as queries:
        page = list(jobs[:10])
        assert [job.recording.name for job in page] == [
            f"{index}.flac" for index in range(11, 1, -1)
        ]
        assert all(excerpts(text="zebra", jobs=page).values())
    assert len(queries) == 2


def test_without_jobs_or_words_excerpts_cost_nothing() -> None:
    job = make_job("the zebra")
    with CaptureQueriesContext(connection) as queries:
        assert excerpts(text="zebra", jobs=[]) == {}
        assert excerpts(text="", jobs=[job]) == {job.pk: []}
    assert len(queries) == 0


@pytest.mark.slow
def test_in_ten_times_the_segments_a_page_is_found_in_ten_times_the_time_at_most() -> None:
    said = add_jobs(n_jobs=100, n_segments=1000)
    assert Segment.objects.count() == 100_000
    common, rare = said[0], said[-1]
    texts = (common, common[:1], rare, f"{common} {rare[:-1]}", "zzzzzz", "天气")
    more = [min(look(text) for _ in range(5)) for text in texts]
    kept = Segment.objects.get(text=f"{common} {rare}").job_id
    Job.objects.filter(pk__in=Job.objects.exclude(pk=kept).values("pk")[:90]).delete()
    assert Segment.objects.count() == 10_000
    for text, (seconds, count) in zip(texts, more, strict=True):
        fewer_seconds, fewer = min(look(text) for _ in range(5))
        assert (count > 0) == (fewer > 0) == (text not in ("zzzzzz", "天气"))
        assert seconds < 20 * fewer_seconds, text


def look(text: str) -> tuple[float, int]:
    """How long it takes to find a page of jobs with their passages, and how many jobs there are in all."""
    began = time.perf_counter()
    found = find_jobs(text=text)
    count, page = found.count(), list(found[:20])
    shown = excerpts(text=text, jobs=page)
    assert all(shown[job.pk] for job in page)
    return time.perf_counter() - began, count


def add_jobs(*, n_jobs: int, n_segments: int) -> Sequence[str]:
    """Jobs that all say the same, in words as languages have them: few of them often. Returns the words.

    The first is the commonest, the last is said once.
    """
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxy", k=6)) for _ in range(20_000)]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(words))))
    chunk, *_ = [make_job().chunks.get() for _ in range(n_jobs)]
    Segment.objects.bulk_create(
        Segment(
            job_id=chunk.job_id,
            chunk=chunk,
            start=start,
            end=start + 1,
            text=" ".join(rng.choices(words[:-1], cum_weights=weights[:-1], k=10)),
        )
        for start in range(n_segments)
    )
    with connection.cursor() as cursor:  # a row each by way of Python takes ten times as long
        cursor.execute(
            """INSERT INTO transcription_segment (job_id, chunk_id, start, "end", text, words)
            SELECT chunk.job_id, chunk.id, segment.start, segment."end", text, words
            FROM transcription_chunk chunk, transcription_segment segment
            WHERE chunk.job_id <> segment.job_id"""
        )
    chunk.segments.filter(start=0).update(text=f"{words[0]} {words[-1]}")
    return words
