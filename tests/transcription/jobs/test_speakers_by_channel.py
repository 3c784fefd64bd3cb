"""channels=speakers: each channel's speaker is transcribed by itself, from the upload to export and retranslation."""

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client, override_settings

from tests.media import RATE, two_at_once
from tests.retranslation.builders import accept, make_proposal
from tests.rows import reload
from tests.service import Service
from tests.transcription.builders import MODEL, add_segment
from transcription.editing import services
from transcription.editing.changes import ConflictError
from transcription.jobs import lifecycle, prepare
from transcription.models import Diarization, Job, Leased, Recording, Segment, Stage
from transcription.recordings import read_samples
from transcription.speech.engines.base import Span
from transcription.transcript.suspects import find_suspects

FIRST, SECOND = "what you can do for your country", "i will say nothing"
ONE, TWO = "SPEAKER_1", "SPEAKER_2"


@pytest.fixture(scope="module")
def call(audio_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_at_once(audio_dir, tmp_path_factory.mktemp("call") / "call.wav")


# ---- A real service


@pytest.fixture(scope="module")
def job_id(service: Service, call: Path) -> str:
    job_id = service.upload(call, channels="speakers")
    service.finished(job_id)
    return job_id


def said_by(result: dict[str, Any], speaker: str) -> str:
    texts = [s["text"] for s in result["segments"] if s["speaker"] == speaker]
    return " ".join(texts).lower().replace(",", "")


@pytest.mark.slow
def test_two_who_speak_at_once_are_both_complete(service: Service, job_id: str) -> None:
    result = service.result(job_id)
    assert FIRST in said_by(result, ONE)
    assert SECOND in said_by(result, TWO)
    assert result["text"].lower().count(SECOND) == 1
    assert {segment["speaker"] for segment in result["segments"]} == {ONE, TWO}
    assert {segment["speaker_confidence"] for segment in result["segments"]} == {None}
    starts = [segment["start"] for segment in result["segments"]]
    assert starts == sorted(starts)
    debug = service.debug(job_id)
    assert (debug["channels"], debug["speakers_found"]) == ("speakers", 2)


@pytest.mark.slow
def test_live_segments_come_with_their_speakers_and_once(service: Service, call: Path) -> None:
    job_id = service.upload(call, channels="speakers")
    heard = [message for message in service.listen(job_id) if "id" in message]
    result = service.result(job_id)
    by_id = {message["id"]: (message["text"], message["speaker"]) for message in heard}
    assert len(by_id) == len(heard)
    assert by_id == {s["id"]: (s["text"], s["speaker"]) for s in result["segments"]}


@pytest.mark.slow
def test_mixed_its_message_says_that_channels_hold_a_speaker_each(
    service: Service, call: Path, audio_dir: Path
) -> None:
    status = service.finished(service.upload(call, diarize="false"))
    assert "channels=speakers" in status["message"]
    for path, fields in ((call, {"channels": "mix"}), (audio_dir / "jfk.flac", {})):
        status = service.finished(service.upload(path, diarize="false", **fields))
        assert "channels" not in status["message"]


@pytest.mark.slow
def test_a_range_is_retranslated_on_each_channel_and_a_segment_on_its_own(
    service: Service, job_id: str
) -> None:
    def retranslate(segment_id: str, start: float, end: float) -> dict[str, Any]:
        answer = service.client.post(
            f"/api/retranslate/segment-from-full?job_id={job_id}",
            json={
                "segment_id": segment_id,
                "start_time": start,
                "end_time": end,
                "model_name": MODEL,
            },
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    before = service.result(job_id)
    both = retranslate("all", 0.0, 11.0)
    text = both["text"].lower().replace(",", "")
    assert FIRST in text
    assert SECOND in text
    accepted = service.client.post(f"/api/retranslate/{both['id']}/accept")
    assert accepted.status_code == 200, accepted.text
    after = service.result(job_id)
    assert FIRST in said_by(after, ONE)
    assert SECOND in said_by(after, TWO)
    assert service.client.post(f"/api/retranslate/{both['id']}/undo").status_code == 200
    assert service.result(job_id) == before

    segment = next(s for s in before["segments"] if s["speaker"] == TWO)
    one = retranslate(str(segment["id"]), segment["start"], segment["end"])
    assert "ask" not in one["text"]
    assert one["speaker"] == TWO


@pytest.mark.slow
def test_exports_have_both_speakers(service: Service, job_id: str) -> None:
    for name in ("srt", "vtt", "txt", "csv"):
        export = service.client.get(f"/api/transcribe/export/{job_id}?format={name}").text
        assert ONE in export
        assert TWO in export
        assert "ask" in export


@pytest.mark.slow
def test_its_channels_are_its_speakers(service: Service, job_id: str) -> None:
    answer = service.client.post(f"/api/transcribe/diarize/{job_id}")
    assert answer.status_code == 409
    assert "channels" in answer.json()["detail"]
    answer = service.client.post(
        f"/api/transcribe/speakers/{job_id}", json={"from": TWO, "to": "Anna"}
    )
    assert answer.status_code == 200, answer.text
    assert SECOND in said_by(service.result(job_id), "Anna")
    service.client.post(f"/api/transcribe/speakers/{job_id}", json={"from": "Anna", "to": TWO})


# ---- Requests


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("2412-153948-0000.flac", {"channels": "speakers"}, "one channel"),
        ("jfk.flac", {"channels": "speakers", "num_speakers": "2"}, "no number of speakers"),
        ("jfk.flac", {"channels": "left"}, "left"),
    ],
)
def test_what_channels_cannot_do_is_a_400(
    client: Client, audio_dir: Path, name: str, fields: dict[str, str], why: str
) -> None:
    with (audio_dir / name).open("rb") as file:
        answer = client.post("/api/transcribe/", {"file": file, **fields})
    assert answer.status_code == 400
    assert why in answer.json()["detail"]
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_channels_of_a_whole_desk_are_no_speakers_each(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "desk.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(17)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * 17 * RATE))
    with path.open("rb") as upload:
        answer = client.post("/api/transcribe/", {"file": upload, "channels": "speakers"})
    assert answer.status_code == 400
    assert "17 channels; at most 16" in answer.json()["detail"]


# ---- Rows


@pytest.fixture
def prepared(call: Path, tmp_path: Path) -> Iterator[Job]:
    with override_settings(MEDIA_ROOT=tmp_path):
        recording = Recording(name="call.wav", size=1)
        name = f"recordings/{recording.id}/original.wav"
        recording.file.name = default_storage.save(name, ContentFile(call.read_bytes()))
        job = lifecycle.create_job(
            recording=recording,
            model_name=MODEL,
            language="en",
            diarize=True,
            channels=Job.Channels.SPEAKERS,
        )
        assert prepare.prepare_next()
        yield reload(job)


@pytest.mark.django_db
def test_each_channel_has_chunks_and_samples_of_its_own(prepared: Job) -> None:
    assert not prepared.stages.filter(kind=Stage.Kind.DIARIZE).exists()
    chunks = list(prepared.chunks.order_by("index"))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.channel for chunk in chunks} == {0, 1}
    whole = Span(0.0, prepared.recording.duration or 0.0)
    mixed, first, second = (
        read_samples(prepared.recording, whole, channel) for channel in (None, 0, 1)
    )
    assert len(mixed) == len(first) == len(second) > 10 * RATE
    assert np.abs(first - second).max() > 0.1
    diarization = Diarization.objects.get(job=prepared)
    assert set(diarization.seconds_by_speaker()) == {ONE, TWO}


