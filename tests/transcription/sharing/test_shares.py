"""A recording is shared with people and groups, as readers or editors, by its owner alone."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tests import UNKNOWN_ID
from tests.transcription.builders import make_ended_job
from tests.transcription.sharing.conftest import give
from transcription.models import Job, Segment, Share
from transcription.sharing import services

pytestmark = pytest.mark.django_db


def shares_path(job: Job, share_id: int | None = None) -> str:
    return f"/api/transcribe/shares/{job.pk}" + ("" if share_id is None else f"/{share_id}")


def post(client: Client, job: Job, **body: str) -> Any:
    return client.post(shares_path(job), body, content_type="application/json")


def status_of(client: Client, job: Job) -> str:
    return str(client.get(f"/api/transcribe/status/{job.pk}").json()["status"])


def first_segment(job: Job) -> Segment:
    segment = job.segments.first()
    assert segment is not None
    return segment


def edit(client: Client, job: Job) -> Any:
    segment = first_segment(job)
    path, body = (
        f"/api/transcribe/segments/{segment.pk}",
        {"text": "Fields.", "was": {"text": segment.text}},
    )
    return client.patch(path, body, content_type="application/json")


def test_a_reader_sees_the_recording_and_changes_nothing(
    as_anna: Client, as_ben: Client, job: Job
) -> None:
    assert status_of(as_ben, job) == "not_found"
    answer = post(as_anna, job, user="ben", role="reader")
    assert answer.status_code == 200
    assert answer.json() | {"id": 0, "created_at": 0} == {
        "id": 0,
        "user": "ben",
        "group": None,
        "role": "reader",
        "created_at": 0,
    }
    assert status_of(as_ben, job) == "completed"
    assert edit(as_ben, job).status_code == 403
    assert first_segment(job).text == "Strawberry fields."


def test_an_editor_changes_the_transcript_but_may_neither_share_nor_delete_it(
    as_anna: Client, as_ben: Client, carla: User, job: Job
) -> None:
    post(as_anna, job, user="ben", role="editor")
    assert edit(as_ben, job).status_code == 200
    assert first_segment(job).text == "Fields."
    for refused in (
        post(as_ben, job, user="carla", role="reader"),
        as_ben.get(shares_path(job)),
        as_ben.delete(f"/api/transcribe/jobs/{job.pk}"),
        as_ben.post(f"/app/jobs/{job.pk}/delete"),
    ):
        assert refused.status_code == 403
        assert "Only its owner may" in refused.json()["detail"]
    assert Share.objects.count() == 1
    assert Job.objects.filter(pk=job.pk).exists()


def test_those_in_a_group_see_what_is_shared_with_it_as_long_as_they_are_in_it(
    as_anna: Client, as_ben: Client, as_carla: Client, ben: User, job: Job
) -> None:
    group = Group.objects.create(name="The desk")
    ben.groups.add(group)
    answer = post(as_anna, job, group="The desk", role="reader")
    assert answer.json()["group"] == "The desk"
    assert answer.json()["user"] is None
    assert status_of(as_ben, job) == "completed"
    assert status_of(as_carla, job) == "not_found"
    ben.groups.clear()
    assert status_of(as_ben, job) == "not_found"


def test_sharing_again_changes_the_role(as_anna: Client, ben: User, job: Job) -> None:
    first = post(as_anna, job, user="ben", role="reader").json()
    again = post(as_anna, job, user="ben", role="editor").json()
    assert again == first | {"role": "editor"}
    listed = as_anna.get(shares_path(job)).json()
    assert listed == {"shares": [again], "count": 1}


def test_a_role_is_changed_and_a_share_ended(
    as_anna: Client, as_ben: Client, ben: User, job: Job
) -> None:
    share_id = post(as_anna, job, user="ben", role="editor").json()["id"]
    path = shares_path(job, share_id)
    changed = as_anna.patch(path, {"role": "reader"}, content_type="application/json")
    assert changed.status_code == 200
    assert changed.json()["role"] == "reader"
    assert edit(as_ben, job).status_code == 403
    assert as_anna.delete(path).status_code == 204
    assert status_of(as_ben, job) == "not_found"
    for gone in (
        as_anna.delete(path),
        as_anna.patch(path, {"role": "reader"}, content_type="application/json"),
    ):
        assert gone.status_code == 404
        assert gone.json() == {"detail": "The recording is not shared so (any more)."}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"role": "reader"}, "Send either user or group"),
        ({"user": "ben", "group": "The desk", "role": "reader"}, "Send either user or group"),
        ({"user": "ben"}, "role: "),
        ({"user": "ben", "role": "owner"}, "role: "),
        ({"user": "", "role": "reader"}, "user: "),
        ({"user": "nobody", "role": "reader"}, "user: No person here is called nobody."),
        ({"user": "BEN", "role": "reader"}, "with its capital letters"),
        ({"group": "ben", "role": "reader"}, "group: No group here is called ben."),
        ({"user": "anna", "role": "reader"}, "user: The recording is yours"),
    ],
)
def test_a_wrong_wish_is_refused_with_a_reason(
    as_anna: Client, ben: User, job: Job, body: dict[str, str], said: str
) -> None:
    answer = post(as_anna, job, **body)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert not Share.objects.exists()


def test_who_may_not_sign_in_is_answered_like_one_who_never_was(
    as_anna: Client, ben: User, job: Job
) -> None:
    User.objects.filter(pk=ben.pk).update(is_active=False)
    inactive = post(as_anna, job, user="ben", role="reader").json()["detail"]
    unknown = post(as_anna, job, user="nob", role="reader").json()["detail"]
    assert inactive == unknown.replace("nob.", "ben.")


def test_nobody_finds_out_who_is_here_by_trying_names(
    as_anna: Client, as_ben: Client, anna: User, ben: User, job: Job
) -> None:
    for number in range(services.UNKNOWN_NAMES):
        assert post(as_anna, job, user=f"name-{number}", role="reader").status_code == 400
    refused = post(as_anna, job, user="ben", role="reader")  # although there is one
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) == 3600
    assert "Wait an hour" in refused.json()["detail"]
    assert not Share.objects.exists()


def test_names_that_exist_are_not_counted(as_anna: Client, ben: User, job: Job) -> None:
    for _ in range(services.UNKNOWN_NAMES + 1):
        assert post(as_anna, job, user="ben", role="reader").status_code == 200


def test_what_is_not_shared_is_answered_as_if_it_never_was(
    as_ben: Client, anna: User, job: Job
) -> None:
    unknown = Job(pk=UNKNOWN_ID)
    for method in ("get", "post"):
        own, missing = (
            getattr(as_ben, method)(shares_path(each), content_type="application/json")
            for each in (job, unknown)
        )
        assert own.status_code == missing.status_code == 404
        assert own.content == missing.content


def test_a_share_of_another_recording_is_not_found(
    as_anna: Client, as_ben: Client, ben: User, job: Job
) -> None:
    other = give(make_ended_job("Another."), ben)
    share_id = post(as_anna, job, user="ben", role="reader").json()["id"]
    assert as_ben.delete(shares_path(other, share_id)).status_code == 404
    assert Share.objects.count() == 1


def test_nobody_who_is_not_known_shares(client: Client, job: Job) -> None:
    assert client.get(shares_path(job)).status_code == 401
    assert post(client, job, user="ben", role="reader").status_code == 401


def test_without_accounts_there_is_nobody_to_share_with(
    client: Client, job: Job, settings: Any
) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "off"
    for path in (shares_path(job), f"/api/transcribe/links/{job.pk}"):
        answer = client.get(path)
        assert answer.status_code == 409
        assert "TRANSCRIBER_ACCOUNTS=required" in answer.json()["detail"]
    assert client.get(f"/api/transcribe/shares/{UNKNOWN_ID}").status_code == 404
    facts = client.get(f"/app/jobs/{job.pk}/").context["facts"]
    assert not facts["can_share"]
    assert facts["can_change"]


# ---- On the pages


def test_the_page_of_recordings_says_who_shared_what(
    as_anna: Client, as_ben: Client, ben: User, job: Job
) -> None:
    post(as_anna, job, user="ben", role="reader")
    page = as_ben.get("/app/").content.decode()
    assert "shared by anna" in page
    assert "you may read it" in " ".join(page.split())
    assert f"delete-{job.pk}" not in page
    own = as_anna.get("/app/").content.decode()
    assert "shared by" not in own
    assert f"delete-{job.pk}" in own
    post(as_anna, job, user="ben", role="editor")
    Job.objects.filter(pk=job.pk).update(status=Job.Status.FAILED)
    page = as_ben.get("/app/").content.decode()
    assert "you may change it" in " ".join(page.split())
    assert f"retry-{job.pk}" in page
    assert f"delete-{job.pk}" not in page


def test_what_is_shared_to_be_read_stays_in_the_list_when_one_deletes_ones_own(
    as_anna: Client, as_ben: Client, ben: User, job: Job
) -> None:
    post(as_anna, job, user="ben", role="reader")
    own = give(make_ended_job("Mine."), ben)
    page = as_ben.post(f"/app/jobs/{own.pk}/delete").content.decode()
    assert f"job-{own.pk}" not in page
    assert f"job-{job.pk}" in page


@pytest.mark.parametrize(
    ("role", "can_change"), [(Share.Role.READER, False), (Share.Role.EDITOR, True)]
)
def test_the_review_page_offers_what_the_role_allows(
    as_anna: Client, as_ben: Client, ben: User, job: Job, role: str, can_change: bool
) -> None:
    post(as_anna, job, user="ben", role=role)
    page = as_ben.get(f"/app/jobs/{job.pk}/")
    facts = page.context["facts"]
    assert facts["can_change"] is can_change
    assert facts["can_chat"]
    assert not facts["can_share"]
    html = page.content.decode()
    assert ('id="diarize"' in html) is can_change
    assert ('data-do="edit"' in html) is can_change
    assert 'id="share-dialog"' not in html
    own = as_anna.get(f"/app/jobs/{job.pk}/")
    assert own.context["facts"]["can_change"]
    assert own.context["facts"]["can_share"]
    assert 'id="share-dialog"' in own.content.decode()
