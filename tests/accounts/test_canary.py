"""Nobody sees, or changes, what belongs to somebody else: each address, asked by everybody who may not.

Alice's texts all carry a random word. Each request first succeeds as Alice; then others send it, and nothing that they
get has the word, and none of Alice's rows has changed. A new address that no case names is a failure.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts import tokens
from accounts.models import ApiToken
from accounts.public import is_public
from retranslation import waiting
from tests.accounts.cases import LISTS, WITHOUT_OBJECTS, Case, cases, filled
from tests.accounts.world import World, everything, make_world
from tests.rows import reload
from transcription.models import Share
from transcription.sharing.links import create_link, revoke_link

pytestmark = pytest.mark.django_db

STRANGERS = ("bob", "carol", "erin", "nobody", "visitor", "late visitor", "expired token")
"""A member, an administrator, one whose share was ended, who is not known, who has a link of another recording, who
has a link that was revoked, and who has a token of Alice's that has expired."""
CLIP = (Path(__file__).parent.parent / "audio" / "jfk.flac").read_bytes()
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
VARYING_HEADERS = {"X-Request-ID", "X-Process-Time-Ms"}


@pytest.fixture
def world(settings: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    # No worker runs here, so requests need not wait for one.
    monkeypatch.setattr(waiting, "wait_for_end", lambda *_, **__: None)
    return make_world()


def client_of(world: World, name: str) -> Client:
    client = Client(raise_request_exception=False)
    if name == "visitor":
        assert world.other_job is not None
        _link, token = create_link(recording=world.other_job.recording, allows_chat=True)
        client.get(reverse("shared", args=[token]))
    elif name == "late visitor":
        link, token = create_link(recording=_job(world).recording, allows_chat=True)
        address = reverse("review", args=[world.ids["job"]])
        assert client.get(reverse("shared", args=[token])).status_code == 302
        assert client.get(address).status_code == 200
        revoke_link(recording=link.recording, link_id=link.pk)
    elif name.endswith(" token"):
        scope = name.removesuffix(" token").replace("expired", "write")
        made, token = tokens.create_token(
            request=None, person=world.people["alice"], name="mine", scope=scope, days=1
        )
        if name == "expired token":
            ApiToken.objects.filter(pk=made.pk).update(expiry=timezone.now())
        client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {token}"})
    elif name != "nobody":
        client.force_login(world.people[name])
    return client


def send(client: Client, case: Case, ids: dict[str, str], method: str = "") -> Any:
    address = reverse(case.view, kwargs=filled(case.kwargs, ids))
    query = filled(case.query, ids)
    if case.form is not None and (method or case.method) == "POST":
        form = filled(case.form, ids) | {"file": SimpleUploadedFile("clip.wav", CLIP)}
        return client.post(address, form, query_params=query)
    body = "" if case.body is None else json.dumps(filled(case.body, ids))
    return client.generic(
        method or case.method, address, body, "application/json", query_params=query
    )


def content(response: Any) -> str:
    """What the response says, its headers too."""
    data: bytes = response.getvalue() if response.streaming else response.content
    return data.decode("utf-8", "replace") + repr(sorted(response.headers.items()))


def comparable(response: Any, ids: dict[str, str]) -> tuple[int, dict[str, str], str]:
    """Status, headers and body without what differs between any two requests, such as the ids that were asked for."""
    headers = {
        name: value for name, value in response.headers.items() if name not in VARYING_HEADERS
    }
    body = response.getvalue() if response.streaming else response.content
    text = body.decode("utf-8", "replace")
    text = re.sub(r'"updated_at":[0-9.]+', '"updated_at":0', text)
    text = re.sub(r"\b[A-Za-z0-9]{64}\b", "<CSRF token>", text)
    for name, value in ids.items():
        if value.isdigit():
            continue  # no answer repeats them, and any number may have the same digits
        text = text.replace(value, f"<{name}>")
        headers = {one: held.replace(value, f"<{name}>") for one, held in headers.items()}
    headers.pop("Content-Length", None)  # ids differ in length
    return response.status_code, headers, text


def patterns(resolver: URLResolver, namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    """The name of each address of the site, with its pattern."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from patterns(pattern, inner)
        elif isinstance(pattern, URLPattern):
            yield f"{namespace}{pattern.name}", pattern


def test_each_address_has_a_case_or_a_reason(world: World) -> None:
    named = {case.view for case in (*cases(world), *LISTS)} | set(WITHOUT_OBJECTS)
    missing = [
        name
        for name, _ in patterns(get_resolver())
        if name not in named and not is_public(name) and not name.startswith("admin:")
    ]
    assert not missing


def test_each_request_succeeds_as_the_one_it_belongs_to(world: World) -> None:
    alice = client_of(world, "alice")
    failures = []
    for case in (*cases(world), *LISTS):
        before = everything()
        with transaction.atomic():
            response = send(alice, case, world.ids)
            if response.status_code not in case.expected:
                failures.append(f"{case}: {response.status_code} {content(response)[:300]}")
            elif case.method == "GET":
                assert everything() == before, case
            elif everything() == before and case.view != "chat":
                failures.append(f"{case}: nothing changed")
            transaction.set_rollback(True)
        assert everything() == before
    assert not failures


def test_nobody_else_sees_or_changes_anything(world: World) -> None:
    share = Share.objects.create(
        recording=_job(world).recording, user=world.people["erin"], role=Share.Role.EDITOR
    )
    erin = client_of(world, "erin")
    assert world.canary in content(send(erin, cases(world)[1], world.ids))
    share.delete()
    absent = world.absent()
    for name in STRANGERS:
        client, before = client_of(world, name), everything()
        for case in cases(world):
            with CaptureQueriesContext(connection) as asked:
                response = send(client, case, world.ids)
            assert world.canary not in content(response), (name, case)
            assert everything() == before, (name, case)
            assert response.status_code < 500, (name, case)
            with CaptureQueriesContext(connection) as asked_for_absent:
                never_was = send(client, case, absent)
            # Thus it takes as long, within noise.
            assert shapes(asked) == shapes(asked_for_absent), (name, case)
            as_absent = comparable(never_was, absent)
            assert comparable(response, world.ids) == as_absent, (name, case)
            assert everything() == before, (name, case)


def shapes(queries: CaptureQueriesContext) -> list[str]:
    """The queries without the values in them."""
    values = re.compile(r"'[^']*'|\"s\d+_x\d+\"|\b[0-9a-f]{32}\b|\b\d+\b")
    return [values.sub("?", query["sql"]) for query in queries.captured_queries]


def _job(world: World) -> Any:
    assert world.other_job is not None
    return type(world.other_job).objects.get(pk=world.ids["job"])


@pytest.mark.parametrize("name", STRANGERS)
def test_lists_hold_what_is_ones_own(world: World, name: str) -> None:
    client = client_of(world, name)
    for case in LISTS:
        response = send(client, case, world.ids)
        assert response.status_code in (200, 302, 401), (name, case)
        assert world.canary not in content(response), (name, case)
    found = client.get(reverse("app"), {"q": world.canary})
    assert f"{world.canary}.flac" not in content(found)


def test_no_method_of_any_address_shows_or_changes_anything(world: World) -> None:
    before = everything()
    for name in ("bob", "nobody"):
        client = client_of(world, name)
        for case in cases(world):
            for method in METHODS:
                response = send(client, case, world.ids, method)
                assert response.status_code < 500, (name, method, case)
                assert world.canary not in content(response), (name, method, case)
        assert everything() == before, name


def test_a_reader_reads_and_changes_nothing(world: World) -> None:
    dave, before = client_of(world, "dave"), everything()
    for case in cases(world):
        if "{job}" not in repr(case) and "{segment}" not in repr(case):
            continue
        with transaction.atomic():
            response = send(dave, case, world.ids)
            if not case.is_for_owner and (case.method == "GET" or case.allowed_to_readers):
                assert response.status_code in case.expected, (case, content(response)[:200])
            else:
                assert response.status_code == 403, (case, content(response)[:200])
                detail = response.json()["detail"]
                assert "to be read" in detail or "Only its owner" in detail
                assert everything() == before, case
            transaction.set_rollback(True)


def test_a_token_that_may_read_changes_nothing(world: World) -> None:
    reader, before = client_of(world, "read token"), everything()
    for case in cases(world):
        response = send(reader, case, world.ids)
        if case.method == "GET":
            assert response.status_code in case.expected, (case, content(response)[:200])
        else:
            assert response.status_code == 403, (case, content(response)[:200])
            assert "token" in response.json()["detail"]
        assert without_last_use(everything()) == without_last_use(before), case


def without_last_use(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    used = [{**row, "last_used_at": None} for row in rows["ApiToken"]]
    return {**rows, "ApiToken": used}


def test_an_editor_changes_what_is_shared(world: World) -> None:
    share = Share.objects.get(user=world.people["dave"])
    share.role = Share.Role.EDITOR
    share.save()
    dave = client_of(world, "dave")
    case = next(one for one in cases(world) if one.method == "PATCH")
    assert send(dave, case, world.ids).status_code == 200
    assert reload(share).role == Share.Role.EDITOR


def test_who_is_not_known_is_asked_to_sign_in(world: World) -> None:
    client = client_of(world, "nobody")
    response = client.get(reverse("transcription-jobs"))
    assert response.status_code == 401
    assert "token" in response.json()["detail"]
