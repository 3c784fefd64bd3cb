"""What a worker makes of a retranslation, what becomes of failures and of lost workers, and whose turn it is."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.db.models import Q
from django.test import Client
from django.test.utils import override_settings
from django.utils import timezone

from retranslation import api, proposals, services, tasks, work
from retranslation.models import Batch, Retranslation
from tests import queued
from tests.retranslation.recorded import AUDIO, make_job
from tests.transcription.media import samples_of, silence
from transcription import locks
from transcription.jobs import retry_and_delete
from transcription.jobs.installed_models import capabilities, load_engine
from transcription.leasing import leases
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.workers import send_heartbeat
from transcription.models import Job, Leased, Worker
from transcription.recordings import delete_files, folder
from transcription.speech import fetching
from transcription.speech.engines.base import Span, SpeechError
from transcription.transcript.suspects import Suspect

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

MODEL = "tiny.en"
ASK = Span(2.8, 7.9)
"""Where `Ask not what your country can do for you` is said."""


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path) -> Iterator[None]:
    with override_settings(MEDIA_ROOT=tmp_path / "files"):
        yield


def request(job: Job, span: Span = ASK, **values: Any) -> Retranslation:
    wish = {"segment_id": "seg-1", "model_name": MODEL, "language": "", "asked_by": "somebody"}
    return services.request_range(job=job, span=span, **{**wish, **values})


def request_batch(job: Job) -> Batch:
    suspects = [
        Suspect(segment, segment.start, segment.end, ("repetition",))
        for segment in job.segments.all()
    ]
    return services.request_suspects(job=job, suspects=suspects, model_name=MODEL, asked_by="x")


def send(name: str = "jfk.flac", *, job: Job | None = None, start: float = 0.0) -> Retranslation:
    return services.request_clip(
        upload=SimpleUploadedFile(name, (AUDIO / name).read_bytes()),
        job=job,
        segment_id="seg-1",
        span=Span(start, start + 11.0),
        model_name=MODEL,
        language="",
        asked_by="somebody",
    )


def work_on_one() -> bool:
    return work.work_on_one(services.claimable_requests())


def now(row: Retranslation) -> Retranslation:
    return Retranslation.objects.get(pk=row.pk)


def messages() -> int:
    n = queued.n_messages()
    queued.lose_messages()
    return n


# ---- What comes out


@pytest.mark.slow
def test_a_range_has_its_own_words_its_speaker_and_what_stood_there() -> None:
    job = make_job()
    made = request(job)
    assert work_on_one()
    made = now(made)
    assert made.state == Leased.State.DONE, made.error
    assert made.text.lower().startswith("ask not what your country can do for you")
    assert made.text == "".join(word["text"] for word in made.words).strip()
    assert all(ASK.start <= word["start"] < word["end"] <= ASK.end for word in made.words)
    mean = sum(word["probability"] for word in made.words) / len(made.words)
    assert made.confidence == pytest.approx(mean)
    assert 0.3 < mean < 1.0
    assert made.speaker == "SPEAKER_2"
    assert made.old_text == "Ask what your country can do for you."
    assert (made.model_used, made.language, made.device) == (MODEL, "en", "cpu")
    document = proposals.document(made)
    assert [change["old_text"] for change in document["changes"]] == [made.old_text]
    assert job.segments.all()[1].text == made.old_text, "nothing is changed before it is accepted"


@pytest.mark.slow
def test_the_segment_that_is_named_gives_the_old_text_and_most_of_the_range_the_speaker() -> None:
    job = make_job()
    first = job.segments.all()[0]
    made = request(job, Span(1.5, 7.0), segment_id=str(first.pk))
    everything = request(job, Span(1.5, 7.0))
    assert work_on_one()
    assert work_on_one()
    assert now(made).old_text == first.text
    assert now(made).speaker == "SPEAKER_2"
    assert now(everything).old_text == "fellow Americans Ask what your country can do for"


@pytest.mark.slow
def test_a_range_at_the_end_reads_nothing_of_the_beginning() -> None:
    speech = samples_of(AUDIO / "jfk.flac")
    job = make_job(np.concatenate([silence(180), speech]), said=())
    for piece in ("00000", "00001"):
        default_storage.delete(f"{folder(job.recording)}/samples-{piece}.s16")
    made = request(job, Span(180 + ASK.start, 180 + ASK.end))
    assert work_on_one()
    made = now(made)
    assert made.state == Leased.State.DONE, made.error
    assert made.text.lower().startswith("ask not what your country can do for you")
    assert made.words[0]["start"] >= 180 + ASK.start
    assert (made.old_text, made.speaker) == ("", None)


@pytest.mark.slow
def test_silence_has_no_text_and_no_confidence() -> None:
    made = request(make_job(silence(20), said=()), Span(5.0, 12.0), language="en")
    assert work_on_one()
    made = now(made)
    assert made.state == Leased.State.DONE, made.error
    assert (made.text, made.words, made.confidence) == ("", [], None)


@pytest.mark.slow
def test_all_of_a_clip_is_transcribed_with_the_times_of_its_place() -> None:
    made = send(start=100.0)
    assert default_storage.exists(str(made.clip))
    assert work_on_one()
    done = now(made)
    assert done.state == Leased.State.DONE, done.error
    assert done.text.lower().startswith("and so")
    assert "for your country" in done.text.lower()
    assert 100.0 <= done.words[0]["start"] < done.words[-1]["end"] <= 112.0
    assert (done.job, done.old_text, done.speaker, done.clip.name) == (None, "", None, "")
    assert not default_storage.exists(str(made.clip))


# ---- Failure


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(work, "load_engine", fail)


@pytest.mark.parametrize(
    "error", [SpeechError("The device is busy.", can_retry=True), ValueError("?")]
)
def test_what_may_succeed_later_is_tried_three_times(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings, error: Exception
) -> None:
    settings.TRANSCRIBER_CHUNK_ATTEMPTS = 3
    failing(monkeypatch, error)
    made = request(make_job())
    states = []
    for n_messages in (1, 1, 0):
        messages()
        tasks.work()
        assert messages() == n_messages, "what is to be tried again is what somebody is told of"
        states.append(now(made).state)
    assert states == [Leased.State.TODO, Leased.State.TODO, Leased.State.FAILED]
    assert not work_on_one()
    document = proposals.document(now(made))
    assert document["status"] == "failed"
    assert str(error) in document["message"]
    assert services.retry_failed(retranslation_id=made.pk)
    assert (now(made).state, now(made).failures) == (Leased.State.TODO, 0)
    assert not services.retry_failed(retranslation_id=made.pk)


def test_what_cannot_succeed_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, SpeechError("There are no weights."))
    made = request(make_job())
    assert work_on_one()
    assert (now(made).state, now(made).error) == (Leased.State.FAILED, "There are no weights.")


def test_samples_that_went_meanwhile_are_missed() -> None:
    job = make_job()
    made = request(job)
    default_storage.delete(f"{folder(job.recording)}/samples-00000.s16")
    assert work_on_one()
    assert (now(made).state, now(made).failures) == (Leased.State.FAILED, 1)
    assert "gone" in now(made).error


def test_a_recording_that_another_machine_may_see_is_left_to_it() -> None:
    """On one machine there is none: what is not there is gone."""
    job = make_job()
    made = request(job)
    delete_files(job.recording)
    messages()
    tasks.work()
    if connection.vendor == "sqlite":
        assert now(made).state == Leased.State.FAILED
        return
    assert (now(made).state, now(made).attempts) == (Leased.State.TODO, 0)
    assert "does not find the recording" in now(made).error
    assert messages() == 1


def test_a_model_that_another_machine_has_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "can_download", lambda *_, **__: False)
    send_heartbeat(role="interactive", capabilities=capabilities())
    Worker.objects.update(weights=["small"])
    made, other = request(make_job(), model_name="small"), request(make_job(), model_name="medium")
    messages()
    tasks.work()
    assert now(made).state == Leased.State.TODO
    assert now(other).state == Leased.State.FAILED, "nobody has it"
    assert messages() == 1
    tasks.work()
    assert now(made).state == Leased.State.TODO
    assert messages() == 1, "others are told"


@pytest.mark.parametrize("path", ["segment-from-full", "suspects"])
def test_a_job_deleted_while_it_was_asked_for_is_missed(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    job = make_job()
    monkeypatch.setattr(
        api, "require_weights", lambda *_, **__: retry_and_delete.delete_job(job_id=job.pk)
    )
    wish = {"segment_id": "1", "start_time": 1.0, "end_time": 4.0}
    url = f"/api/retranslate/{path}?job_id={job.pk}"
    answer = client.post(url, wish, content_type="application/json")
    assert answer.status_code == 404, answer.content
    assert "not found or expired" in answer.json()["detail"]
    with pytest.raises(Job.DoesNotExist):
        send(job=job)
    assert (
        not default_storage.exists("retranslations")
        or not default_storage.listdir("retranslations")[1]
    )
    assert not Retranslation.objects.exists()


@pytest.mark.usefixtures("database_file")
def test_a_job_can_be_deleted_while_its_retranslation_is_finished() -> None:
    """Whoever holds the retranslation's row and waits for the job's would wait for ever."""
    job = make_job()
    made = request(job)
    claimed = services.claim(services.claimable_requests())
    assert claimed is not None
    errors: list[Exception] = []

    def finish() -> None:
        lease = Lease(claimed, condition=Q)
        try:
            services.finish(lease=lease, retranslation=claimed, text="Ask.", words=[])
        except LeaseLostError as error:
            errors.append(error)
        finally:
            connection.close()

    finishing = threading.Thread(target=finish)
    with transaction.atomic():
        assert locks.lock_job(job.pk)
        finishing.start()
        finishing.join(0.5)  # it waits by now
        assert retry_and_delete.delete_job(job_id=job.pk)
    finishing.join(30)
    assert [type(error) for error in errors] == [LeaseLostError]
    assert not Retranslation.objects.filter(pk=made.pk).exists()


def test_a_clip_that_breaks_inside_fails_with_the_reason() -> None:
    made = send()
    with default_storage.open(str(made.clip), "wb") as file:
        file.write(b"no audio")
    assert work_on_one()
    assert now(made).state == Leased.State.FAILED
    assert "not audio" in now(made).error


def test_what_is_deleted_in_the_midst_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    made = request(make_job(silence(5), said=()), Span(1.0, 4.0))
    load = load_engine

    def delete_first(**values: Any) -> Any:
        services.delete_retranslation(retranslation_id=made.pk)
        return load(**values)

    monkeypatch.setattr(work, "load_engine", delete_first)
    assert work_on_one()
    assert not Retranslation.objects.exists()


# ---- Lost workers


def test_a_lost_worker_is_noticed_and_another_told() -> None:
    made = request(make_job())
    assert services.claim(services.claimable_requests()) is not None
    machine = now(made).worker.split("/")[0]
    Retranslation.objects.update(worker=f"{machine}/999999999/1.00/abc")
    messages()
    assert not work_on_one()
    services.recover()
    assert now(made).state == Leased.State.TODO
    assert messages() == 1


def test_what_kills_its_workers_is_given_up() -> None:
    made = request(make_job())
    Retranslation.objects.update(attempts=leases.MAX_ATTEMPTS)
    messages()
    services.recover()
    assert now(made).state == Leased.State.FAILED
    assert "workers died" in now(made).error
    assert messages() == 0


# ---- Whose turn it is


def test_who_waits_comes_before_batches_and_each_in_order() -> None:
    job = make_job()
    batch = request_batch(job)
    first, second = request(job), request(job)
    taken = [services.claim(services.claimable_requests()) for _ in range(3)]
    assert taken == [first, second, None]
    in_batch = services.claim(services.claimable_in_batches())
    assert in_batch == batch.retranslations.order_by("start").first()


def test_of_batches_one_row_at_a_time_is_worked_at() -> None:
    request_batch(make_job())
    request_batch(make_job())
    row = services.claim(services.claimable_in_batches())
    assert row is not None
    assert services.claim(services.claimable_in_batches()) is None
    past = timezone.now() - timedelta(seconds=1)
    Retranslation.objects.filter(pk=row.pk).update(lease_until=past)
    assert services.claim(services.claimable_in_batches()) == row, "its worker is gone"


def test_a_batch_goes_to_the_queue_s_end_after_each_row_and_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    failing(monkeypatch, SpeechError("There are no weights."))
    batch = request_batch(make_job())
    seen = []
    for _ in range(3):
        assert messages() == 1
        tasks.work_on_batches()
        seen.append(services.standing(batch)[:2])
    assert seen == [("processing", 33), ("processing", 66), ("failed", 100)]
    assert messages() == 0
    assert "There are no weights." in services.standing(batch)[2]
    batch.retranslations.filter(start__lt=3.0).update(state=Leased.State.DONE)
    assert services.standing(batch) == (
        "completed",
        100,
        "Completed: 1 to accept or to reject; 2 failed",
    )
    found = client.get(f"/api/retranslate/suspects/{batch.pk}").json()
    assert [row["status"] for row in found["retranslations"]] == ["completed", "failed", "failed"]


def test_a_batch_that_stands_still_is_set_going_again_once() -> None:
    request_batch(make_job())
    messages()
    for _ in range(3):
        services.recover()
    assert messages() == 1
    assert services.claim(services.claimable_in_batches()) is not None
    services.recover()
    assert messages() == 0, "whoever has a row in hand goes on"


# ---- What an operator does


def act(client: Client, action: str, *rows: Retranslation, **data: str) -> list[str]:
    answer: Any = client.post(
        "/admin/retranslation/retranslation/",
        {"action": action, "_selected_action": [str(row.pk) for row in rows], **data},
        follow=True,
    )
    assert answer.redirect_chain, answer.content
    return [str(message) for message in answer.context["messages"]]


def test_the_admin_decides_and_tries_again(admin_client: Client) -> None:
    job = make_job()
    segment = job.segments.all()[1]
    done, failed = request(job, segment_id=str(segment.pk)), request(job)
    Retranslation.objects.filter(pk=failed.pk).update(state=Leased.State.FAILED)
    lease = leases.Lease(done, condition=Q)
    Retranslation.objects.filter(pk=done.pk).update(state=Leased.State.DOING)
    words = [{"start": 3.5, "end": 7.0, "text": " Ask not.", "probability": 0.9}]
    services.finish(lease=lease, retranslation=done, text="Ask not.", words=words)
    told = act(admin_client, "accept", done, failed)
    assert any("1 retranslation accepted." in text for text in told)
    assert any("nothing to decide" in text for text in told)
    segment.refresh_from_db()
    assert segment.text == "Ask not."
    assert now(done).decided_by == "admin"
    assert act(admin_client, "undo", done) == ["1 retranslation undecided again."]
    assert act(admin_client, "reject", done) == ["1 retranslation rejected."]
    told = act(admin_client, "retry_what_failed", done, failed)
    assert told == ["1 retranslation tried again.", "1 retranslation skipped: did not fail."]
    assert now(failed).state == Leased.State.TODO


def test_the_admin_shows_and_deletes_and_does_not_edit(admin_client: Client) -> None:
    job = make_job()
    batch, made = request_batch(job), request(job)
    for address in ("retranslation", "batch", "segmentchange"):
        assert admin_client.get(f"/admin/retranslation/{address}/").status_code == 200
    found: Any = admin_client.get(f"/admin/retranslation/retranslation/?q={batch.pk}")
    assert len(found.context["cl"].result_list) == 3
    page = f"/admin/retranslation/retranslation/{made.pk}/change/"
    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, {"text": "edited"}).status_code == 403
    act(admin_client, "delete_selected", made, post="yes")
    assert not Retranslation.objects.filter(pk=made.pk).exists()
