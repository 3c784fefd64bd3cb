"""Every error is a JSON object with one readable `detail`."""

import errno
import logging
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFieldsSent
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.test import Client, override_settings
from django.urls import include, path
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from transcriber_site.errors import error_text

FAILURES: dict[str, tuple[Exception, int, str]] = {
    "too-big": (RequestDataTooBig(), 413, "is larger than the 8,388,608 bytes"),
    "fields": (TooManyFieldsSent("The number of fields is too high."), 400, "too many fields"),
    "suspicious": (SuspiciousOperation("Out of bounds."), 400, "Out of bounds."),
    "multipart": (MultiPartParserError("Invalid boundary"), 400, "Invalid boundary"),
    "gone": (UnreadablePostError("gone"), 400, "interrupted"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), 507, "disk is full"),
    "database": (OperationalError("database or disk is full"), 507, "disk is full"),
    "missing": (Http404("There is no recording abc."), 404, "There is no recording abc."),
    "invalid": (serializers.ValidationError({"language": ["Unknown."]}), 400, "language: Unknown."),
    "unforeseen": (RuntimeError("the innermost secret"), 500, "trace-7"),
}


@api_view(["GET"])
def api_failure(request: Request, kind: str) -> Response:
    raise FAILURES[kind][0]


def plain_failure(request: HttpRequest, kind: str) -> HttpResponse:
    raise FAILURES[kind][0]


@api_view(["POST"])
def echo(request: Request) -> Response:
    return Response(request.data)


urlpatterns = [
    path("api/fail/<str:kind>", api_failure),
    path("plain/fail/<str:kind>", plain_failure),
    path("api/echo", echo),
    path("", include("transcriber_site.urls")),
]
handler400 = "transcriber_site.errors.bad_request"
handler403 = "transcriber_site.errors.permission_denied"
handler404 = "transcriber_site.errors.not_found"
handler500 = "transcriber_site.errors.server_error"


@pytest.fixture(autouse=True)
def _failing_views(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.CORS_ALLOWED_ORIGINS = ["https://notes.example.org"]


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        (where, kind)
        for where in ("api", "plain")
        for kind in FAILURES
        if (where, kind) != ("plain", "invalid")  # only the API raises it
    ],
)
def test_an_error_is_answered_as_json_with_one_detail(
    client: Client, where: str, kind: str
) -> None:
    _, status, text = FAILURES[kind]
    response = client.get(
        f"/{where}/fail/{kind}",
        headers={"Origin": "https://notes.example.org", "X-Request-ID": "trace-7"},
    )
    assert response.status_code == status
    assert list(response.json()) == ["detail"]
    assert text in response.json()["detail"]
    assert response["Access-Control-Allow-Origin"] == "https://notes.example.org"
    assert response["X-Request-ID"] == "trace-7"
    assert response["X-Process-Time-Ms"]


@pytest.mark.parametrize("where", ["api", "plain"])
@override_settings(DEBUG=True)
def test_an_unexpected_error_reveals_no_internals(
    client: Client, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    with caplog.at_level(logging.ERROR):
        response = client.get(f"/{where}/fail/unforeseen")
    assert b"secret" not in response.content
    assert b"Traceback" not in response.content
    assert "the innermost secret" in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("path", ["/api/nothing-here", "/nothing-here", "/api/nothing-here/"])
def test_an_unknown_path_is_a_404(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.json() == {"detail": f"There is nothing at {path}."}


def test_a_wrong_method_is_a_405_that_names_the_right_ones(client: Client) -> None:
    response = client.post("/health")
    assert response.status_code == 405
    assert "POST" in response.json()["detail"]
    assert "GET" in response["Allow"]


def test_broken_json_is_a_400(client: Client) -> None:
    response = client.post("/api/echo", data="{", content_type="application/json")
    assert response.status_code == 400
    assert "JSON" in response.json()["detail"]


def test_a_json_body_over_the_limit_is_a_413(client: Client) -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=100):
        response = client.post("/api/echo", data={"a": "b" * 100}, content_type="application/json")
        fitting = client.post("/api/echo", data={"a": "b" * 50}, content_type="application/json")
    assert response.status_code == 413
    assert list(response.json()) == ["detail"]
    assert fitting.json() == {"a": "b" * 50}


def test_a_body_of_an_unknown_type_is_a_415(client: Client) -> None:
    response = client.post("/api/echo", data="<a/>", content_type="application/xml")
    assert response.status_code == 415
    assert list(response.json()) == ["detail"]


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        (["Wrong."], "Wrong."),
        ({"file": ["Missing."], "language": ["Unknown."]}, "file: Missing. language: Unknown."),
        ({"non_field_errors": ["End is before start."]}, "End is before start."),
        ({"transcript": [{}, {"start": ["A number."]}]}, "transcript[1].start: A number."),
        ({"detail": "Not found."}, "Not found."),
        ({}, "The request is not valid."),
    ],
)
def test_validation_errors_become_text_that_names_the_field(detail: object, text: str) -> None:
    assert error_text(detail) == text
