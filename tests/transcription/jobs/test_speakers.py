"""Segments get their speakers: split where the speaker changes, joined again when the speakers are found anew."""

import json
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.effort import cpu_seconds
from tests.rows import reload
from tests.transcription.builders import (
    Turns,
    add_chunk,
    add_segment,
    claim_diarization,
    commit_diarization,
    diarize_job,
    facts,
    ids,
    make_job,
    spoken,
)
from transcription.jobs import lifecycle
from transcription.models import Job, Leased, Segment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

ONE, TWO, THREE = "SPEAKER_1", "SPEAKER_2", "SPEAKER_3"
QUESTION = "How are you Fine thanks"
ALTERNATELY: Turns = [(0, 3, ONE), (3, 5, TWO), (5, 8, ONE)]


def test_a_segment_of_one_speaker_is_given_that_speaker_and_nothing_else_changes() -> None:
    job = make_job("How are you", "Fine thanks")
    before = [facts(segment) for segment in job.segments.all()]
    diarize_job(job, [(0, 3, ONE), (3, 5, TWO)])
    assert spoken(job) == [("How are you", ONE), ("Fine thanks", TWO)]
    assert [facts(segment) for segment in job.segments.all()] == before
    assert set(job.segments.values_list("phrase", "speaker_confidence")) == {(None, 1.0)}
    assert (reload(job).revision, reload(job).removed_segments) == (1, [])


def test_a_segment_is_split_where_the_speaker_changes() -> None:
    job = make_job(QUESTION, "Good to hear")
    first, second = ids(job)
    diarize_job(job, ALTERNATELY)
    question, answer, last = job.segments.all()
    assert [(s.start, s.end, s.text, s.speaker) for s in (question, answer, last)] == [
        (0.0, 3.0, "How are you", ONE),
        (3.0, 5.0, "Fine thanks", TWO),
        (5.0, 8.0, "Good to hear", ONE),
    ]
    assert (question.pk, last.pk) == (first, second)
    assert answer.pk > second
    assert (question.phrase, answer.phrase, last.phrase) == (first, first, None)
    assert [word["text"] for word in answer.words] == [" Fine", " thanks"]
    assert (answer.chunk_id, answer.avg_logprob) == (question.chunk_id, -0.25)
    assert (answer.no_speech_prob, answer.compression_ratio, answer.temperature) == (0.01, 1.5, 0.0)


def test_the_first_part_keeps_the_segments_start_and_the_last_its_end() -> None:
    job = make_job("Well", QUESTION)
    job.segments.filter(text=QUESTION).update(start=0.5, end=6.5)
    diarize_job(job, [(start + 1, end + 1, speaker) for start, end, speaker in ALTERNATELY])
    parts = list(job.segments.exclude(text="Well").values_list("start", "end"))
    assert parts == [(0.5, 4.0), (4.0, 6.5)]


def test_found_anew_with_fewer_speakers_the_parts_are_joined_again() -> None:
    job = make_job(QUESTION, "Good to hear")
    before = [facts(segment) for segment in job.segments.all()]
    diarize_job(job, ALTERNATELY)
    [_, part, _] = ids(job)
    diarize_job(job, [(0, 8, ONE)])
    assert [facts(segment) for segment in job.segments.all()] == before
    assert {speaker for _, speaker in spoken(job)} == {ONE}
    assert (reload(job).revision, reload(job).removed_segments) == (2, [part])


def test_found_anew_with_more_speakers_the_parts_that_are_there_are_used_again() -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    had = ids(job)
    diarize_job(job, [(0, 1, ONE), (1, 4, TWO), (4, 5, THREE)])
    assert spoken(job) == [("How", ONE), ("are you Fine", TWO), ("thanks", THREE)]
    assert ids(job)[:2] == had
    assert set(job.segments.values_list("phrase", flat=True)) == {had[0]}
    assert reload(job).removed_segments == []


def test_a_segment_id_is_never_given_twice() -> None:
    job = make_job(QUESTION)
    seen: set[int] = set()
    for n in range(1, 4):
        diarize_job(job, ALTERNATELY)
        seen |= set(ids(job)[1:])
        diarize_job(job, [(0, 5, ONE)])
        assert len(seen) == n
        assert set(reload(job).removed_segments) == seen


def test_what_is_the_same_is_neither_written_nor_told() -> None:
    job = make_job(QUESTION, "Good to hear")
    diarize_job(job, ALTERNATELY)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        diarize_job(job, ALTERNATELY)
    writes = [q["sql"] for q in queries if not q["sql"].startswith("SELECT")]
    assert not [sql for sql in writes if '"transcription_segment"' in sql]
    assert reload(job).revision == 1


