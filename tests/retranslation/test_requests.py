"""The Retranslation API without a worker: requests that are accepted or refused, lists, and batches."""

import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import Q
from django.test import Client

from retranslation import services
from retranslation.models import Batch, Retranslation
from tests import UNKNOWN_ID
from tests.media import silence, write
from tests.retranslation.builders import make_recorded_job, request_range, transcribe_next
from transcription import recordings
from transcription.jobs import retry_and_delete
from transcription.leasing.leases import Lease
from transcription.models import Job, Leased, Recording
from transcription.speech import fetching
from transcription.speech.engines.base import Span

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/retranslate"
RANGE = {"segment_id": "seg-1", "start_time": 3.3, "end_time": 7.6, "model_name": "base"}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def times_out(settings: LazySettings) -> None:
    """Requests time out at once, since no worker runs here."""
    settings.TRANSCRIBER_RETRANSLATION_SECONDS = 0


def post_range(client: Client, job: Job | str, **values: Any) -> Any:
    job_id = job.pk if isinstance(job, Job) else job
    body = {**RANGE, **values}
    return client.post(
        f"{API}/segment-from-full?job_id={job_id}",
        {name: value for name, value in body.items() if value is not None},
        content_type="application/json",
    )


def post_clip(client: Client, data: bytes, *, name: str = "clip.flac", **values: Any) -> Any:
    file = SimpleUploadedFile(name, data, "audio/flac")
    return client.post(f"{API}/segment", {"file": file, **RANGE, **values})


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    assert list(answer.json()) == ["detail"]
    assert not Retranslation.objects.exists()
    return str(answer.json()["detail"])


# ---- A range of a stored recording


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"start_time": -0.1}, "start_time"),
        ({"start_time": 7.6}, "later than start_time"),
        ({"start_time": 9.0}, "later than start_time"),
        ({"start_time": "nan"}, "start_time"),
        ({"end_time": "inf"}, "end_time"),
        ({"end_time": "soon"}, "end_time"),
        ({"end_time": 700.0}, "600 s"),
        ({"end_time": 11.2}, "11.000 s long"),
        ({"start_time": 11.0, "end_time": 11.05}, "11.000 s long"),
        ({"start_time": None}, "start_time"),
        ({"segment_id": None}, "segment_id"),
        ({"segment_id": "s" * 101}, "segment_id"),
        ({"model_name": "huge"}, "Known models: tiny.en"),
        ({"language": "tlh"}, "does not support the language 'tlh'"),
        ({"model_name": "tiny.en", "language": "de"}, "does not support the language 'de'"),
    ],
)
def test_a_wrong_value_is_named(client: Client, values: dict[str, Any], expected: str) -> None:
    assert expected in refused(post_range(client, make_recorded_job(), **values), 400)


@pytest.mark.parametrize("job_id", [UNKNOWN_ID, "42"])
def test_an_unknown_job_is_not_found(client: Client, job_id: str) -> None:
    assert "not found" in refused(post_range(client, job_id), 404)


def test_the_job_must_be_named(client: Client) -> None:
    answer = client.post(f"{API}/segment-from-full", RANGE, content_type="application/json")
    assert "job_id" in refused(answer, 400)


def test_a_recording_whose_files_were_deleted_is_not_found(client: Client) -> None:
    job = make_recorded_job()
    recordings.delete_files(job.recording)
    assert "was deleted or has expired" in refused(post_range(client, job), 404)


def test_a_recording_that_is_still_being_read_is_a_conflict(client: Client) -> None:
    job = make_recorded_job(status=Job.Status.RUNNING)
    Recording.objects.filter(pk=job.recording_id).update(duration=None, declared_duration=60.0)
    assert "has not been read to its end" in refused(post_range(client, job), 409)


def test_an_unavailable_model_is_named_with_the_remedy(client: Client) -> None:
    detail = refused(post_range(client, make_recorded_job(), model_name=None), 503)
    assert "large-v3-turbo" in detail
    assert "manage.py models download large-v3-turbo" in detail
    here = detail.split("Downloaded models: ")[1]
    assert {"tiny.en", "base"} <= set(here.rstrip(".").split(", "))


def test_an_end_rounded_up_is_the_end_of_the_recording(client: Client, times_out: None) -> None:
    post_range(client, make_recorded_job(), end_time=11.04)
    assert Retranslation.objects.get().end == 11.0


@pytest.mark.parametrize(
    ("requested", "of_job", "model", "expected"),
    [
        ("", "en", "base", "en"),
        ("de", "en", "base", "de"),
        ("", "", "base", ""),
        ("", "de", "tiny.en", "en"),
    ],
)
def test_the_language_is_the_requested_one_or_the_jobs(
    requested: str, of_job: str, model: str, expected: str
) -> None:
    job = make_recorded_job(language=of_job)
    assert request_range(job, language=requested, model_name=model).requested_language == expected


