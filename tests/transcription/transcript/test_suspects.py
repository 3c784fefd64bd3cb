"""What a person should look at in a transcript is found, with the reason, and clean speech is left alone."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from tests import UNKNOWN_ID, media
from tests.effort import cpu_seconds
from tests.service import Service
from tests.transcription.builders import add_segment, make_ended_job
from transcription.jobs import lifecycle, prepare, transcribe
from transcription.models import Chunk, Job, Recording, Segment
from transcription.transcript.suspects import Suspect, find_suspects

SENTENCE = "the quick brown fox jumps over a lazy dog near the old mill"
OTHER = "we sailed at dawn with fair wind and saw no land for weeks"
STATUS_PATH = "/api/transcribe/suspects"


def make_job(*texts: str, status: Job.Status = Job.Status.COMPLETED) -> Job:
    """A job with a segment for each text, one after the other, a word a second, all of it speech."""
    job = make_ended_job(*texts, status=status)
    hear(job, (0.0, sum(len(text.split()) for text in texts)))
    return job


def hear(job: Job, *speech: tuple[float, float]) -> None:
    Chunk.objects.filter(job=job).update(speech=[list(span) for span in speech])


def found(job: Job) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (suspect.segment.text if suspect.segment else "", suspect.reasons)
        for suspect in find_suspects(job=job)
    ]


# ---- A real recording


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_planted_flaws_are_found_and_nothing_else(audio_dir: Path, tmp_path: Path) -> None:
    reading = media.samples_of(audio_dir / "reading-10min.flac")
    clean, removed = reading[: 24 * media.RATE], reading[48 * media.RATE : 60 * media.RATE]
    looped = reading[60 * media.RATE : 100 * media.RATE]
    planted = [clean, media.noise(10), looped, media.silence(2), removed]
    ends = np.cumsum([len(samples) for samples in planted]) / media.RATE
    noise, loop, lost = (ends[0], ends[1]), (ends[1], ends[2]), (ends[3], ends[4])
    with override_settings(MEDIA_ROOT=tmp_path):
        job = transcribed(media.write(tmp_path / "planted.wav", np.concatenate(planted)))
    assert job.segments.filter(end__lt=noise[0]).count() >= 3
    assert job.segments.filter(start__gt=lost[0] - 0.3).delete()[0] >= 1
    invented = Segment.objects.create(
        job=job,
        chunk=job.chunks.all()[0],
        start=noise[0] + 3,
        end=noise[0] + 5,
        text="Thank you.",
        words=[],
    )

    in_the_loop = job.segments.filter(start__gt=loop[0] - 0.5, end__lt=loop[1] + 0.5)
    n_looped = in_the_loop.exclude(pk=invented.pk).update(text=f" {SENTENCE}", words=[])
    assert n_looped >= 6

    suspects = find_suspects(job=job)
    in_noise = [s for s in suspects if s.segment == invented]
    assert [s.reasons for s in in_noise] == [("text_in_silence",)]
    in_loop = [s for s in suspects if loop[0] - 0.5 < s.start < s.end < loop[1] + 0.5]
    assert len([s for s in in_loop if "repetition" in s.reasons]) == n_looped
    assert sum(s.end - s.start for s in in_loop) > 0.6 * (loop[1] - loop[0])
    in_lost = [s for s in suspects if s.start > lost[0] - 0.5]
    assert {(s.segment, s.reasons) for s in in_lost} == {(None, ("speech_without_text",))}
    assert sum(s.end - s.start for s in in_lost) > 0.6 * (lost[1] - lost[0])
    planted_in = (noise, loop, lost)
    assert all(any(a - 0.5 < s.start < s.end < b + 0.5 for a, b in planted_in) for s in suspects)


def transcribed(path: Path) -> Job:
    """The path's job, done by the pipeline itself in this process."""
    recording = Recording(name=path.name, size=path.stat().st_size)
    name = f"recordings/{recording.pk}/original.wav"
    recording.file.name = default_storage.save(name, ContentFile(path.read_bytes()))
    job = lifecycle.create_job(
        recording=recording, model_name="tiny.en", language="en", diarize=False, count=None
    )
    assert prepare.prepare_next()
    while chunk := transcribe.claim_chunk(model_name="tiny.en"):
        transcribe.transcribe_chunk(chunk)
    job.refresh_from_db()
    assert job.status == Job.Status.COMPLETED, job.message
    return job