def test_where_nobody_was_heard_the_speaker_is_null() -> None:
    job = make_job("Who is there")
    diarize_job(job, [(100, 101, ONE)])
    assert spoken(job) == [("Who is there", None)]
    assert reload(job).revision == 0


def test_an_edited_segment_stays_whole_and_has_the_speaker_who_says_most_of_it() -> None:
    job = make_job(QUESTION)
    job.segments.update(text="How are you? Fine, thank you.")
    diarize_job(job, ALTERNATELY)
    assert spoken(job) == [("How are you? Fine, thank you.", ONE)]
    assert job.segments.get().speaker_confidence == pytest.approx(0.6)
    assert job.segments.get().phrase is None


def test_a_segment_without_words_has_one_speaker() -> None:
    job = make_job(QUESTION)
    job.segments.update(words=[])
    diarize_job(job, ALTERNATELY)
    assert spoken(job) == [(QUESTION, ONE)]


def test_an_edited_part_is_not_joined_with_the_others() -> None:
    job = make_job("One two three")
    diarize_job(job, [(0, 1, ONE), (1, 2, TWO), (2, 3, ONE)])
    first, edited, last = ids(job)
    Segment.objects.filter(pk=edited).update(text="Too!")
    diarize_job(job, [(0, 3, ONE)])
    assert spoken(job) == [("One", ONE), ("Too!", ONE), ("three", ONE)]
    assert ids(job) == [first, edited, last]


def test_parts_on_both_sides_of_an_edited_one_stay_in_order() -> None:
    job = make_job("One two three four five")
    diarize_job(job, [(0, 2, ONE), (2, 3, TWO), (3, 5, ONE)])
    Segment.objects.filter(pk=ids(job)[1]).update(text="Free!")
    diarize_job(job, [(0, 1, ONE), (1, 4, TWO), (4, 5, ONE)])
    assert [text for text, _ in spoken(job)] == ["One", "two", "Free!", "four", "five"]
    diarize_job(job, [(0, 5, ONE)])
    assert [text for text, _ in spoken(job)] == ["One two", "Free!", "four five"]


def test_speakers_come_with_the_end_of_the_job() -> None:
    job = make_job(QUESTION)
    Job.objects.filter(pk=job.pk).update(language="en")
    chunk = add_chunk(job, 1, state=Leased.State.DOING)
    add_segment(chunk, "Good to hear", 5.0)
    commit_diarization(claim_diarization(), ALTERNATELY)
    assert reload(job).status == Job.Status.RUNNING
    assert {speaker for _, speaker in spoken(job)} == {None}
    job.chunks.update(state=Leased.State.DONE)
    lifecycle.advance(job.pk)
    assert reload(job).status == Job.Status.COMPLETED
    assert [speaker for _, speaker in spoken(job)] == [ONE, TWO, ONE]


@pytest.mark.embedded
@pytest.mark.slow
def test_ten_times_the_speech_is_attributed_with_ten_times_the_work() -> None:
    few, more = (attribution_seconds(n) for n in (500, 5_000))
    for seconds, more_seconds in zip(few, more, strict=True):
        assert more_seconds < 35 * seconds


def attribution_seconds(n: int) -> tuple[float, float]:
    """How long it takes to split `n` segments among two speakers, and to give all to one again."""
    job = make_job()
    chunk = job.chunks.get()
    text = " ".join(["word"] * 8)
    words = [{"start": n, "end": n + 0.9, "text": " word", "probability": 0.9} for n in range(8)]
    Segment.objects.bulk_create(
        Segment(
            job=job,
            chunk=chunk,
            start=8.0 * index,
            end=8.0 * index + 8,
            text=text,
            words=[
                {**w, "start": 8.0 * index + i, "end": 8.0 * index + i + 0.9}
                for i, w in enumerate(words)
            ],
        )
        for index in range(n)
    )
    turns = [(12.0 * k, 12.0 * k + 12, (ONE, TWO)[k % 2]) for k in range(2 * n // 3 + 1)]
    split = cpu_seconds(partial(diarize_job, job, turns), rounds=1)
    assert job.segments.count() > 1.2 * n
    assert json.loads(json.dumps(reload(job).removed_segments)) == []
    joined = cpu_seconds(partial(diarize_job, job, [(0, 8.0 * n, ONE)]), rounds=1)
    assert job.segments.count() == n
    return split, joined