@pytest.mark.django_db
def test_a_preparation_begun_again_adds_no_chunk_twice(prepared: Job) -> None:
    before = list(prepared.chunks.order_by("index").values("index", "channel", "start", "end"))
    prepared.chunks.filter(index=before[-1]["index"]).delete()
    prepared.stages.update(state=Leased.State.TODO)
    assert prepare.prepare_next()
    again = list(prepared.chunks.order_by("index").values("index", "channel", "start", "end"))
    assert again == before


@pytest.mark.django_db
def test_silence_of_one_speaker_hides_no_missing_text_of_the_other(prepared: Job) -> None:
    """All of one channel's text is there; all of the other's is missing, at the same time."""
    for chunk in prepared.chunks.filter(channel=0):
        prepared.segments.create(chunk=chunk, start=chunk.start, end=chunk.end, text="Words.")
    suspects = find_suspects(job=prepared)
    assert suspects
    assert {suspect.channel for suspect in suspects} == {1}
    assert {suspect.reasons for suspect in suspects} == {("speech_without_text",)}


def add_said(job: Job, channel: int, text: str, start: float) -> Segment:
    chunk = job.chunks.filter(channel=channel).order_by("index").first()
    assert chunk is not None
    return add_segment(chunk, text, start, speaker=(ONE, TWO)[channel])


