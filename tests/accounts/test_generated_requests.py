"""Requests generated from the API's schema, as somebody who owns nothing, with the ids of what somebody else owns.

`make soak` sends 10,000 of them (SOAK_REQUESTS).
"""

import os
import random
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts import tokens
from retranslation import waiting
from tests.accounts.world import World, everything, make_world

pytestmark = pytest.mark.django_db
N_REQUESTS = int(os.environ.get("SOAK_REQUESTS", "400"))
IDS_OF = {
    "job_id": ("job", "failed", "active", "summary", "own_summary"),
    "segment_id": ("segment", "second", "loose"),
    "edit_id": ("edit",),
    "retranslation_id": ("pending", "accepted", "clip"),
    "batch_id": ("batch",),
    "token_id": ("token",),
    "share_id": ("share",),
    "link_id": ("link",),
}


@pytest.fixture
def world(settings: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    settings.TRANSCRIBER_ACCOUNTS = "required"
    monkeypatch.setattr(waiting, "wait_for_end", lambda *_, **__: None)  # no worker runs here
    return make_world()


def with_ids(values: Any, world: World, choice: random.Random) -> Any:
    """The values with ids of Alice's where there are ids, three times of four."""
    if isinstance(values, list):
        return [with_ids(value, world, choice) for value in values]
    if not isinstance(values, dict):
        return values
    return {
        name: world.ids[choice.choice(IDS_OF[name])]
        if name in IDS_OF and choice.random() < 0.75
        else with_ids(value, world, choice)
        for name, value in values.items()
    }


def test_no_generated_request_fails_shows_or_changes_what_belongs_to_somebody_else(
    world: World,
) -> None:
    alices, bob = everything(), world.people["bob"]
    _, token = tokens.create_token(
        request=None, person=bob, name="generated", scope="write", days=None
    )
    schema = schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application())
    results: list[Any] = list(schema.get_all_operations())
    operations = [result.ok() for result in results]
    assert len(operations) > 40
    each = -(-N_REQUESTS // len(operations))
    n_sent = 0

    def send(case: Any, choice: random.Random) -> None:
        nonlocal n_sent
        case.path_parameters = with_ids(case.path_parameters, world, choice)
        case.query = with_ids(case.query, world, choice)
        case.body = with_ids(case.body, world, choice)
        case.headers.pop("Authorization", None)
        response = case.call(headers={"Authorization": f"Bearer {token}", "Host": "localhost"})
        n_sent += 1
        what = f"{case.method} {case.formatted_path} {case.query} {str(case.body)[:300]}"
        assert response.status_code < 500 or response.status_code in (503, 504, 507), what
        assert world.canary.encode() not in response.content, what

    for operation in operations:
        limited = settings(
            max_examples=each,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            deadline=None,
            database=None,
        )
        limited(given(operation.as_strategy(), st.randoms(use_true_random=False))(send))()
    assert n_sent >= 0.5 * N_REQUESTS, "some operations have few different requests"
    for name, rows in everything().items():
        assert [row for row in rows if row in alices[name]] == alices[name], name
