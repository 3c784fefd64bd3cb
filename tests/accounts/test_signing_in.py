"""Signing in and out with a password."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.notices import tell
from tests.accounts.conftest import PASSWORD, Person, is_signed_in, sign_in

pytestmark = pytest.mark.django_db


def test_who_is_not_known_is_led_to_the_sign_in_page_and_back(ann: User) -> None:
    client = Client()
    answer: Any = client.get("/app/?status=failed", follow=True)
    assert answer.redirect_chain == [("/accounts/login/?next=%2Fapp%2F%3Fstatus%3Dfailed", 302)]
    assert 'name="next" value="/app/?status=failed"' in answer.content.decode()
    answer = client.post(
        "/accounts/login/", {"login": "ann", "password": PASSWORD, "next": "/app/?status=failed"}
    )
    assert answer["Location"] == "/app/?status=failed"
    page = client.get("/app/").content.decode()
    assert ">ann</a>" in page
    assert "Sign out" in page


def test_another_site_is_no_place_to_go_after_the_sign_in(ann: User) -> None:
    answer = Client().post(
        "/accounts/login/",
        {"login": "ann", "password": PASSWORD, "next": "https://evil.example/app/"},
    )
    assert answer["Location"] == "/app/"


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_are_answered_alike(
    ann: User, name: str, password: str
) -> None:
    client = Client()
    page = client.post("/accounts/login/", {"login": name, "password": password}).content.decode()
    assert "The username and/or password you specified are not correct." in page
    assert not is_signed_in(client)


def test_many_wrong_passwords_stop_the_right_one_for_five_minutes(
    ann: User, time_machine: Any
) -> None:
    time_machine.move_to("2026-03-01 12:00:00+00:00", tick=False)
    for _ in range(5):
        sign_in("ann", "wrong")
    client = Client()
    page = client.post("/accounts/login/", {"login": "ann", "password": PASSWORD})
    assert "Too many failed login attempts" in page.content.decode()
    assert not is_signed_in(client)
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert not is_signed_in(sign_in("ann", client=elsewhere)), "many addresses may guess"
    time_machine.shift(301)
    assert is_signed_in(sign_in("ann"))


def test_an_address_tries_few_names_a_minute(make_person: Person, time_machine: Any) -> None:
    make_person("ann")
    time_machine.move_to("2026-03-01 12:00:00+00:00", tick=False)
    for number in range(10):
        sign_in(f"somebody-{number}", "wrong")
    assert not is_signed_in(sign_in("ann"))
    assert is_signed_in(sign_in("ann", client=Client(REMOTE_ADDR="192.0.2.7")))


def test_a_deactivated_person_is_signed_out_at_once_and_not_let_in_again(ann: User) -> None:
    client = sign_in("ann")
    assert is_signed_in(client)
    User.objects.filter(pk=ann.pk).update(is_active=False)
    assert not is_signed_in(client)
    assert not is_signed_in(sign_in("ann"))


def test_signing_out_ends_the_session(ann: User) -> None:
    client = sign_in("ann")
    assert client.get("/accounts/logout/").status_code == 200, "a link alone signs nobody out"
    assert is_signed_in(client)
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"
    assert not is_signed_in(client)


def test_a_new_password_ends_other_sessions_and_keeps_this_one(ann: User) -> None:
    here, elsewhere = sign_in("ann"), sign_in("ann")
    new = "another-three-words"
    here.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": new, "password2": new},
    )
    assert is_signed_in(here)
    assert not is_signed_in(elsewhere)
    assert is_signed_in(sign_in("ann", new))


def test_the_admin_has_no_sign_in_of_its_own(boss: User) -> None:
    client = Client()
    assert (
        client.get("/admin/login/?next=/admin/")["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    )
    answer = client.post("/admin/login/", {"username": "boss", "password": PASSWORD})
    assert answer["Location"].startswith("/accounts/login/")
    assert not is_signed_in(client)
    assert sign_in("boss").get("/admin/").status_code == 200


def test_a_member_has_no_admin(ann: User) -> None:
    answer: Any = sign_in("ann").get("/admin/", follow=True)
    assert answer.status_code == 403


def test_a_notice_is_shown_at_the_next_sign_in_and_only_then(ann: User) -> None:
    tell(ann, "boss made a link that resets your password.")
    client = sign_in("ann")
    assert "boss made a link" in client.get("/app/").content.decode()
    assert "boss made a link" not in client.get("/app/").content.decode()
    assert "boss made a link" not in sign_in("ann").get("/app/").content.decode()


def test_registration_is_closed_until_it_is_opened(settings: Any, make_person: Person) -> None:
    make_person("boss", administrator=True)
    form = {"username": "eve", "password1": PASSWORD, "password2": PASSWORD}
    assert "Registration is closed" in Client().post("/accounts/signup/", form).content.decode()
    assert not User.objects.filter(username="eve").exists()
    assert "Register" not in Client().get("/accounts/login/").content.decode()
    settings.TRANSCRIBER_REGISTRATION = "open"
    assert "Register" in Client().get("/accounts/login/").content.decode()
    client = Client()
    client.post("/accounts/signup/", form)
    eve = User.objects.get(username="eve")
    assert is_signed_in(client)
    assert not eve.is_staff
    assert not eve.is_superuser


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/",
        "/accounts/login/",
        "/accounts/signup/",
        "/accounts/people/",
        "/api/accounts/tokens",
    ],
)
def test_with_accounts_off_none_of_this_is_there(settings: Any, path: str, boss: User) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "off"
    settings.TRANSCRIBER_REGISTRATION = "open"
    client = Client()
    client.force_login(boss)
    form = {"username": "eve", "password1": PASSWORD, "password2": PASSWORD, "name": "x"}
    for answer in (client.get(path), client.post(path, form)):
        assert answer.status_code == 404
        assert "TRANSCRIBER_ACCOUNTS=required" in answer.json()["detail"]
    assert User.objects.count() == 1
    page = client.get("/app/").content.decode()
    assert "/accounts/" not in page
    assert "/admin/" in page


def test_with_accounts_off_the_admin_asks_for_its_password_itself(
    settings: Any, boss: User
) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "off"
    client = Client()
    assert client.get("/admin/login/").status_code == 200
    client.post("/admin/login/?next=/admin/", {"username": "boss", "password": PASSWORD})
    assert client.get("/admin/").status_code == 200