@pytest.mark.django_db
def test_a_segment_is_split_where_it_is_cut_whoever_else_speaks_meanwhile(prepared: Job) -> None:
    Job.objects.filter(pk=prepared.pk).update(status=Job.Status.COMPLETED)
    long = add_said(prepared, 0, "one two three four five six seven", 1.0)
    add_said(prepared, 1, "yes", 3.0)
    services.split(segment_id=long.pk, position=len("one two three four five"), was={}, done_by="")
    parts = prepared.segments.filter(speaker=ONE).order_by("start")
    assert [(part.start, part.end) for part in parts] == [(1.0, 6.0), (6.0, 8.0)]


@pytest.mark.django_db
def test_a_name_given_while_it_is_prepared_is_kept(
    prepared: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turns are known at the end of the preparation alone."""
    Diarization.objects.filter(job=prepared).delete()
    prepared.chunks.all().delete()
    prepared.stages.update(state=Leased.State.TODO)
    monkeypatch.setattr(prepare, "finish_preparation", lambda **_: None)
    assert prepare.prepare_next()
    Job.objects.filter(pk=prepared.pk).update(status=Job.Status.CANCELLED)
    add_said(prepared, 0, "hello", 1.0)
    services.rename(job_id=prepared.pk, name=ONE, new_name="Anna", done_by="")
    prepare._save_speakers(prepared)
    chunk = prepared.chunks.filter(channel=0).first()
    assert chunk is not None
    assert chunk.find_speaker() == "Anna"


@pytest.mark.django_db
def test_a_segment_comes_back_though_others_were_merged_meanwhile(prepared: Job) -> None:
    """They are of another speaker: nothing of it is in them."""
    Job.objects.filter(pk=prepared.pk).update(status=Job.Status.COMPLETED)
    before = add_said(prepared, 1, "one two three", 1.0)
    removed = add_said(prepared, 0, "yes", 3.0)
    after = add_said(prepared, 1, "four five", 4.0)
    edit = services.remove(segment_id=removed.pk, was={}, done_by="").edit
    services.merge(segment_id=before.pk, next_id=after.pk, was={}, next_was={}, done_by="")
    assert edit is not None
    services.undo(job_id=prepared.pk, edit_id=edit.pk, done_by="")
    spoken = list(prepared.segments.order_by("start").values_list("text", flat=True))
    assert spoken == ["one two three four five", "yes"]


@pytest.mark.django_db
def test_a_range_of_a_recording_without_speech_has_no_text(prepared: Job) -> None:
    prepared.chunks.all().delete()
    Job.objects.filter(pk=prepared.pk).update(status=Job.Status.COMPLETED)
    row = make_proposal(reload(prepared), 0.0, 5.0, "")
    assert accept(row)["decision"] == "accepted"


@pytest.mark.django_db
def test_a_clip_has_to_say_whose_it_is(prepared: Job) -> None:
    prepared.chunks.update(state=Leased.State.DONE)
    Job.objects.filter(pk=prepared.pk).update(status=Job.Status.COMPLETED)
    add_said(prepared, 0, "hello there", 1.0)
    row = make_proposal(reload(prepared), 1.0, 3.0, "hello you")
    with pytest.raises(ConflictError, match="whose it is"):
        accept(row)
