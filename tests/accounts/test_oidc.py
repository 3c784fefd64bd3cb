"""Signing in through an OpenID Connect provider: a real one, in a process of its own."""

from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils.html import escape

from tests.accounts.conftest import PASSWORD, administrate, is_signed_in, sign_in
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.servers import free_port
from transcriber_site import sign_in as sign_in_settings

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/oidc/oidc/login/"


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: Provider, settings: Any) -> Provider:
    configure(settings, running_provider.issuer)
    settings.TRANSCRIBER_OIDC_CREATES_PEOPLE = True
    settings.TRANSCRIBER_OIDC_GROUPS_CLAIM = "groups"
    return running_provider


def configure(settings: Any, issuer: str) -> None:
    settings.TRANSCRIBER_OIDC_ISSUER = issuer
    settings.SOCIALACCOUNT_PROVIDERS = sign_in_settings.oidc_provider(
        issuer=issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        name="Example ID",
    )


def led_to(response: Any) -> str:
    """The address of the provider to which a page of ours leads; a policy stops a redirect of the form."""
    assert response.status_code == 200
    address: str = response.context["address"]
    assert f'content="0;url={escape(address)}"' in response.content.decode()
    return address


def come_through(provider: Provider, subject: str, client: Client | None = None) -> Any:
    """Sign in through the provider; returns the page at which the browser ends."""
    client = client or Client()
    address = led_to(client.post(LOGIN, {"next": "/app/"}))
    assert address.startswith(provider.issuer)
    answer: Any = client.get(provider.sign_in(address, subject), follow=True)
    answer.browser = client
    return answer


def test_whom_the_provider_knows_gets_an_account_and_its_groups(provider: Provider) -> None:
    provider.know("c1", preferred_username="cleo", email="c@example.org", groups=["news", "desk"])
    assert "Sign in with Example ID" in Client().get("/accounts/login/").content.decode()
    page = come_through(provider, "c1")
    assert page.redirect_chain[-1] == ("/app/", 302)
    cleo = User.objects.get()
    assert cleo.username == "cleo"
    assert not cleo.is_staff
    assert not cleo.has_usable_password()
    assert sorted(group.name for group in cleo.groups.all()) == ["desk", "news"]
    assert is_signed_in(page.browser)


def test_each_sign_in_replaces_the_groups(provider: Provider) -> None:
    provider.know("c2", preferred_username="cleo", groups=["news", "desk"])
    come_through(provider, "c2")
    cleo = User.objects.get()
    cleo.groups.add(Group.objects.create(name="by hand"))
    provider.know("c2", preferred_username="renamed", groups=["desk", "archive", 7])
    come_through(provider, "c2")
    assert User.objects.get() == cleo
    assert sorted(group.name for group in cleo.groups.all()) == ["archive", "desk"]
    provider.know("c2", preferred_username="cleo")
    come_through(provider, "c2")
    assert not cleo.groups.exists(), "a claim that is missing names no groups"


def test_without_a_claim_groups_stay_as_they_are(provider: Provider, settings: Any) -> None:
    settings.TRANSCRIBER_OIDC_GROUPS_CLAIM = ""
    provider.know("c3", preferred_username="cleo", groups=["news"])
    come_through(provider, "c3")
    cleo = User.objects.get()
    cleo.groups.add(Group.objects.create(name="by hand"))
    come_through(provider, "c3")
    assert [group.name for group in cleo.groups.all()] == ["by hand"]


def test_a_name_or_address_of_the_provider_takes_over_nobody(
    provider: Provider, boss: User
) -> None:
    User.objects.filter(pk=boss.pk).update(email="boss@example.org")
    provider.know("evil", preferred_username="boss", email="boss@example.org", email_verified=True)
    page = come_through(provider, "evil")
    assert is_signed_in(page.browser)
    other = User.objects.exclude(pk=boss.pk).get()
    assert other.username != "boss"
    assert not other.is_superuser
    assert page.browser.get("/accounts/people/").status_code == 403


def test_who_has_no_account_gets_none_unless_the_operator_says_so(
    provider: Provider, settings: Any
) -> None:
    settings.TRANSCRIBER_OIDC_CREATES_PEOPLE = False
    provider.know("c4", preferred_username="cleo")
    page = come_through(provider, "c4")
    assert "Registration is closed" in page.content.decode()
    assert not User.objects.exists()


def test_a_person_connects_their_account_and_signs_in_with_it(
    provider: Provider, settings: Any, boss: User
) -> None:
    settings.TRANSCRIBER_OIDC_CREATES_PEOPLE = False
    provider.know("b1", preferred_username="the boss")
    client = administrate()
    assert client.get("/accounts/provider/").status_code == 200
    address = led_to(client.post(f"{LOGIN}?process=connect"))
    client.get(provider.sign_in(address, "b1"))
    page = come_through(provider, "b1")
    assert page.redirect_chain[-1] == ("/app/", 302)
    assert ">boss</a>" in page.content.decode()


def test_a_deactivated_person_does_not_come_in_through_the_provider(provider: Provider) -> None:
    provider.know("c5", preferred_username="cleo")
    come_through(provider, "c5")
    User.objects.update(is_active=False)
    assert not is_signed_in(come_through(provider, "c5").browser)


def test_a_second_factor_is_asked_for_after_the_provider_too(provider: Provider) -> None:
    provider.know("c6", preferred_username="cleo")
    come_through(provider, "c6")
    TOTP.activate(User.objects.get(), "JBSWY3DPEHPK3PXP")
    page = come_through(provider, "c6")
    assert page.redirect_chain[-1][0].startswith("/accounts/2fa/authenticate/")
    assert not is_signed_in(page.browser)


def test_a_callback_of_another_browser_signs_nobody_in(provider: Provider) -> None:
    provider.know("c7", preferred_username="cleo")
    address = led_to(Client().post(LOGIN))
    back = provider.sign_in(address, "c7")
    other = Client()
    answer = other.get(back)
    assert "Sign-in failed" in answer.content.decode()
    assert not is_signed_in(other)
    assert not User.objects.exists()


def test_a_sign_in_that_is_denied_at_the_provider_says_so(provider: Provider) -> None:
    client = Client()
    back = provider.deny(led_to(client.post(LOGIN)))
    answer: Any = client.get(back, follow=True)
    assert answer.status_code == 200
    assert "cancelled" in answer.content.decode()
    assert not is_signed_in(client)


def test_a_provider_that_does_not_answer_leaves_passwords(settings: Any, ann: User) -> None:
    configure(settings, f"http://127.0.0.1:{free_port()}")
    answer = Client().post(LOGIN)
    assert answer.status_code == 503
    assert "does not answer" in answer.content.decode()
    assert is_signed_in(sign_in("ann", PASSWORD))


def test_without_a_provider_there_is_no_way_through_one(ann: User) -> None:
    assert Client().post(LOGIN).status_code == 404
    assert Client().get(f"{LOGIN}callback/?code=x&state=y").status_code == 404
    assert "Sign in with" not in Client().get("/accounts/login/").content.decode().replace(
        "Sign in with a passkey", ""
    )
