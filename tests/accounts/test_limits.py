"""What each person may use: an upload, a job or a question too many is a 429 that says what is left."""

import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import limits, recovery
from accounts.limits import LimitReached
from accounts.models import Limits, Use
from retranslation.models import Batch
from retranslation.services import request_suspects
from tests.accounts.people import acting, client_of, make_job_of, make_person
from tests.chat.fault_server import FaultServer
from tests.retranslation.builders import make_recorded_job
from tests.rows import reload
from tests.transcription.builders import MODEL, lease_of
from tests.transcription.jobs.builders import make_prepared_job
from transcription import access, recordings
from transcription.access import Access
from transcription.jobs import lifecycle, prepare
from transcription.models import Job, Recording
from transcription.transcript.suspects import Suspect

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.fixture(autouse=True)
def _accounts(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"


@pytest.fixture
def anna() -> User:
    return make_person("anna")


@pytest.fixture
def file(audio_dir: Path) -> Path:
    return audio_dir / "jfk.flac"


def upload(client: Client, file: Path) -> Any:
    with file.open("rb") as opened:
        return client.post("/api/transcribe/", {"file": opened, "model_name": MODEL})


def use_audio(person: User, *, minutes: float, hours_ago: float = 0.0) -> None:
    row = Use.objects.create(person=person, kind=Use.Kind.AUDIO, amount=60 * minutes)
    Use.objects.filter(pk=row.pk).update(at=timezone.now() - timedelta(hours=hours_ago))


def refusal(answer: Any) -> str:
    assert answer.status_code == 429, answer.content
    assert list(answer.json()) == ["detail"]
    assert int(answer.headers["Retry-After"]) >= 1
    return str(answer.json()["detail"])


# ---- Jobs at once


def test_one_job_too_many_is_refused_until_one_has_ended(
    anna: User, file: Path, settings: Any
) -> None:
    settings.TRANSCRIBER_LIMIT_JOBS = 2
    client = client_of(anna)
    first = upload(client, file)
    assert first.status_code == 200
    assert upload(client, file).status_code == 200
    answer = upload(client, file)
    assert "You have 2 jobs in progress, and may have 2 at once: 0 are left" in refusal(answer)
    assert answer.headers["Retry-After"] == "60"
    assert Recording.objects.count() == 2
    lifecycle.cancel_job(job_id=first.json()["job_id"])
    assert upload(client, file).status_code == 200


def test_other_peoples_jobs_do_not_count(anna: User, file: Path, settings: Any) -> None:
    settings.TRANSCRIBER_LIMIT_JOBS = 1
    with acting(make_person("bert")):
        make_prepared_job()
    assert upload(client_of(anna), file).status_code == 200


def test_a_failed_job_is_not_retried_beside_too_many_others(anna: User, settings: Any) -> None:
    settings.TRANSCRIBER_LIMIT_JOBS = 1
    with acting(anna):
        make_prepared_job()
    failed = make_job_of(anna, "a")
    Job.objects.filter(pk=failed.pk).update(status=Job.Status.FAILED)
    detail = refusal(client_of(anna).post(f"/app/jobs/{failed.pk}/retry"))
    assert "You have 1 jobs in progress" in detail
    assert reload(failed).status == Job.Status.FAILED


@pytest.mark.django_db(transaction=True)
def test_of_two_uploads_at_once_one_gets_the_last_slot(
    anna: User, settings: Any, database_file: None
) -> None:
    settings.TRANSCRIBER_LIMIT_JOBS = 1
    person = User.objects.create_user("ben")
    together, made, refused = threading.Barrier(6), [], []

    def create() -> None:
        try:
            with acting(person):
                recording = Recording(name="a.flac", size=1, file="a.flac")
                together.wait()
                made.append(
                    lifecycle.create_job(
                        recording=recording, model_name=MODEL, language="en", diarize=False
                    )
                )
        except limits.LimitReached as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 5)
    assert Job.objects.filter(owner=person).count() == 1


# ---- Minutes of audio