@pytest.mark.slow
def test_clean_read_speech_has_under_three_per_cent(service: Service, reading: Path) -> None:
    job_id = service.upload(reading)
    assert service.finished(job_id, seconds=300)["status"] == "completed"
    answer = service.client.get(f"{STATUS_PATH}/{job_id}")
    assert answer.status_code == 200
    document = answer.json()
    n_segments = len(service.result(job_id)["segments"])
    assert n_segments > 100
    assert document["count"] == len(document["suspects"])
    assert document["count"] < 0.03 * n_segments, document


# ---- Loops


@pytest.mark.django_db
@pytest.mark.parametrize(
    "looped",
    [
        "and then he said he said he said he said he said he said",
        "no no no no no no no no",
        "Thank you. Thank you, thank you! THANK YOU.",
        " ".join([SENTENCE] * 3),
        " ".join(["I want to go and I want to stay"] * 3),
    ],
)
def test_a_phrase_that_loops_inside_a_segment_is_suspect(looped: str) -> None:
    assert found(make_job(OTHER, looped, "something else")) == [(looped, ("repetition",))]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text",
    [
        "no, no, no, I did not",
        "very very very well",
        f"{SENTENCE}, {SENTENCE}",
        "I came, I saw, I went, I slept, I woke",
        "to be or not to be or to be something else",
    ],
)
def test_what_people_say_twice_or_thrice_is_none(text: str) -> None:
    assert found(make_job(OTHER, text, OTHER)) == []


@pytest.mark.django_db
def test_a_phrase_said_by_segments_one_after_the_other_is_suspect_in_each() -> None:
    job = make_job(OTHER, SENTENCE, SENTENCE + ".", SENTENCE.upper(), OTHER)
    assert [text for text, _ in found(job)] == [SENTENCE, SENTENCE + ".", SENTENCE.upper()]


@pytest.mark.django_db
def test_a_loop_is_found_wherever_segments_are_cut_in_it() -> None:
    words = " ".join([SENTENCE] * 5).split()
    cut = [" ".join(words[first : first + 7]) for first in range(0, len(words), 7)]
    assert [text for text, _ in found(make_job(OTHER, *cut, OTHER))] == cut


@pytest.mark.django_db
def test_a_sentence_that_comes_again_later_is_none() -> None:
    assert found(make_job(SENTENCE, OTHER, SENTENCE, OTHER + " more", SENTENCE)) == []


@pytest.mark.django_db
def test_a_loop_in_a_script_without_spaces_is_found_by_its_words() -> None:
    job = make_job(" ".join(["谢", "谢", "你"] * 4), OTHER)
    first = job.segments.all()[0]
    first.words = [{**word, "text": word["text"].strip()} for word in first.words]
    first.text = "谢谢你" * 4
    first.save()
    assert found(job) == [("谢谢你" * 4, ("repetition",))]


@pytest.mark.django_db
def test_what_a_person_has_put_right_is_none() -> None:
    job = make_job(OTHER, "no no no no no no no no no")
    segment = job.segments.all()[1]
    Segment.objects.filter(pk=segment.pk).update(
        text="No no no no no no no no no!", avg_logprob=-2.0, compression_ratio=9.0
    )
    assert found(job) == []


# ---- The decoder's figures


