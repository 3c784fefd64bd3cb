"""Django's admin shows administrators the state of all jobs, and nothing of what others said, named or searched."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.accounts.test_canary import client_of, content
from tests.accounts.world import World, everything, make_world
from transcription.models import Job, Share

pytestmark = pytest.mark.django_db
ROWS = 20


@pytest.fixture
def world(settings: Any) -> World:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    return make_world()


def addresses(world: World) -> Iterator[str]:
    """All pages of the admin, those of each row too."""
    yield reverse("admin:index")
    for model in list(admin.site._registry):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        yield reverse(f"{name}_changelist") + f"?q={world.canary[:5]}"
        for row in model._base_manager.all()[:ROWS]:
            for page in ("change", "history", "delete"):
                yield reverse(f"{name}_{page}", args=[row.pk])


def test_the_owner_as_an_administrator_sees_what_is_hers(world: World) -> None:
    User.objects.filter(username="alice").update(is_staff=True, is_superuser=True)
    alice = client_of(world, "alice")
    shown = [address for address in addresses(world) if shows(alice, world, address)]
    assert len(shown) > 20


def shows(client: Client, world: World, address: str) -> bool:
    response = client.get(address)
    assert response.status_code in (200, 302, 403, 404), (address, response.status_code)
    # The search box repeats what was searched for; a search for a part of the word does not.
    return world.canary in content(response)


def test_no_page_shows_an_administrator_what_others_own(world: World) -> None:
    carol = client_of(world, "carol")
    before = everything()
    assert [address for address in addresses(world) if shows(carol, world, address)] == []
    assert everything() == before


def test_an_administrator_sees_that_there_are_jobs_and_how_they_are(world: World) -> None:
    page = content(client_of(world, "carol").get(reverse("admin:transcription_job_changelist")))
    for job in Job.objects.all():
        assert str(job.pk) in page
        assert job.status in page


def test_no_action_of_an_administrator_reaches_what_others_said(world: World) -> None:
    carol = client_of(world, "carol")
    for model, model_admin in admin.site._registry.items():
        ids = [str(row.pk) for row in model._base_manager.all()[:ROWS]]
        for action in getattr(model_admin, "actions", None) or ():
            name = action if isinstance(action, str) else action.__name__
            page = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
            response = carol.post(
                reverse(page), {"action": name, "_selected_action": ids}, follow=True
            )
            assert response.status_code < 500, (model, name)
            assert world.canary not in content(response), (model, name)


def test_a_member_has_no_admin(world: World) -> None:
    bob = client_of(world, "bob")
    for address in addresses(world):
        response = bob.get(address)
        assert response.status_code in (302, 403, 404), address
        assert world.canary not in content(response)


def test_the_order_of_jobs_tells_nothing_of_their_names_and_messages(world: World) -> None:
    carol, address = client_of(world, "carol"), reverse("admin:transcription_job_changelist")

    def order(query: str) -> list[str]:
        return [str(job.pk) for job in carol.get(address + query).context["cl"].result_list]

    columns = carol.get(address).context["cl"].list_display
    for name in ("recording_name", "short_message"):
        number = columns.index(name)
        assert order(f"?o={number}") == order(f"?o=-{number}")
    status = columns.index("status")
    assert order(f"?o={status}") != order(f"?o=-{status}"), "states are sorted"


def test_an_administrator_who_is_an_editor_deletes_nothing(world: World) -> None:
    job = Job.objects.get(pk=world.ids["job"])
    Share.objects.create(
        recording=job.recording, user=world.people["carol"], role=Share.Role.EDITOR
    )
    carol, before = client_of(world, "carol"), everything()
    for row in (job, job.recording):
        name = f"admin:transcription_{row._meta.model_name}"
        carol.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"})
        chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
        carol.post(reverse(f"{name}_changelist"), chosen)
    assert everything() == before


def test_rows_cannot_be_looked_up_by_what_they_are_called(world: World) -> None:
    query = "?app_label=transcription&model_name=job&field_name=recording"
    assert client_of(world, "carol").get(f"/admin/autocomplete/{query}").status_code == 404