def test_a_recording_longer_than_what_is_left_is_refused(
    anna: User, file: Path, settings: Any
) -> None:
    settings.TRANSCRIBER_LIMIT_AUDIO_MINUTES = 10
    use_audio(anna, minutes=5, hours_ago=23)
    use_audio(anna, minutes=4.9, hours_ago=2)
    stored = stored_recordings()
    answer = upload(client_of(anna), file)
    detail = refusal(answer)
    assert "You have used 9.9 of the 10 minutes of audio" in detail
    assert "0.1 are left, and this recording has 0.2" in detail
    assert 3500 < int(answer.headers["Retry-After"]) <= 3600, "an hour later the 5 minutes are over"
    assert not Recording.objects.exists()
    assert stored_recordings() == stored, "its files are deleted"
    use_audio(make_person("bert"), minutes=100)
    Use.objects.filter(person=anna, amount=300).delete()
    assert upload(client_of(anna), file).status_code == 200


def stored_recordings() -> set[str]:
    """The folders of recordings that have files. Those of other tests of this process are there too."""
    if not default_storage.exists(recordings.ROOT):
        return set()
    folders = default_storage.listdir(recordings.ROOT)[0]
    return {name for name in folders if default_storage.listdir(f"{recordings.ROOT}/{name}")[1]}


def test_when_nothing_is_left_an_upload_is_refused_before_it_is_examined(
    anna: User, settings: Any, tmp_path: Path
) -> None:
    settings.TRANSCRIBER_LIMIT_AUDIO_MINUTES = 10
    use_audio(anna, minutes=10, hours_ago=1)
    no_audio = tmp_path / "a.flac"
    no_audio.write_bytes(b"This would be a 400.")
    assert "0.0 are left" in refusal(upload(client_of(anna), no_audio))


def test_what_was_decoded_counts_not_what_was_declared(anna: User, settings: Any) -> None:
    with acting(anna):
        recording = Recording(name="a", size=1, file="a.flac", declared_duration=3600.0)
        job = lifecycle.create_job(
            recording=recording, model_name=MODEL, language="en", diarize=False
        )
    assert Use.objects.get(person=anna).amount == 3600.0
    stage = prepare.claim_preparation()
    assert stage is not None
    prepare.finish_preparation(lease=lease_of(stage), job=job, duration=7200.0)
    assert Use.objects.get(person=anna).amount == 7200.0
    settings.TRANSCRIBER_LIMIT_AUDIO_MINUTES = 120
    with pytest.raises(limits.LimitReached, match=r"0\.0 are left"):
        limits.on_upload(owner_id=anna.pk, n_bytes=1)


def test_a_recording_that_cannot_be_read_costs_nothing_but_other_failures_do(anna: User) -> None:
    with acting(anna):
        recording = Recording(name="a", size=1, file="a.flac", declared_duration=3600.0)
        job = lifecycle.create_job(
            recording=recording, model_name=MODEL, language="en", diarize=False
        )
        read = make_prepared_job(n_chunks=0)
    stage = prepare.claim_preparation()
    assert stage is not None
    lifecycle.fail_work(lease=lease_of(stage), job_id=job.pk, error="no audio", can_retry=False)
    assert reload(job).status == Job.Status.FAILED
    assert Use.objects.get(job_id=job.pk).amount == 0.0
    limits.on_recording_read(job_id=read.pk, seconds=60.0)
    lifecycle.fail_job(job_id=read.pk, message="a worker was killed")
    assert Use.objects.get(job_id=read.pk).amount == 60.0


def test_deleting_a_recording_gives_no_minutes_back(anna: User, file: Path, settings: Any) -> None:
    client = client_of(anna)
    job_id = upload(client, file).json()["job_id"]
    used = Use.objects.get(person=anna).amount
    assert used == pytest.approx(11.0, abs=1)
    assert client.delete(f"/api/transcribe/jobs/{job_id}").status_code == 204
    assert Use.objects.get(person=anna).amount == used


def test_what_no_longer_counts_is_deleted_by_recovery(anna: User) -> None:
    use_audio(anna, minutes=1, hours_ago=49)
    use_audio(anna, minutes=2, hours_ago=23)
    recovery.recover()
    assert Use.objects.get().amount == 120


# ---- GB stored