@pytest.mark.django_db
def test_in_a_window_the_decoder_was_unsure_of_the_unlikely_segment_is_suspect() -> None:
    job = make_job(OTHER, SENTENCE, "mumbled words of nobody")
    job.segments.update(avg_logprob=-1.2)
    mumbled = job.segments.get(text__startswith="mumbled")
    mumbled.words = [{**word, "probability": 0.1} for word in mumbled.words]
    mumbled.save()
    assert found(job) == [(mumbled.text, ("low_log_probability",))]


@pytest.mark.django_db
@pytest.mark.parametrize(("avg_logprob", "suspect"), [(-1.01, True), (-1.0, False), (None, False)])
def test_a_window_of_one_segment_is_judged_by_its_own_figure(
    avg_logprob: float | None, suspect: bool
) -> None:
    job = make_job(SENTENCE)
    job.segments.update(avg_logprob=avg_logprob, words=[])
    assert bool(found(job)) == suspect


@pytest.mark.django_db
def test_in_a_window_that_says_little_the_repeating_segments_are_suspect() -> None:
    humming = "la di la " * 2 + "da"
    job = make_job(OTHER, humming, SENTENCE, humming + "m", humming + "n")
    job.segments.exclude(text=OTHER).update(compression_ratio=2.6)
    assert [text for text, _ in found(job)] == [humming, humming + "m", humming + "n"]
    assert {reasons for _, reasons in found(job)} == {("high_compression",)}


@pytest.mark.django_db
def test_figures_that_are_not_known_any_more_accuse_nobody() -> None:
    job = make_job(OTHER, SENTENCE)
    job.segments.update(
        avg_logprob=None, compression_ratio=None, no_speech_prob=None, temperature=None
    )
    assert found(job) == []


# ---- Voice activity


@pytest.mark.django_db
def test_speech_between_segments_is_suspect_as_one_stretch_where_its_pauses_are_short() -> None:
    job = make_job(SENTENCE, OTHER, SENTENCE + " again")
    lost = job.segments.all()[1]
    lost.delete()
    hear(job, (0, 13.0), (13.2, 14.6), (15.0, 16.0), (20.0, 21.0), (23.0, 26), (26.0, 40.0))
    assert find_suspects(job=job) == [
        Suspect(None, 13.2, 16.0, ("speech_without_text",)),
        Suspect(None, 23.0, 26.0, ("speech_without_text",)),
    ]


@pytest.mark.django_db
def test_it_is_speech_that_makes_a_stretch_long_not_its_pauses() -> None:
    job = make_job(SENTENCE, SENTENCE + " again")
    job.segments.filter(text=SENTENCE + " again").update(start=30.0, end=44.0)
    hear(job, (0, 13.2), (13.9, 14.8), (20.0, 21.3), (25.0, 25.6), (26.2, 26.8), (30.0, 44.0))
    assert find_suspects(job=job) == [
        Suspect(None, 20.0, 21.3, ("speech_without_text",)),
        Suspect(None, 25.0, 26.8, ("speech_without_text",)),
    ]


@pytest.mark.django_db
def test_speech_before_the_first_segment_and_after_the_last_is_found() -> None:
    job = make_job(SENTENCE)
    job.segments.update(start=10.0, end=23.0)
    hear(job, (1.0, 4.0), (9.0, 23.5), (30.0, 32.0), (40.0, 41.0))
    assert [(s.start, s.end) for s in find_suspects(job=job)] == [(1.0, 4.0), (30.0, 32.0)]


@pytest.mark.django_db
def test_speech_without_any_segment_is_found() -> None:
    job = make_job()
    hear(job, (1.0, 4.0))
    assert [(s.start, s.end) for s in find_suspects(job=job)] == [(1.0, 4.0)]


@pytest.mark.django_db
def test_text_where_hardly_anybody_speaks_is_suspect() -> None:
    job = make_job("five words with some speech", "five words in utter silence")
    hear(job, (3.0, 5.2))
    assert found(job) == [("five words in utter silence", ("text_in_silence",))]


