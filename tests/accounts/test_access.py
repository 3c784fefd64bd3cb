"""The managers of what belongs to people: they find what the present access covers, and raise where there is none."""

import threading
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth.models import Group, User

from accounts import recovery
from tests.accounts.world import World, make_world, scoped_models
from transcription import access
from transcription.access import Access, NoAccessError
from transcription.models import Job, Recording, Segment, Share

pytestmark = pytest.mark.django_db
SHARED_BY_ALL = {
    "accounts": "people's own models, each filtered by its views",
    "transcription.Worker": "heartbeats of the installation's workers",
    "transcription.Served": "when workers last served each person; no view shows it",
}
"""Models of ours whose rows belong to nobody, with the reason."""


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a web process: nothing is allowed unless somebody said who asks."""
    monkeypatch.setattr(access, "_of_process", None)


@pytest.fixture
def world(settings: Any) -> World:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    return make_world()


def names(person: User | None, **fields: Any) -> set[str]:
    with access.acting_as(Access(user_id=None if person is None else person.pk, **fields)):
        return set(Recording.objects.values_list("name", flat=True))


def test_all_our_models_are_scoped_or_named_with_a_reason() -> None:
    ours = ("transcription", "summaries", "retranslation", "chat", "accounts")
    unscoped = {
        model._meta.label
        for model in apps.get_models()
        if model._meta.app_label in ours and model not in scoped_models()
    }
    assert {
        name
        for name in unscoped
        if name not in SHARED_BY_ALL and name.split(".")[0] not in SHARED_BY_ALL
    } == set()
    for model in scoped_models():
        assert type(model._default_manager) is access.ScopedManager, model


@pytest.mark.usefixtures("strict")
def test_without_an_access_every_way_to_ask_raises(world: World) -> None:
    job = Job(pk=world.ids["job"])
    rows = Job.objects

    async def first() -> Any:
        return [one async for one in rows.all()]

    async def get() -> Any:
        return await rows.aget(pk=job.pk)

    ways: list[Any] = [
        rows.all,
        rows.exists,
        rows.count,
        rows.first,
        rows.iterator,
        lambda: rows.get(pk=job.pk),
        lambda: rows.filter(pk=job.pk).update(message="x"),
        lambda: rows.in_bulk(),
        lambda: rows.bulk_create([]),
        lambda: rows.bulk_update([job], ["message"]),
        lambda: rows.create(),
        lambda: rows.get_or_create(),
        lambda: rows.raw("SELECT 1"),
        lambda: rows.values_list("pk"),
        lambda: list(job.segments.all()),
        lambda: job.chunks.count(),
        lambda: job.segments.filter(pk=1).delete(),
        async_to_sync(first),
        async_to_sync(get),
    ]
    for ask in ways:
        with pytest.raises(NoAccessError):
            ask()


@pytest.mark.usefixtures("strict")
def test_a_thread_has_no_access_that_nobody_gave_it(world: World) -> None:
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(Job.objects.all())
        except NoAccessError as error:
            found.append(error)

    with access.acting_as(access.SERVICE):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert [type(one) for one in found] == [NoAccessError]


def test_a_query_keeps_the_access_that_it_was_made_with(world: World) -> None:
    with access.acting_as(Access(user_id=world.people["bob"].pk)):
        rows = Segment.objects.all()
    with access.acting_as(access.SERVICE):
        assert not rows.exists()


def test_each_sees_what_is_theirs_or_shared_with_them(world: World) -> None:
    alice, bob, dave = (world.people[name] for name in ("alice", "bob", "dave"))
    all_names = names(alice)
    assert len(all_names) == 4
    assert names(bob) == names(None) == set()
    assert names(dave) == {f"{world.canary}.flac"}
    assert names(dave, changes=True) == set(), "shared to be read"
    assert names(world.people["carol"]) == set(), "an administrator is no reader"
    assert names(world.people["carol"], reads_all=True) == all_names
    assert names(world.people["carol"], reads_all=True, changes=True) == set()


def test_a_group_shares_what_its_people_may_see(world: World) -> None:
    group = Group.objects.create(name="newsroom")
    recording = Recording.objects.get(name="plain.wav")
    Share.objects.create(recording=recording, group=group, role=Share.Role.EDITOR)
    bob = world.people["bob"]
    assert names(bob) == set()
    bob.groups.add(group)
    assert names(bob) == names(bob, changes=True) == {"plain.wav"}
    bob.groups.clear()
    assert names(bob) == set()


def test_a_link_shows_its_recording_and_changes_nothing(world: World) -> None:
    recording = Recording.objects.get(name="plain.wav")
    shown = frozenset({recording.pk, uuid4()})
    assert names(None, recording_ids=shown) == {"plain.wav"}
    assert names(None, recording_ids=shown, changes=True) == set()
    assert names(world.people["dave"], recording_ids=shown) == {
        "plain.wav",
        f"{world.canary}.flac",
    }


def test_an_update_says_how_many_rows_it_changed_and_joins_no_table(world: World) -> None:
    with access.acting_as(Access(user_id=world.people["bob"].pk, changes=True)):
        assert Job.objects.filter(pk=world.ids["job"]).update(message="stolen") == 0
    with access.acting_as(Access(user_id=world.people["alice"].pk, changes=True)):
        rows = Job.objects.filter(pk=world.ids["job"])
        assert " JOIN " not in str(rows.query).split("EXISTS")[0]
        assert rows.update(message="mine") == 1


def test_what_was_made_without_accounts_belongs_to_the_first_person(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    before = Recording.objects.create(name="old.wav", size=1, file="old.wav")
    User.objects.create_user("member")
    assert Recording.objects.get(pk=before.pk).owner is None, "a member is not the first person"
    first = User.objects.create_superuser("ann")
    User.objects.create_superuser("ben")
    assert Recording.objects.get(pk=before.pk).owner == first


def test_what_is_made_without_an_owner_meanwhile_is_adopted_by_recovery(settings: Any) -> None:
    settings.TRANSCRIBER_ACCOUNTS = "off"
    first = User.objects.create_superuser("ann")
    made = Recording.objects.create(name="new.wav", size=1, file="new.wav")
    recovery.recover()
    assert Recording.objects.get(pk=made.pk).owner is None, "accounts are off"
    settings.TRANSCRIBER_ACCOUNTS = "required"
    recovery.recover()
    assert Recording.objects.get(pk=made.pk).owner == first