def test_what_is_stored_is_limited(anna: User, file: Path, settings: Any) -> None:
    settings.TRANSCRIBER_LIMIT_STORED_GB = 1
    old = make_job_of(anna, "a")
    Recording.objects.filter(pk=old.recording_id).update(size=999_990_000)
    client = client_of(anna)
    answer = upload(client, file)
    assert "Your recordings take 1.00 of the 1 GB" in refusal(answer)
    assert client.delete(f"/api/transcribe/jobs/{old.pk}").status_code == 204
    assert upload(client, file).status_code == 200


# ---- Language models


@pytest.mark.embedded
def test_questions_to_the_provider_are_limited_and_the_built_in_model_is_not(
    anna: User, settings: Any
) -> None:
    settings.TRANSCRIBER_LIMIT_LLM_REQUESTS = 1
    client = client_of(anna)
    body: dict[str, Any] = {
        "full_text": "The launch was moved to Friday.",
        "messages": [{"role": "user", "content": "When is the launch?"}],
    }

    def ask(**changes: Any) -> Any:
        return client.post("/api/chat/", {**body, **changes}, content_type="application/json")

    with FaultServer() as provider:
        settings.OPENAI_BASE_URL = provider.url
        assert ask().status_code == 200
        answer = ask()
        assert "used the language models 1 times within 24 hours, and may 1 times" in refusal(
            answer
        )
        assert 86_000 < int(answer.headers["Retry-After"]) <= 86_400
        assert ask(stream=True).status_code == 429
        summary = client.post(
            "/api/summary/", {"full_text": body["full_text"]}, content_type="application/json"
        )
        assert summary.status_code == 429
        assert len(provider.requests) == 1
        assert ask(model_name="local-extractive").status_code == 200


# ---- Whose limits


def test_a_person_may_have_limits_of_their_own(anna: User, file: Path, settings: Any) -> None:
    settings.TRANSCRIBER_LIMIT_JOBS = 1
    Limits.objects.create(person=anna, jobs=2)
    client = client_of(anna)
    assert [upload(client, file).status_code for _ in range(3)] == [200, 200, 429]
    Limits.objects.update(jobs=0)
    assert upload(client, file).status_code == 200, "0 is no limit"


def test_limits_are_set_on_a_persons_page_in_the_admin(anna: User) -> None:
    administrator = client_of(make_person("root", is_administrator=True))
    url = f"/admin/auth/user/{anna.pk}/change/"
    page = administrator.get(url)
    form = page.context["adminform"].form.initial
    fields = {name: value for name, value in form.items() if value not in (None, False)}
    answer = administrator.post(
        url,
        {
            "username": "anna",
            "date_joined_0": fields["date_joined"].strftime("%Y-%m-%d"),
            "date_joined_1": fields["date_joined"].strftime("%H:%M:%S"),
            "is_active": "on",
            "limits-TOTAL_FORMS": "1",
            "limits-INITIAL_FORMS": "0",
            "limits-0-person": str(anna.pk),
            "limits-0-jobs": "3",
            "limits-0-audio_minutes": "",
        },
    )
    assert answer.status_code == 302, answer.content.decode()[:3000]
    assert limits.allowed(anna.pk).jobs == 3
    assert Limits.objects.get(person=anna).audio_minutes is None


def test_without_accounts_there_are_no_limits(client: Client, file: Path, settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "off"
    settings.TRANSCRIBER_LIMIT_JOBS = settings.TRANSCRIBER_LIMIT_AUDIO_MINUTES = 1
    assert [upload(client, file).status_code for _ in range(2)] == [200, 200]
    assert not Use.objects.exists()


def test_audio_that_is_transcribed_again_counts(anna: User, settings: Any) -> None:
    settings.TRANSCRIBER_LIMIT_AUDIO_MINUTES = 1
    use_audio(anna, minutes=0.5)
    with access.acting_as(Access(user_id=anna.pk, changes=True)):
        with access.as_service():
            job = make_recorded_job()
            Recording.objects.update(owner=anna)
        suspects = [
            Suspect(segment=None, start=0.0, end=20.0, reasons=("missed_speech",)) for _ in range(2)
        ]
        for n, allowed in ((1, True), (1, False)):
            ask = partial(
                request_suspects, job=job, suspects=suspects[:n], model_name="base", asked_by="anna"
            )
            if allowed:
                ask()
            else:
                with pytest.raises(LimitReached):
                    ask()
    assert Batch._base_manager.count() == 1