@pytest.mark.parametrize(
    ("sent", "saved"),
    [("whisper-base", "whisper-base"), ("base", "base"), ("openai/whisper-base", "base")],
)
def test_a_model_keeps_the_documented_form_of_its_name(
    client: Client, times_out: None, sent: str, saved: str
) -> None:
    post_range(client, make_recorded_job(), model_name=sent)
    assert Retranslation.objects.get().model_name == saved


def test_the_timeout_of_long_ranges_is_proportional() -> None:
    job = make_recorded_job(silence(300), segments=())
    timeouts = [services.timeout_seconds(request_range(job, Span(0, end))) for end in (10, 60, 300)]
    assert timeouts == [120, 120, 600]


def test_the_requester_is_saved(client: Client, admin_client: Client, times_out: None) -> None:
    job = make_recorded_job()
    for requester in (client, admin_client):
        assert post_range(requester, job).status_code == 504
    names = Retranslation.objects.order_by("created_at").values_list("asked_by", flat=True)
    assert list(names) == ["127.0.0.1", "admin"]


@pytest.mark.slow
def test_what_took_too_long_is_kept_and_found_later(client: Client, times_out: None) -> None:
    answer = post_range(client, make_recorded_job())
    assert answer.status_code == 504
    row = Retranslation.objects.get()
    address = f"{API}/{row.pk}"
    assert address in answer.json()["detail"]
    assert client.get(address).json()["status"] == "processing"
    assert transcribe_next()
    document = client.get(address).json()
    assert (document["status"], document["decision"]) == ("completed", "none")
    assert "country" in document["text"]
    assert client.head(address).status_code == 200


