"""A second factor: an app with codes, recovery codes, passkeys."""

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.contrib.auth.models import User
from django.test import Client

from tests.accounts.conftest import PASSWORD, administrate, is_signed_in, sign_in

pytestmark = pytest.mark.django_db
SECRET = "JBSWY3DPEHPK3PXP"
AUTHENTICATE = "/accounts/2fa/authenticate/"


def code_of(secret: str = SECRET) -> str:
    """What the app shows now."""
    code: str = format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))
    return code


def test_a_person_turns_it_on_and_gives_a_code_from_then_on(ann: User) -> None:
    client = administrate("ann")
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    found = re.search(r'id="authenticator_secret"[^>]*value="([A-Z2-7]+)"', page, re.DOTALL)
    assert found is not None, page
    client.post("/accounts/2fa/totp/activate/", {"code": code_of(found[1])})
    assert Authenticator.objects.filter(user=ann, type="totp").exists()
    assert "Second factor: on" in client.get("/accounts/").content.decode()
    other = sign_in("ann")
    assert not is_signed_in(other)
    wrong = other.post(AUTHENTICATE, {"code": "000000"}).content.decode()
    assert "Incorrect code" in wrong
    assert not is_signed_in(other)


def test_the_code_of_the_app_completes_the_sign_in_once(ann: User) -> None:
    TOTP.activate(ann, SECRET)
    client = Client()
    answer = client.post(
        "/accounts/login/", {"login": "ann", "password": PASSWORD, "next": "/app/?q=x"}
    )
    assert answer["Location"].startswith(AUTHENTICATE)
    code = code_of()
    assert client.post(AUTHENTICATE, {"code": code})["Location"] == "/app/?q=x"
    assert is_signed_in(client)
    other = sign_in("ann")
    other.post(AUTHENTICATE, {"code": code})
    assert not is_signed_in(other), "a code that somebody saw is worth nothing"


def test_a_recovery_code_works_once(ann: User) -> None:
    TOTP.activate(ann, SECRET)
    [code, *_] = RecoveryCodes.activate(ann).get_unused_codes()
    for attempt, expected in ((sign_in("ann"), True), (sign_in("ann"), False)):
        attempt.post(AUTHENTICATE, {"code": code})
        assert is_signed_in(attempt) is expected


def test_the_admin_cannot_be_reached_with_the_password_alone(boss: User) -> None:
    TOTP.activate(boss, SECRET)
    client = sign_in("boss")
    client.post("/admin/login/?next=/admin/", {"username": "boss", "password": PASSWORD})
    assert client.get("/admin/").status_code == 302
    client.post(AUTHENTICATE, {"code": code_of()})
    assert client.get("/admin/").status_code == 200


def test_turning_it_off_asks_for_the_password_again(ann: User) -> None:
    client = sign_in("ann")
    TOTP.activate(ann, SECRET)
    answer = client.post("/accounts/2fa/totp/deactivate/")
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert Authenticator.objects.filter(user=ann).exists()


@pytest.mark.parametrize(
    ("host", "secure", "offered"),
    [
        ("localhost", False, True),
        ("notes.example.org", True, True),
        ("notes.example.org", False, False),
        ("192.168.1.20", False, False),
        ("192.168.1.20", True, False),
        ("[::1]", True, False),
    ],
)
def test_passkeys_are_offered_where_browsers_have_them(
    ann: User, settings: Any, host: str, secure: bool, offered: bool
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    page = Client().get("/accounts/login/", secure=secure, headers={"Host": host}).content.decode()
    assert ("Sign in with a passkey" in page) is offered
    client = administrate("ann")
    page = client.get("/accounts/2fa/", secure=secure, headers={"Host": host}).content.decode()
    assert ("Passkeys" in page) is offered


def test_nobody_removes_or_names_the_passkey_of_somebody_else(ann: User, boss: User) -> None:
    own = administrate("ann")
    key = Authenticator.objects.create(user=ann, type="webauthn", data={"name": "Ann's phone"})
    other = administrate()
    for path in (f"/accounts/2fa/webauthn/keys/{key.pk}/{what}/" for what in ("remove", "edit")):
        for answer in (other.get(path), other.post(path, {"name": "mine"})):
            assert answer.status_code == 404
            assert "Ann's phone" not in answer.content.decode()
    key.refresh_from_db()
    assert key.data == {"name": "Ann's phone"}
    page = own.get("/accounts/2fa/webauthn/").content.decode()
    assert "Ann&#x27;s phone" in page
