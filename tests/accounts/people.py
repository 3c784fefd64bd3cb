"""People for tests, and what is theirs."""

from contextlib import AbstractContextManager

from django.contrib.auth.models import User
from django.test import Client

from tests.transcription.builders import make_ended_job
from transcription import access
from transcription.models import Job, Recording


def make_person(name: str, *, is_administrator: bool = False) -> User:
    make = User.objects.create_superuser if is_administrator else User.objects.create_user
    return make(username=name, password=f"password of {name}")


def client_of(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def acting(person: User) -> AbstractContextManager[None]:
    """What is made within belongs to the person; nothing is limited to what they see."""
    return access.acting_as(access.Access(sees_all=True, user_id=person.pk, changes=True))


def own(job: Job, person: User) -> Job:
    Recording.objects.filter(pk=job.recording_id).update(owner=person)
    Job.objects.filter(pk=job.pk).update(owner=person)
    job.refresh_from_db()
    return job


def make_job_of(person: User, *texts: str, name: str = "a.flac") -> Job:
    """A completed job of the person, with a segment for each text."""
    return own(make_ended_job(*texts, name=name), person)