@pytest.fixture
def fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker fails the retranslation as soon as the request begins to wait."""

    def fail(retranslation: Retranslation) -> float:
        Retranslation.objects.update(state=Leased.State.DOING)
        lease = Lease(retranslation, condition=Q)
        services.fail(
            lease=lease, retranslation=retranslation, error="The model broke.", can_retry=False
        )
        return 60.0

    monkeypatch.setattr(services, "timeout_seconds", fail)


def test_a_failed_retranslation_is_a_conflict_with_the_reason(
    client: Client, fails_at_once: None
) -> None:
    answer = post_range(client, make_recorded_job())
    assert answer.status_code == 409
    assert answer.json()["detail"] == "The retranslation failed: The model broke."


def test_a_model_whose_download_failed_is_named_with_the_remedy(
    client: Client, fails_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter((True, False))
    monkeypatch.setattr(fetching, "can_download", lambda *_, **__: next(answers))
    answer = post_range(client, make_recorded_job(), model_name="small")
    assert answer.status_code == 503
    assert "manage.py models download small" in answer.json()["detail"]
    assert Retranslation.objects.get().state == Leased.State.FAILED, "it can be retried"


# ---- A clip


@pytest.fixture(scope="module")
def jfk(audio_dir: Path) -> bytes:
    return (audio_dir / "jfk.flac").read_bytes()


def stored_clips() -> list[str]:
    return (
        default_storage.listdir("retranslations")[1]
        if default_storage.exists("retranslations")
        else []
    )


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"Dear diary", "clip.flac", "not audio"),
        (b"", "clip.flac", "empty"),
    ],
)
def test_a_clip_that_is_not_audio_is_refused(
    client: Client, data: bytes, name: str, expected: str
) -> None:
    assert expected in refused(post_clip(client, data, name=name), 400)
    assert stored_clips() == []


def test_a_clip_must_be_there_and_short(client: Client, tmp_path: Path) -> None:
    assert "`file`" in refused(client.post(f"{API}/segment", RANGE), 400)
    long = write(tmp_path / "long.flac", silence(601), codec="flac").read_bytes()
    assert "601 s long" in refused(post_clip(client, long), 400)
    assert stored_clips() == []


def test_a_clip_of_a_job_must_lie_in_its_recording(client: Client, jfk: bytes) -> None:
    assert "not found" in refused(post_clip(client, jfk, job_id=str(uuid4())), 404)
    far: dict[str, Any] = {
        "job_id": str(make_recorded_job().pk),
        "start_time": 20.0,
        "end_time": 31.0,
    }
    assert "11.000 s long" in refused(post_clip(client, jfk, **far), 400)


def test_a_clip_of_a_job_must_be_as_long_as_its_range(client: Client, jfk: bytes) -> None:
    detail = refused(post_clip(client, jfk, job_id=str(make_recorded_job().pk)), 400)
    assert "The clip is 11.00 s long, the range" in detail


def test_a_clip_is_deleted_with_its_job_or_its_row(
    client: Client, jfk: bytes, times_out: None
) -> None:
    job = make_recorded_job()
    whole: dict[str, Any] = {"job_id": str(job.pk), "start_time": 0.0, "end_time": 11.0}
    assert post_clip(client, jfk, **whole).status_code == 504
    assert post_clip(client, jfk).status_code == 504
    assert len(stored_clips()) == 2
    assert retry_and_delete.delete_job(job_id=job.pk)
    [alone] = Retranslation.objects.all()
    assert stored_clips() == [Path(str(alone.clip)).name]
    assert services.delete_retranslation(retranslation_id=alone.pk)
    assert stored_clips() == []
    assert not services.delete_retranslation(retranslation_id=alone.pk)


def test_a_clip_that_no_row_names_is_swept_after_a_day(
    client: Client, jfk: bytes, times_out: None
) -> None:
    assert post_clip(client, jfk).status_code == 504
    assert post_clip(client, jfk).status_code == 504
    waiting, done = Retranslation.objects.all()
    # A worker that is killed after its commit has not deleted the clip yet.
    Retranslation.objects.filter(pk=done.pk).update(clip="", state=Leased.State.DONE)
    lost, young = f"{uuid4()}.wav", f"{uuid4()}.wav"
    for name in (lost, young):
        default_storage.save(f"retranslations/{name}", ContentFile(b"a clip"))
    two_days_ago = time.time() - 2 * 86_400
    for name in (lost, Path(str(done.clip)).name, Path(str(waiting.clip)).name):
        os.utime(default_storage.path(f"retranslations/{name}"), (two_days_ago, two_days_ago))
    services.recover()
    assert set(stored_clips()) == {Path(str(waiting.clip)).name, young}


# ---- Lists and decisions


def test_retranslations_are_listed_newest_first(client: Client) -> None:
    job, other = make_recorded_job(), make_recorded_job()
    ids = [str(request_range(job, segment_id=f"seg-{n}").pk) for n in range(3)]
    request_range(other)
    document = client.get(f"{API}/?job_id={job.pk}").json()
    assert [row["id"] for row in document["retranslations"]] == ids[::-1]
    assert document["count"] == 3
    assert client.get(f"{API}/").json()["count"] == 4
    assert client.get(f"{API}/?limit=1").json()["count"] == 1
    [one] = client.get(f"{API}/?job_id={job.pk}&segment_id=seg-1").json()["retranslations"]
    assert one["id"] == ids[1]
    assert one["asked_by"] == "somebody"
    assert client.get(f"{API}/?job_id={uuid4()}").status_code == 404
    assert client.get(f"{API}/?limit=many").status_code == 400


def test_an_unfinished_retranslation_cannot_be_accepted(client: Client) -> None:
    row = request_range(make_recorded_job())
    answer = client.post(f"{API}/{row.pk}/accept")
    assert answer.status_code == 409
    assert "processing" in answer.json()["detail"]


@pytest.mark.parametrize("action", ["accept", "reject", "undo"])
@pytest.mark.parametrize("unknown_id", [UNKNOWN_ID, "seg-1"])
def test_an_unknown_retranslation_is_not_found(
    client: Client, action: str, unknown_id: str
) -> None:
    assert client.post(f"{API}/{unknown_id}/{action}").status_code == 404
    assert client.get(f"{API}/{unknown_id}").status_code == 404


# ---- Batches


def post_suspects(client: Client, job: Job, model_name: str = "base") -> Any:
    return client.post(f"{API}/suspects?job_id={job.pk}&model_name={model_name}")


def test_suspects_need_a_completed_job_and_a_model_for_its_language(client: Client) -> None:
    assert "in progress" in refused(
        post_suspects(client, make_recorded_job(status=Job.Status.RUNNING)), 409
    )
    german = make_recorded_job(language="de")
    assert "English only" in refused(post_suspects(client, german, "tiny.en"), 400)
    assert "download" in refused(post_suspects(client, make_recorded_job(), "small"), 503)
    gone = make_recorded_job()
    recordings.delete_files(gone.recording)
    assert "was deleted or has expired" in refused(post_suspects(client, gone), 404)
    assert client.get(f"{API}/suspects/{uuid4()}").status_code == 404
    assert not Batch.objects.exists()


def test_a_batch_without_suspects_is_completed_at_once(client: Client) -> None:
    answer = post_suspects(client, make_recorded_job()).json()
    assert answer["status"] == "completed"
    assert "Nothing" in answer["message"]
    document = client.get(f"{API}/suspects/{answer['job_id']}").json()
    assert (document["progress"], document["retranslations"]) == (100, [])


def test_each_suspect_becomes_a_queued_retranslation(client: Client) -> None:
    job = make_recorded_job()
    doubtful = job.segments.all()[1]
    job.segments.filter(pk=doubtful.pk).update(avg_logprob=-1.5)
    answer = post_suspects(client, job).json()
    assert answer["status"] == "processing"
    document = client.get(f"{API}/suspects/{answer['job_id']}").json()
    assert document["progress"] == 0
    [row] = document["retranslations"]
    assert (row["segment_id"], row["reasons"]) == (str(doubtful.pk), ["low_log_probability"])
    assert (row["start_time"], row["end_time"]) == (doubtful.start, doubtful.end)
    doubtful.refresh_from_db()
    assert doubtful.text == "Ask what your country can do for you."
