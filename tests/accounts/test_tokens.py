"""API tokens: made and revoked by people, used by programs."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from accounts import tokens
from accounts.models import ApiToken
from accounts.sockets import access_of
from tests.accounts.conftest import sign_in
from tests.transcription.builders import make_ended_job
from transcription.models import Job, Recording

pytestmark = pytest.mark.django_db
JOBS = "/api/transcribe/jobs"
URL = "/api/accounts/tokens"


def make_token(person: User, *, scope: str = "write", days: int | None = None) -> str:
    _, text = tokens.create_token(
        request=None, person=person, name="script", scope=scope, days=days
    )
    return text


def program(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def job_of(person: User) -> Job:
    job = make_ended_job("Hello.")
    Recording.objects.filter(pk=job.recording_id).update(owner=person)
    return job


def test_a_token_is_shown_once_and_stored_hashed(ann: User) -> None:
    client = sign_in("ann")
    answer = client.post(URL, {"name": "script", "scope": "write"}, "application/json")
    assert answer.status_code == 201
    made = answer.json()
    assert made["token"].startswith("tr_")
    assert answer["Cache-Control"] == "no-store"
    stored = ApiToken.objects.values().get()
    assert made["token"] not in map(str, stored.values())
    [listed] = client.get(URL).json()["tokens"]
    assert "token" not in listed
    assert listed["id"] == made["id"]
    assert listed["expires_at"] is None
    assert program(made["token"]).get(JOBS).status_code == 200


def test_a_program_with_a_token_sees_what_is_its_persons_alone(ann: User, boss: User) -> None:
    mine, other = job_of(ann), job_of(boss)
    listed = program(make_token(ann)).get(JOBS).content.decode()
    assert str(mine.pk) in listed
    assert str(other.pk) not in listed


def test_a_token_that_may_only_read_changes_nothing(ann: User) -> None:
    job = job_of(ann)
    client = program(make_token(ann, scope="read"))
    assert client.get(f"/api/transcribe/status/{job.pk}").status_code == 200
    answer = client.delete(f"{JOBS}/{job.pk}")
    assert answer.status_code == 403
    assert "`write`" in answer.json()["detail"]
    assert Job.objects.filter(pk=job.pk).exists()
    assert program(make_token(ann)).delete(f"{JOBS}/{job.pk}").status_code == 204
    assert not Job.objects.filter(pk=job.pk).exists()


@pytest.mark.parametrize(
    "header", ["Bearer tr_nothing", "bearer  tr_nothing ", "Bearer", "Bearer a b"]
)
def test_an_invalid_token_is_a_401_even_beside_a_session(ann: User, header: str) -> None:
    client = sign_in("ann")
    assert client.get(JOBS).status_code == 200
    answer = client.get(JOBS, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert "not valid" in answer.json()["detail"]


def test_an_expired_token_is_a_401_that_says_so(ann: User) -> None:
    token = make_token(ann, days=1)
    assert program(token).get(JOBS).status_code == 200
    ApiToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    answer = program(token).get(JOBS)
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_a_token_of_a_deactivated_person_is_dead(ann: User) -> None:
    token = make_token(ann)
    User.objects.filter(pk=ann.pk).update(is_active=False)
    assert program(token).get(JOBS).status_code == 401


def test_another_scheme_is_not_a_token(ann: User) -> None:
    client = sign_in("ann")
    assert client.get(JOBS, headers={"Authorization": "Basic YW5uOnB3"}).status_code == 200
    assert Client().get(JOBS, headers={"Authorization": "Basic YW5uOnB3"}).status_code == 401


def test_a_revoked_token_is_dead_at_once(ann: User) -> None:
    client, token = sign_in("ann"), make_token(ann)
    [listed] = client.get(URL).json()["tokens"]
    assert client.delete(f"{URL}/{listed['id']}").status_code == 204
    assert program(token).get(JOBS).status_code == 401
    assert client.delete(f"{URL}/{listed['id']}").status_code == 404


def test_nobody_revokes_or_sees_the_token_of_somebody_else(ann: User, boss: User) -> None:
    token = make_token(ann)
    public_id = ApiToken.objects.get().public_id
    other = sign_in("boss")
    assert other.get(URL).json() == {"tokens": []}
    assert other.delete(f"{URL}/{public_id}").status_code == 404
    assert other.post(f"/accounts/tokens/{public_id}/revoke/").status_code == 404
    assert program(token).get(JOBS).status_code == 200


@pytest.mark.parametrize("path", [URL, "/accounts/", "/accounts/password/change/", "/admin/"])
def test_a_token_makes_no_tokens_and_opens_no_account_page(boss: User, path: str) -> None:
    client = program(make_token(boss))
    for answer in (client.get(path), client.post(path, {"name": "more"})):
        assert answer.status_code == 403
        assert "browser" in answer.json()["detail"]
    assert ApiToken.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "scope": "all"}, "scope"),
        ({"name": "x", "days": 0}, "days"),
        ({"name": "x", "days": 3651}, "days"),
    ],
)
def test_a_wrong_request_names_its_field(ann: User, body: dict[str, Any], field: str) -> None:
    answer = sign_in("ann").post(URL, body, "application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(field)
    assert ApiToken.objects.count() == 0


def test_a_person_has_at_most_so_many_tokens(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_PER_PERSON", 1)
    client = sign_in("ann")
    assert client.post(URL, {"name": "one"}, "application/json").status_code == 201
    assert client.post(URL, {"name": "two"}, "application/json").status_code == 409
    assert (
        "Revoke one first"
        in client.post("/accounts/tokens/", {"name": "two", "scope": "read"}).content.decode()
    )


def test_the_last_use_is_written_once_a_minute(ann: User, time_machine: Any) -> None:
    time_machine.move_to("2026-03-01 12:00:00+00:00", tick=False)
    client = program(make_token(ann))
    client.get(JOBS)
    first = ApiToken.objects.get().last_used_at
    assert first == timezone.now()
    time_machine.shift(30)
    client.get(JOBS)
    assert ApiToken.objects.get().last_used_at == first
    time_machine.shift(31)
    client.get(JOBS)
    assert ApiToken.objects.get().last_used_at == timezone.now()


def test_a_socket_takes_a_token_too(ann: User) -> None:
    token = make_token(ann)

    def scope(value: str) -> dict[str, Any]:
        return {"cookies": {}, "headers": [(b"authorization", value.encode())]}

    found = access_of(scope(f"Bearer {token}"))
    assert found is not None
    assert found.user_id == ann.pk
    assert access_of(scope("Bearer tr_nothing")) is None
    ApiToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert access_of(scope(f"Bearer {token}")) is None


def test_an_invalid_token_beside_a_session_opens_no_socket(ann: User) -> None:
    cookies = {name: morsel.value for name, morsel in sign_in("ann").cookies.items()}
    known = access_of({"cookies": cookies, "headers": []})
    assert known is not None
    assert known.user_id == ann.pk
    sent = {"cookies": cookies, "headers": [(b"authorization", b"Bearer tr_nothing")]}
    assert access_of(sent) is None


def test_the_profile_page_makes_shows_and_revokes_tokens(ann: User) -> None:
    client = sign_in("ann")
    form = {"name": "the archive", "scope": "read", "days": "30"}
    page: Any = client.post("/accounts/tokens/", form)
    text = page.context["new_token"]
    assert f'value="{text}"' in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    assert program(text).get(JOBS).status_code == 200
    page = client.get("/accounts/")
    assert "the archive" in page.content.decode()
    assert text not in page.content.decode()
    [token] = page.context["tokens"]
    client.post(f"/accounts/tokens/{token.public_id}/revoke/")
    assert program(text).get(JOBS).status_code == 401


def test_the_profile_page_says_what_is_wrong_with_a_form(ann: User) -> None:
    answer = sign_in("ann").post("/accounts/tokens/", {"name": "", "scope": "read", "days": "-1"})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "This field is required" in page
    assert 'aria-invalid="true"' in page
    assert ApiToken.objects.count() == 0
