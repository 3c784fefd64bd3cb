"""The audit log: who did what to which object, from where, when; and that nobody changes it afterwards."""

import csv
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import IntegrityError, connection, transaction
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone
from knox.settings import CONSTANTS

from accounts import audit, people, recovery, tokens
from accounts.models import AppendOnlyError, AuditEntry
from tests.accounts.people import client_of, make_job_of, make_person
from tests.transcription.builders import MODEL
from transcriber_site import asgi
from transcription.models import Job, Recording, Segment, Share

pytestmark = pytest.mark.django_db

CANARY = "kingfisher"


@pytest.fixture(autouse=True)
def _accounts(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"


@pytest.fixture
def anna() -> User:
    return make_person("anna")


@pytest.fixture
def job(anna: User) -> Job:
    return make_job_of(anna, f"A {CANARY} sat here.", name=f"{CANARY}.flac")


@pytest.fixture
def own(anna: User, job: Job) -> Client:
    """A client of the owner; that it signed in is not what tests look for."""
    client = client_of(anna)
    forget()
    return client


@pytest.fixture
def reader(job: Job) -> Client:
    bert = make_person("bert")
    Share.objects.create(recording=job.recording, user=bert)
    client = client_of(bert)
    forget()
    return client


@pytest.fixture
def root() -> Client:
    client = client_of(make_person("root", is_administrator=True))
    forget()
    return client


def forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM accounts_auditentry")


def entries() -> list[tuple[str, str, str, str]]:
    """Name, action, kind and object of each entry, oldest first."""
    fields = ("name", "action", "kind", "object_id")
    return list(AuditEntry.objects.order_by("pk").values_list(*fields))


# ---- Reading


READING = ("status/{}", "result/{}", "edits/{}", "suspects/{}", "debug/{}")


@pytest.mark.parametrize("path", READING)
def test_reading_what_is_shared_is_an_entry_and_reading_ones_own_is_none(
    own: Client, reader: Client, job: Job, path: str
) -> None:
    url = f"/api/transcribe/{path.format(job.pk)}"
    assert own.get(url).status_code == 200
    assert entries() == []
    assert reader.get(url, REMOTE_ADDR="192.0.2.7").status_code == 200
    assert entries() == [("bert", "read", "job", str(job.pk))]
    entry = AuditEntry.objects.get()
    assert (entry.address, entry.person) == ("192.0.2.7", User.objects.get(username="bert"))
    assert abs(entry.at - timezone.now()) < timedelta(seconds=10)


def test_the_review_page_and_all_that_it_loads_are_one_entry(reader: Client, job: Job) -> None:
    assert reader.get(f"/app/jobs/{job.pk}/").status_code == 200
    reader.get(f"/app/jobs/{job.pk}/peaks")
    reader.get(f"/app/jobs/{job.pk}/row")
    segment = Segment.objects.get(job=job)
    assert reader.get(f"/api/transcribe/segments/{segment.pk}").status_code == 200
    assert entries() == [("bert", "read", "job", str(job.pk))]


def test_a_search_that_shows_what_is_shared_is_reading_it(reader: Client, job: Job) -> None:
    assert reader.get("/app/").status_code == 200
    assert entries() == []
    assert CANARY in reader.get(f"/app/?q={CANARY}").content.decode()
    assert entries() == [("bert", "read", "job", str(job.pk))]


def test_after_ten_minutes_it_is_another_entry(
    reader: Client, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/api/transcribe/result/{job.pk}"
    reader.get(url)
    reader.get(url)
    assert len(entries()) == 1
    monkeypatch.setattr(audit, "ONE_ENTRY", timedelta())
    reader.get(url)
    assert len(entries()) == 2


def test_what_is_refused_is_not_noted_as_done(root: Client, job: Job) -> None:
    assert root.get(f"/api/transcribe/result/{job.pk}").status_code == 404
    assert root.delete(f"/api/transcribe/jobs/{job.pk}").status_code == 404
    assert entries() == []


# ---- Doing


def test_every_export_is_an_entry_ones_own_too(own: Client, job: Job) -> None:
    url = f"/api/transcribe/export/{job.pk}"
    assert own.get(f"{url}?format=srt").status_code == 200
    assert own.get(f"{url}?format=txt").status_code == 200
    assert entries() == [("anna", "export", "job", str(job.pk))] * 2
    details = list(AuditEntry.objects.order_by("pk").values_list("detail", flat=True))
    assert details == ["srt", "txt"]


def test_uploading_editing_and_deleting_are_entries(own: Client, job: Job, audio_dir: Path) -> None:
    with (audio_dir / "jfk.flac").open("rb") as file:
        answer = own.post("/api/transcribe/", {"file": file, "model_name": MODEL})
    uploaded = answer.json()["job_id"]
    segment = Segment.objects.get(job=job)
    text = segment.text
    for new in ("It sat.", "It sat there.", "It sat there long."):  # one entry for all
        edit = {"text": new, "was": {"text": text}}
        answer = own.patch(
            f"/api/transcribe/segments/{segment.pk}", edit, content_type="application/json"
        )
        assert answer.status_code == 200, answer.content
        text = new
    assert own.post(f"/app/jobs/{uploaded}/cancel").status_code == 200
    assert own.post(f"/app/jobs/{uploaded}/retry").status_code == 200
    assert own.delete(f"/api/transcribe/jobs/{uploaded}").status_code == 204
    assert own.post(f"/app/jobs/{job.pk}/delete").status_code == 200
    assert [entry[1:] for entry in entries()] == [
        ("upload", "job", uploaded),
        ("edit", "job", str(job.pk)),
        ("cancel", "job", uploaded),
        ("retry", "job", uploaded),
        ("delete", "job", uploaded),
        ("delete", "job", str(job.pk)),
    ]


def test_a_summary_is_an_entry(reader: Client, job: Job) -> None:
    answer = reader.post("/api/summary/", {"job_id": str(job.pk)}, content_type="application/json")
    assert answer.status_code == 200
    made = answer.json()["job_id"]
    assert entries() == [
        ("bert", "read", "job", str(job.pk)),
        ("bert", "summarize", "summary", made),
    ]


# ---- Signing in


def sign_in(name: str, password: str) -> Client:
    cache.clear()  # no sign-in of another test counts
    client = Client()
    client.post("/accounts/login/", {"login": name, "password": password}, REMOTE_ADDR="192.0.2.7")
    return client


def test_signing_in_and_failing_to_are_entries(anna: User) -> None:
    client = sign_in("anna", "password of anna")
    assert client.get("/app/").status_code == 200
    client.post("/accounts/logout/")
    assert sign_in("anna", "wrong").get("/app/").status_code == 302
    assert [entry[:2] for entry in entries()] == [
        ("anna", "sign in"),
        ("anna", "sign out"),
        ("anna", "failed sign-in"),
    ]
    addresses = set(AuditEntry.objects.exclude(action="sign out").values_list("address", flat=True))
    assert addresses == {"192.0.2.7"}


def test_a_password_typed_as_a_name_is_not_noted(anna: User) -> None:
    sign_in("password of anna", "anna")
    assert entries() == [("", "failed sign-in", "", "")]


# ---- The admin


def test_what_administrators_do_is_noted_without_values(root: Client, anna: User) -> None:
    form = {
        "username": "anna",
        "first_name": "Another Name",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "limits-TOTAL_FORMS": "0",
        "limits-INITIAL_FORMS": "0",
    }
    assert root.post(f"/admin/auth/user/{anna.pk}/change/", form).status_code == 302
    assert entries() == [("root", "admin: change", "user", str(anna.pk))]
    entry = AuditEntry.objects.get()
    assert "First name" in entry.detail
    assert "Another Name" not in str(vars(entry))
    assert entry.address == "127.0.0.1"


def test_the_log_is_shown_filtered_searched_and_exported(root: Client, reader: Client) -> None:
    audit.record("export", kind="job", object_id="41", detail="=cmd()")
    audit.record("read", kind="job", object_id="42")
    url = "/admin/accounts/auditentry/"
    assert root.get(url).context["cl"].result_count == 2
    assert root.get(f"{url}?action__exact=read").context["cl"].result_count == 1
    assert root.get(f"{url}?q=41").context["cl"].result_count == 1
    ids = list(AuditEntry.objects.values_list("pk", flat=True))
    answer = root.post(url, {"action": "export_csv", "_selected_action": ids})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [row["object_id"] for row in rows] == ["41", "42"]
    assert rows[0]["detail"] == "'=cmd()", "no spreadsheet takes it for a formula"
    assert reader.get(url).status_code == 302, "not for members"


def test_the_admin_neither_adds_changes_nor_deletes_entries(root: Client) -> None:
    audit.record("read", kind="job", object_id="42")
    entry = AuditEntry.objects.get()
    url = f"/admin/accounts/auditentry/{entry.pk}"
    assert root.post("/admin/accounts/auditentry/add/", {}).status_code == 403
    assert root.post(f"{url}/change/", {"action": "nothing"}).status_code == 403
    assert root.post(f"{url}/delete/", {"post": "yes"}).status_code == 403
    assert AuditEntry.objects.get(pk=entry.pk).action == "read"


# ---- Append only, and the end


def test_entries_cannot_be_changed_or_deleted() -> None:
    audit.record("read", kind="job", object_id="42")
    entry = AuditEntry.objects.get()
    with pytest.raises(AppendOnlyError):
        entry.save()
    with pytest.raises(AppendOnlyError):
        entry.delete()
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEntry(pk=entry.pk, action="nothing").save()
    for change in (
        lambda: AuditEntry.objects.update(name="nobody"),
        lambda: AuditEntry.objects.bulk_update([entry], ["name"]),
        lambda: AuditEntry.objects.all().delete(),
        lambda: AuditEntry.objects.update_or_create(pk=entry.pk, defaults={"name": "nobody"}),
    ):
        with pytest.raises(AppendOnlyError):
            change()
    assert AuditEntry.objects.get().action == "read"


def test_an_entry_outlives_the_person(anna: User) -> None:
    audit.record("read", kind="job", object_id="42", person=anna)
    anna.delete()
    assert entries() == [("anna", "read", "job", "42")]


def test_entries_expire_after_the_days_that_are_set_and_not_before(settings: Any) -> None:
    settings.TRANSCRIBER_AUDIT_DAYS = 30
    for days in (29, 31):
        audit.record("read", object_id=f"{days} days ago")
    with connection.cursor() as cursor:
        for days in (29, 31):
            at = connection.ops.adapt_datetimefield_value(timezone.now() - timedelta(days=days))
            cursor.execute(
                "UPDATE accounts_auditentry SET at = %s WHERE object_id = %s",
                [at, f"{days} days ago"],
            )
    recovery.recover()
    assert [entry[3] for entry in entries()] == ["29 days ago"]


def test_the_log_holds_no_content(
    own: Client, reader: Client, root: Client, job: Job, settings: Any
) -> None:
    settings.TRANSCRIBER_ADMINS_READ_ALL = True
    for client in (own, reader, root):
        client.get(f"/app/?q={CANARY}")
        client.get(f"/app/jobs/{job.pk}/?q={CANARY}")
        client.get(f"/api/transcribe/export/{job.pk}?format=srt")
        client.get(f"/admin/transcription/job/?q={CANARY}")
    own.delete(f"/api/transcribe/jobs/{job.pk}")
    assert not Recording.objects.exists()
    assert AuditEntry.objects.count() > 5
    assert CANARY not in str(list(AuditEntry.objects.values()))


def test_without_accounts_nothing_is_noted(client: Client, job: Job, settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "off"
    assert client.get(f"/api/transcribe/export/{job.pk}?format=srt").status_code == 200
    assert client.delete(f"/api/transcribe/jobs/{job.pk}").status_code == 204
    assert entries() == []


# ---- Tokens, people, sockets


def test_what_a_program_does_is_noted_with_its_token(anna: User, job: Job) -> None:
    bert = make_person("bert")
    Share.objects.create(recording=job.recording, user=bert)
    _, text = tokens.create_token(
        request=None, person=bert, name="nightly copy", scope="read", days=None
    )
    program = Client(headers={"Authorization": f"Bearer {text}"})
    assert program.get(f"/api/transcribe/result/{job.pk}").status_code == 200
    entry = AuditEntry.objects.get(action="read")
    assert (entry.name, entry.token, entry.object_id) == (
        "bert",
        text[: CONSTANTS.TOKEN_KEY_LENGTH],
        str(job.pk),
    )
    assert text not in str(list(AuditEntry.objects.values()))


def test_making_and_revoking_a_token_are_entries(own: Client) -> None:
    url = "/api/accounts/tokens"
    made = own.post(url, {"name": "script", "scope": "write"}, "application/json").json()
    assert own.delete(f"{url}/{made['id']}").status_code == 204
    assert entries() == [
        ("anna", "token made", "apitoken", made["id"]),
        ("anna", "token revoked", "apitoken", made["id"]),
    ]
    details = set(AuditEntry.objects.values_list("detail", flat=True))
    assert details == {f"{made['token'][: CONSTANTS.TOKEN_KEY_LENGTH]}…, write"}, (
        "names are their owner's"
    )


def test_what_is_done_to_people_is_noted_with_who_did_it(root: Client, anna: User) -> None:
    people.set_administrator(request=_request_of("root"), person=anna, administrator=True)
    assert entries() == [("root", "made administrator", "user", str(anna.pk))]


def test_what_the_operator_does_on_the_machine_is_noted_too(anna: User) -> None:
    people.set_groups(request=None, person=anna, groups=[])
    assert entries() == [("(operator)", "groups changed", "user", str(anna.pk))]


def _request_of(name: str) -> HttpRequest:
    request = RequestFactory().post("/accounts/people/")
    request.user = User.objects.get(username=name)
    return request


def test_sharing_and_links_are_entries_without_the_links_token(own: Client, job: Job) -> None:
    make_person("bert")
    answer = own.post(
        f"/api/transcribe/shares/{job.pk}",
        {"user": "bert", "role": "reader"},
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.content
    made = own.post(f"/api/transcribe/links/{job.pk}", {}, content_type="application/json")
    assert made.status_code == 200, made.content
    token = made.json()["url"].rstrip("/").rpartition("/")[2]
    visitor = Client()
    assert (
        visitor.get(f"/app/shared/{token}", REMOTE_ADDR="192.0.2.9", follow=True).status_code == 200
    )
    done = [entry[:2] for entry in entries()]
    assert done[:2] == [("anna", "share"), ("anna", "make link")]
    assert ("", "open link") in done or ("(share link)", "open link") in done
    assert ("(share link)", "read") in done
    assert token not in str(list(AuditEntry.objects.values()))


@pytest.mark.django_db(transaction=True)
def test_listening_to_what_is_shared_is_reading_it(anna: User, job: Job) -> None:
    bert = make_person("bert")
    Share.objects.create(recording=job.recording, user=bert)
    for person in (anna, bert):
        cookie = client_of(person).cookies["sessionid"].value
        async_to_sync(_listen)(str(job.pk), (b"cookie", f"sessionid={cookie}".encode()))
    read = AuditEntry.objects.filter(action="read")
    assert [(entry.name, entry.address, entry.object_id) for entry in read] == [
        ("bert", "192.0.2.8", str(job.pk))
    ]


@pytest.mark.django_db(transaction=True)
def test_a_program_that_listens_is_noted_with_its_token(anna: User, job: Job) -> None:
    bert = make_person("bert")
    Share.objects.create(recording=job.recording, user=bert)
    _, text = tokens.create_token(
        request=None, person=bert, name="a name of his own", scope="read", days=None
    )
    async_to_sync(_listen)(str(job.pk), (b"authorization", f"Bearer {text}".encode()))
    entry = AuditEntry.objects.get(action="read")
    assert (entry.name, entry.token) == ("bert", text[: CONSTANTS.TOKEN_KEY_LENGTH])


async def _listen(job_id: str, credentials: tuple[bytes, bytes]) -> None:
    headers = [(b"host", b"localhost"), credentials]
    socket = WebsocketCommunicator(
        asgi.application, f"/api/transcribe/live/{job_id}", headers=headers
    )
    socket.scope |= {"client": ("192.0.2.8", 1), "server": ("127.0.0.1", 8000)}
    accepted, _ = await socket.connect(timeout=10)
    assert accepted
    while (await socket.receive_output(timeout=10))["type"] != "websocket.close":
        pass
