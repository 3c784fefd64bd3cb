"""People, and browsers in which they are signed in."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

PASSWORD = "three-word-passwords"
Person = Callable[..., User]


@pytest.fixture(autouse=True)
def _accounts_are_required(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    # As slow as it is, the real one would take most of the time of these tests.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def make_person(db: None) -> Person:
    cache.clear()  # no sign-in of another test counts

    def make(name: str, *, administrator: bool = False) -> User:
        return User.objects.create_user(
            name, password=PASSWORD, is_staff=administrator, is_superuser=administrator
        )

    return make


@pytest.fixture
def ann(make_person: Person) -> User:
    return make_person("ann")


@pytest.fixture
def boss(make_person: Person) -> User:
    return make_person("boss", administrator=True)


def sign_in(name: str, password: str = PASSWORD, *, client: Client | None = None) -> Client:
    """A browser in which this person has signed in, on the page for it."""
    client = client or Client()
    client.post("/accounts/login/", {"login": name, "password": password})
    return client


def is_signed_in(client: Client) -> bool:
    return client.get("/accounts/").status_code == 200


def administrate(name: str = "boss") -> Client:
    """A browser of an administrator who has just given the password again."""
    client = sign_in(name)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client
