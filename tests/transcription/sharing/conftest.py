"""Three people, of whom the first has a recording."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from tests.transcription.builders import make_ended_job
from transcription.models import Job, Recording


@pytest.fixture(autouse=True)
def _accounts(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    cache.clear()  # it counts the names that were tried


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_user("anna", password="secret")


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create_user("ben", password="secret")


@pytest.fixture
def carla(db: None) -> User:
    return User.objects.create_user("carla", password="secret")


def sign_in(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def as_anna(anna: User) -> Client:
    return sign_in(anna)


@pytest.fixture
def as_ben(ben: User) -> Client:
    return sign_in(ben)


@pytest.fixture
def as_carla(carla: User) -> Client:
    return sign_in(carla)


def give(job: Job, owner: User) -> Job:
    Job.objects.filter(pk=job.pk).update(owner=owner)
    Recording.objects.filter(pk=job.recording_id).update(owner=owner)
    job.refresh_from_db()
    return job


@pytest.fixture
def job(anna: User) -> Job:
    """A completed job of Anna's."""
    return give(make_ended_job("Strawberry fields.", "For ever."), anna)
