"""Whatever JSON an endpoint is sent, it answers with an error that says what was wrong, never with a 500."""

from collections.abc import Iterator
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from retranslation.models import Retranslation
from summaries.models import Summary
from tests.transcription.builders import make_ended_job
from transcription.models import Edit, Job

pytestmark = pytest.mark.django_db

BODIES = [
    "5",
    "[{}]",
    "[]",
    "null",
    '"x"',
    "{}",
    '{"": {}}',
    "[[[[[]]]]]",
    "tru",
    "1e999",
    '{"a": NaN}',
]
METHODS = ["POST", "PATCH", "PUT", "DELETE"]


def _patterns(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern, path)
        elif isinstance(pattern, URLPattern):
            yield path


API_PATHS = [
    path for path in _patterns(get_resolver()) if path.startswith("api/") and path != "api/docs"
]


@pytest.fixture
def job() -> Job:
    return make_ended_job("one two three", "four five")


def _address(path: str, job: Job) -> str:
    """The path with ids of rows that exist, as far as there are any."""
    segment = job.segments.first()
    assert segment is not None
    edit = Edit.objects.create(job=job, kind=Edit.Kind.TEXT, summary="changed")
    values: dict[str, Any] = {
        "<str:job_id>": job.pk,
        "<int:segment_id>": segment.pk,
        "<int:edit_id>": edit.pk,
        "<str:summary_id>": Summary.objects.values_list("pk", flat=True).first() or uuid4(),
        "<str:retranslation_id>": Retranslation.objects.values_list("pk", flat=True).first()
        or uuid4(),
    }
    for name, value in values.items():
        path = path.replace(name, str(value))
    return f"/{path}"


def test_all_endpoints_are_asked() -> None:
    assert len(API_PATHS) > 25
    assert any("speakers" in path for path in API_PATHS)


@pytest.mark.parametrize("path", API_PATHS)
def test_no_shape_of_a_body_is_a_server_error(client: Client, job: Job, path: str) -> None:
    client.raise_request_exception = False
    for method, body in product(METHODS, BODIES):
        if method == "DELETE" and not Job.objects.filter(pk=job.pk).exists():
            break  # deleted: that needs no body
        answer = client.generic(method, _address(path, job), body, content_type="application/json")
        assert answer.status_code < 500 or answer.status_code == 503, (method, answer.content)
        if answer.status_code >= 400 and answer.content:
            detail = b"detail" in answer.content
            assert detail, (method, answer.content)
