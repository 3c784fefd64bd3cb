"""Administrators invite and change people, with links that work once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from accounts import events, one_time_links, people, tokens
from accounts.models import ApiToken, OneTimeLink
from tests.accounts.conftest import PASSWORD, Person, administrate, is_signed_in, sign_in
from tests.transcription.builders import make_ended_job
from transcriber_site.logs import mask_links
from transcription.models import Recording

pytestmark = pytest.mark.django_db
NEW = "another-three-words"
JOIN = {"username": "cleo", "password1": PASSWORD, "password2": PASSWORD}
RESET = {"new_password1": NEW, "new_password2": NEW}


def invite(administrator: Client, **form: str) -> str:
    """The path of an invitation."""
    data = {"note": "Cleo", "role": "member", "groups": "", **form}
    page: Any = administrator.post("/accounts/people/invite/", data)
    assert page.status_code == 200, page.content
    link = page.context["link"]
    assert link.startswith("http://testserver/accounts/link/")
    return str(link.removeprefix("http://testserver"))


def change(client: Client, person: User, action: str, **form: str) -> Any:
    return client.post(f"/accounts/people/{person.pk}/", {"action": action, **form})


@contextmanager
def changes() -> Iterator[list[tuple[str, str]]]:
    """Who was changed, and how, while this lasts."""
    seen: list[tuple[str, str]] = []

    def note(*, person: User | None, action: str, **_: Any) -> None:
        seen.append((person.get_username() if person else "", action))

    events.person_changed.connect(note)
    try:
        yield seen
    finally:
        events.person_changed.disconnect(note)


def test_who_is_invited_joins_once(boss: User) -> None:
    with changes() as seen:
        path = invite(administrate(), groups="news, archive")
        client = Client()
        answer = client.get(path)
        assert answer["Location"] == "/accounts/link/", "the token is left behind"
        assert "You are invited" in client.get("/accounts/link/").content.decode()
        assert client.post("/accounts/link/", JOIN)["Location"] == "/app/"
    assert seen == [("", events.INVITED), ("cleo", events.JOINED)]
    assert is_signed_in(client)
    cleo = User.objects.get(username="cleo")
    assert not cleo.is_staff
    assert not cleo.is_superuser
    assert {group.name for group in cleo.groups.all()} == {"news", "archive"}
    other = Client()
    assert other.get(path).status_code == 404
    assert other.post("/accounts/link/", {**JOIN, "username": "eve"}).status_code == 404
    assert not User.objects.filter(username="eve").exists()


def test_looking_at_a_link_does_not_use_it(boss: User) -> None:
    path = invite(administrate())
    for _ in range(3):
        assert Client().get(path, follow=True).status_code == 200


def test_two_who_opened_the_same_link_do_not_both_join(boss: User) -> None:
    path = invite(administrate())
    first, second = Client(), Client()
    first.get(path)
    second.get(path)
    assert first.post("/accounts/link/", JOIN).status_code == 302
    assert second.post("/accounts/link/", {**JOIN, "username": "eve"}).status_code == 404
    assert not User.objects.filter(username="eve").exists()


def test_a_link_that_was_used_meanwhile_makes_nobody(boss: User) -> None:
    path = invite(administrate())
    link = one_time_links.find_link(path.split("/")[-2])
    assert link is not None
    OneTimeLink.objects.update(used_at=timezone.now())
    with pytest.raises(one_time_links.LinkUsedError):
        one_time_links.join(request=None, link=link, username="eve", password=PASSWORD)  # type: ignore[arg-type]
    assert not User.objects.filter(username="eve").exists()


def test_the_token_of_a_link_is_stored_hashed(boss: User) -> None:
    token = invite(administrate()).split("/")[-2]
    assert len(token) >= 43, "256 bits"
    assert token not in repr(list(OneTimeLink.objects.values()))


def test_an_expired_link_and_a_withdrawn_one_are_dead(boss: User) -> None:
    administrator = administrate()
    path = invite(administrator)
    OneTimeLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Client().get(path).status_code == 404
    path = invite(administrator)
    link = OneTimeLink.objects.latest("pk")
    administrator.post(f"/accounts/people/invitations/{link.pk}/withdraw/")
    assert Client().get(path).status_code == 404
    answer = administrator.post(f"/accounts/people/invitations/{link.pk}/withdraw/")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"username": "BOSS"}, "already exists"),
        ({"username": "a b"}, "valid username"),
        ({"password2": "different-password"}, "match"),
        ({"password1": "short", "password2": "short"}, "too short"),
        ({"password1": "password123", "password2": "password123"}, "too common"),
    ],
)
def test_a_name_or_password_that_will_not_do_is_told_and_the_link_stays(
    boss: User, form: dict[str, str], problem: str
) -> None:
    client = Client()
    client.get(invite(administrate()))
    answer = client.post("/accounts/link/", {**JOIN, **form})
    assert answer.status_code == 400
    assert problem in answer.content.decode()
    assert client.post("/accounts/link/", JOIN).status_code == 302


def test_who_resets_a_password_is_named_at_the_next_sign_in(ann: User, boss: User) -> None:
    token = tokens.create_token(request=None, person=ann, name="x", scope="read", days=None)[1]
    elsewhere = sign_in("ann")
    with changes() as seen:
        page: Any = change(administrate(), ann, "reset")
        client = Client()
        client.get(page.context["link"])
        assert client.post("/accounts/link/", RESET)["Location"] == "/accounts/login/"
    assert seen == [("ann", events.RESET_LINK_MADE), ("ann", events.PASSWORD_RESET)]
    assert not is_signed_in(client), "a second factor, if there is one, is still asked for"
    assert not is_signed_in(elsewhere)
    assert not is_signed_in(sign_in("ann"))
    assert not ApiToken.objects.exists()
    assert Client(headers={"Authorization": f"Bearer {token}"}).get("/").status_code == 401
    client = sign_in("ann", NEW)
    assert "boss made a link that resets your password" in client.get("/app/").content.decode()


def test_a_new_reset_link_ends_the_one_before(ann: User, boss: User) -> None:
    administrator = administrate()
    first: Any = change(administrator, ann, "reset")
    second: Any = change(administrator, ann, "reset")
    assert Client().get(first.context["link"]).status_code == 404
    assert Client().get(second.context["link"]).status_code == 302
    User.objects.filter(pk=ann.pk).update(is_active=False)
    assert Client().get(second.context["link"]).status_code == 404


def test_administrators_change_people(ann: User, boss: User) -> None:
    administrator, member = administrate(), sign_in("ann")
    TOTP.activate(ann, "JBSWY3DPEHPK3PXP")
    with changes() as seen:
        change(administrator, ann, "deactivate")
        assert not is_signed_in(member)
        change(administrator, ann, "activate")
        change(administrator, ann, "make-administrator")
        ann.refresh_from_db()
        assert ann.is_staff
        assert ann.is_superuser
        change(administrator, ann, "make-member")
        change(administrator, ann, "groups", groups="news, , archive,news")
        change(administrator, ann, "remove-second-factor")
    assert seen == [
        ("ann", action)
        for action in (
            events.DEACTIVATED,
            events.ACTIVATED,
            events.MADE_ADMINISTRATOR,
            events.MADE_MEMBER,
            events.GROUPS_CHANGED,
            events.SECOND_FACTOR_REMOVED,
        )
    ]
    ann = User.objects.get(pk=ann.pk)
    assert (ann.is_staff, ann.is_superuser) == (False, False)
    assert sorted(group.name for group in ann.groups.all()) == ["archive", "news"]
    assert not Authenticator.objects.exists()
    page = sign_in("ann").get("/app/").content.decode()
    assert "boss removed the second factor" in page


@pytest.mark.parametrize("action", ["deactivate", "make-member"])
def test_the_last_administrator_stays_one(boss: User, action: str) -> None:
    administrator = administrate()
    change(administrator, boss, action)
    boss.refresh_from_db()
    assert boss.is_active
    assert boss.is_superuser
    assert "last administrator" in administrator.get("/accounts/people/").content.decode()


def test_one_of_two_administrators_may_go(boss: User, make_person: Person) -> None:
    other = make_person("other", administrator=True)
    change(administrate(), other, "make-member")
    other.refresh_from_db()
    assert not other.is_superuser


def test_a_member_sees_and_changes_nobody(ann: User, boss: User) -> None:
    member = sign_in("ann")
    assert member.get("/accounts/people/").status_code == 403
    assert "/accounts/people/" not in member.get("/app/").content.decode()
    before = list(User.objects.values())
    for action in ("deactivate", "make-member", "reset", "groups"):
        assert change(member, boss, action).status_code == 403
    assert (
        member.post("/accounts/people/invite/", {"note": "x", "role": "member"}).status_code == 403
    )
    assert list(User.objects.values()) == before
    assert not OneTimeLink.objects.exists()


def test_an_unknown_person_or_action_is_refused(boss: User) -> None:
    administrator = administrate()
    assert administrator.post("/accounts/people/999/", {"action": "reset"}).status_code == 404
    assert change(administrator, boss, "promote").status_code == 403


def test_administrators_give_their_password_again_before_they_change_somebody(
    ann: User, boss: User
) -> None:
    administrator = sign_in("boss")
    assert administrator.get("/accounts/people/").status_code == 200
    answer = change(administrator, ann, "deactivate")
    address = answer["Location"]
    assert address == f"/accounts/reauthenticate/?next=%2Faccounts%2Fpeople%2F{ann.pk}%2F"
    next_page = {"next": f"/accounts/people/{ann.pk}/"}
    administrator.post(address, {"password": "wrong", **next_page})
    ann.refresh_from_db()
    assert ann.is_active
    administrator.post(address, {"password": PASSWORD, **next_page})
    ann.refresh_from_db()
    assert not ann.is_active, "what was asked for is done after the password"


def test_an_administrator_whom_a_provider_signs_in_is_not_asked_for_a_password(
    ann: User, boss: User
) -> None:
    boss.set_unusable_password()
    boss.save()
    administrator = Client()
    administrator.force_login(boss)
    change(administrator, ann, "deactivate")
    ann.refresh_from_db()
    assert not ann.is_active


def test_the_admin_sets_no_password_and_makes_nobody_an_administrator(
    ann: User, boss: User, settings: Any
) -> None:
    client = administrate()
    for path in ("mfa/authenticator", "socialaccount/socialapp", "account/emailaddress"):
        assert client.get(f"/admin/{path}/").status_code == 404
    address = f"/admin/auth/user/{ann.pk}"
    assert client.get(f"{address}/password/")["Location"] == "/accounts/people/"
    form = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    client.post(f"{address}/password/", form)
    assert client.get(f"{address}/change/").status_code == 200
    values = {
        "username": "annie",
        "is_superuser": "on",
        "is_staff": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "limits-TOTAL_FORMS": "0",
        "limits-INITIAL_FORMS": "0",
    }
    client.post(f"{address}/change/", values)
    assert client.get("/admin/auth/user/add/").status_code == 403
    ann.refresh_from_db()
    assert ann.username == "annie", "what is allowed is saved"
    assert ann.check_password(PASSWORD)
    assert ann.is_active
    assert not ann.is_staff
    assert not ann.is_superuser
    settings.TRANSCRIBER_ACCOUNTS = "off"
    client.post(f"{address}/password/", form)
    ann.refresh_from_db()
    assert ann.check_password(NEW), "without accounts the admin stays as it was"


# ---- The first administrator


def test_the_first_link_makes_an_administrator_who_owns_what_was_there() -> None:
    make_ended_job("Hello.")
    path = one_time_links.make_first_person_link()
    assert path is not None
    client = Client()
    client.get(path)
    assert "The first administrator" in client.get("/accounts/link/").content.decode()
    client.post("/accounts/link/", JOIN)
    cleo = User.objects.get()
    assert cleo.is_staff
    assert cleo.is_superuser
    assert Recording.objects.get().owner == cleo
    assert is_signed_in(client)
    assert one_time_links.make_first_person_link() is None


def test_the_first_link_is_dead_once_there_is_an_administrator(make_person: Person) -> None:
    path = one_time_links.make_first_person_link()
    assert path is not None
    client = Client()
    assert client.get(path).status_code == 302
    make_person("ann")
    assert Client().get(path).status_code == 302, "somebody registered: that is no administrator"
    make_person("boss", administrator=True)
    assert Client().get(path).status_code == 404
    assert client.post("/accounts/link/", JOIN).status_code == 404


def test_a_restart_ends_the_first_link_of_before() -> None:
    first, second = (one_time_links.make_first_person_link() for _ in range(2))
    assert first is not None
    assert second is not None
    assert Client().get(first).status_code == 404
    assert Client().get(second).status_code == 302


# ---- The command line


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("people", *arguments, stdout=out)
    return out.getvalue()


def test_the_operator_lets_the_last_administrator_in_again(boss: User) -> None:
    TOTP.activate(boss, "JBSWY3DPEHPK3PXP")
    User.objects.filter(pk=boss.pk).update(is_active=False)
    assert run("list") == "boss: administrator, deactivated, second factor\n"
    printed = run("reset", "boss")
    assert "second factor is removed" in printed
    found = re.search(r"/accounts/link/\S+/", printed)
    assert found is not None
    client = Client()
    client.get(found[0])
    client.post("/accounts/link/", RESET)
    assert "The operator made a link" in sign_in("boss", NEW).get("/app/").content.decode()
    assert is_signed_in(sign_in("boss", NEW))
    assert run("list") == "boss: administrator\n"


def test_the_operator_is_told_of_a_name_that_nobody_has(boss: User) -> None:
    with pytest.raises(CommandError, match="people list"):
        run("reset", "nobody")


def test_group_names_are_made_once_and_cut(boss: User) -> None:
    administrator = administrate()
    change(administrator, boss, "groups", groups=f"news,{'x' * 200}")
    change(administrator, boss, "groups", groups="news")
    assert sorted(len(group.name) for group in Group.objects.all()) == [4, 150]


def test_the_token_of_a_one_time_link_is_masked_in_the_log() -> None:
    line = "GET /accounts/link/zAb3-secret/ failed, as did //accounts/link/zAb3-secret?next=/app/"
    assert "zAb3" not in mask_links(line)
    assert "/accounts/link/…/ failed" in mask_links(line)


@pytest.mark.parametrize("end", ["set_active", "set_administrator"])
def test_who_is_an_administrator_no_longer_comes_back_by_a_link_made_before(
    end: str, boss: User, make_person: Person
) -> None:
    other = make_person("other", administrator=True)
    invitation = one_time_links.make_invitation(
        request=HttpRequest(), made_by=boss, makes_administrator=True, groups=(), note=""
    )
    reset = one_time_links.make_reset_link(request=None, person=other, made_by=boss)
    assert Client().get(invitation).status_code == 302
    name = {"set_active": "active", "set_administrator": "administrator"}[end]
    getattr(people, end)(request=HttpRequest(), person=boss, **{name: False})
    assert [Client().get(path).status_code for path in (invitation, reset)] == [404, 404]