# ---- The endpoint


@pytest.mark.django_db
def test_suspects_are_listed_in_order_of_time(client: Client) -> None:
    job = make_job(OTHER, "no no no no no no no no", SENTENCE)
    job.segments.update(speaker="SPEAKER_1")
    looped = job.segments.all()[1]
    job.segments.filter(text=OTHER).delete()
    answer = client.get(f"{STATUS_PATH}/{job.pk}")
    assert answer.status_code == 200
    assert answer.json() == {
        "suspects": [
            {
                "segment_id": None,
                "start": 0.0,
                "end": 13.0,
                "start_display": "00:00:00.000",
                "end_display": "00:00:13.000",
                "text": "",
                "speaker": None,
                "reasons": ["speech_without_text"],
            },
            {
                "segment_id": looped.pk,
                "start": 13.0,
                "end": 21.0,
                "start_display": "00:00:13.000",
                "end_display": "00:00:21.000",
                "text": "no no no no no no no no",
                "speaker": "SPEAKER_1",
                "reasons": ["repetition"],
            },
        ],
        "count": 2,
    }
    head = client.head(f"{STATUS_PATH}/{job.pk}")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.django_db
@pytest.mark.parametrize("job_id", ["nonsense", UNKNOWN_ID])
def test_of_an_unknown_job_they_are_a_404(client: Client, job_id: str) -> None:
    answer = client.get(f"{STATUS_PATH}/{job_id}")
    assert answer.status_code == 404
    assert "not found" in answer.json()["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Job.Status.QUEUED, "in progress"),
        (Job.Status.RUNNING, "in progress"),
        (Job.Status.FAILED, "no full transcript"),
        (Job.Status.CANCELLED, "no full transcript"),
    ],
)
def test_without_a_full_transcript_they_are_a_409(
    client: Client, status: Job.Status, said: str
) -> None:
    answer = client.get(f"{STATUS_PATH}/{make_job(SENTENCE, status=status).pk}")
    assert answer.status_code == 409
    assert said in answer.json()["detail"]


@pytest.mark.django_db
def test_the_schema_describes_them(client: Client) -> None:
    answer = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    described: dict[str, Any] = json.loads(answer.content)["paths"]
    assert set(described["/api/transcribe/suspects/{job_id}"]["get"]["responses"]) == {
        "200",
        "404",
        "409",
    }


@pytest.mark.slow
@pytest.mark.django_db
def test_ten_times_the_segments_cost_two_queries_and_ten_times_the_work() -> None:
    seconds = []
    for n in (500, 5000):
        job = make_long_job(n)
        with CaptureQueriesContext(connection) as queries:
            suspects = find_suspects(job=job)
        assert len(queries) == 2
        assert len(suspects) > n / 5
        seconds.append(cpu_seconds(partial(find_suspects, job=job)))
    assert seconds[1] < 25 * seconds[0]


def make_long_job(n_segments: int) -> Job:
    """Each segment has a reason to be looked at, and words of its own."""
    job = make_job()
    template = add_segment(job.chunks.all()[0], SENTENCE, 0.0)
    rng = np.random.default_rng(3)
    rows, spans = [], []
    for index in range(n_segments):
        start = 14.0 * index
        words = [
            {**word, "text": f" w{rng.integers(3000)}", "start": start, "end": start + 1}
            for word in template.words
        ]
        text = "".join(word["text"] for word in words).strip()
        spans += [(start, start + 4), (start + 5, start + 13)]
        rows.append(
            Segment(
                job=job,
                chunk_id=template.chunk_id,
                start=start,
                end=start + 13,
                text=text,
                words=words,
                avg_logprob=-1.5,
                compression_ratio=3.0,
                no_speech_prob=float(index // 5),
            )
        )
    template.delete()
    Segment.objects.bulk_create(rows, batch_size=500)
    hear(job, *spans)
    return job
