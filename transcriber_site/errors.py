"""Error handlers. Every error is answered as JSON: `{"detail": <string>}`."""

import logging
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import Error as DatabaseFailure
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from rest_framework import views
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType
from rest_framework.response import Response
from rest_framework.settings import api_settings

from transcriber_site.logs import mask_links, request_id
from transcription.leasing import schema
from transcription.leasing.outages import DATABASE_ERRORS, is_disk_full
from transcription.models import Job

_logger = logging.getLogger(__name__)


def exception_handler(exception: Exception, context: dict[str, Any]) -> Response | None:
    """The response to an exception of an API view; None leaves it to the middleware."""
    response = views.exception_handler(exception, context)
    if response is not None:
        response.data = {"detail": error_text(response.data) + _remedy(exception)}
        return response
    expected = expected_error(exception)
    if expected is None:
        return None
    _logger.warning("%s failed", context["request"].path, exc_info=exception)
    views.set_rollback()
    status, detail = expected
    response = Response({"detail": detail}, status=status)
    response._has_been_logged = True  # type: ignore[attr-defined]  # above; Django would log it again
    return response


def _remedy(exception: Exception) -> str:
    if isinstance(exception, UnsupportedMediaType):
        return " Send uploads as multipart/form-data, everything else as application/json."
    if isinstance(exception, ParseError) and "header size" in str(exception.detail):
        return ". The file name may be too long: at most 255 characters are allowed."
    return ""


def error_text(detail: Any) -> str:
    """Nested validation errors as one line of text with the names of fields: `language: Unknown.`"""
    return " ".join(_error_lines(detail, field="")) or "The request is not valid."


def _error_lines(detail: Any, field: str) -> list[str]:
    if isinstance(detail, dict):
        return [
            text
            for name, inner in detail.items()
            for text in _error_lines(inner, field=_field_path(field, name))
        ]
    if isinstance(detail, list | tuple):
        return [
            text
            for index, inner in enumerate(detail)
            for text in _error_lines(
                inner, field=f"{field}[{index}]" if isinstance(inner, dict | list) else field
            )
        ]
    return [f"{field}: {detail}" if field else str(detail)]


def _field_path(outer: str, name: str | int) -> str:
    if isinstance(name, int):
        return f"{outer}[{name}]"
    if name in (api_settings.NON_FIELD_ERRORS_KEY, "detail"):
        return outer
    return f"{outer}.{name}" if outer else name


def expected_error(exception: Exception) -> tuple[int, str] | None:
    """Status code and detail of an exception that is not a bug of this service, else None."""
    match exception:
        case RequestDataTooBig():
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(exception)
        case TooManyFieldsSent() | TooManyFilesSent():
            return HTTPStatus.BAD_REQUEST, "The form has too many fields."
        case MultiPartParserError():
            return HTTPStatus.BAD_REQUEST, f"The multipart form cannot be read: {exception}"
        case UnreadablePostError():
            return (
                HTTPStatus.BAD_REQUEST,
                "The upload was interrupted before it was complete. Send it again.",
            )
        case SuspiciousOperation():  # such as a host that is not in ALLOWED_HOSTS
            return HTTPStatus.BAD_REQUEST, str(exception) or "The request was rejected."
        case _ if is_disk_full(exception):
            return HTTPStatus.INSUFFICIENT_STORAGE, _DISK_FULL
        case Job.DoesNotExist():  # deleted during the request
            return HTTPStatus.NOT_FOUND, "Transcription job not found or expired"
    if isinstance(exception, DATABASE_ERRORS) and "no such" not in str(exception):
        return HTTPStatus.SERVICE_UNAVAILABLE, _NO_DATABASE
    if isinstance(exception, DatabaseFailure) and (problem := _schema_problem()):
        return HTTPStatus.SERVICE_UNAVAILABLE, f"The service is being upgraded. {problem}"
    return None


def _schema_problem() -> str:
    """Why the database's schema is not the one that this process knows; empty if it is, or that cannot be told."""
    try:
        return schema.look().problem
    except DatabaseFailure:
        return ""


def _too_large(exception: RequestDataTooBig) -> str:
    message = str(exception)
    if message and "settings." not in message:  # Django's own message names a setting
        return message
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return f"The request body is larger than the {limit:,} bytes allowed."


_DISK_FULL = "The service's disk is full. Ask its administrator to free some space, then try again."


_NO_DATABASE = (
    "The service's database does not answer. Accepted recordings and results are safe: try again in a "
    "moment. The reason is in the service's log."
)


def error_response(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """The response to an exception of a view; None where one of Django's error handlers applies."""
    if isinstance(exception, Http404 | PermissionDenied):
        return None
    if isinstance(exception, APIException):  # raised by what a page has in common with the API
        wait = getattr(exception, "wait", None)
        headers = {} if wait is None else {"Retry-After": f"{wait:.0f}"}
        return _json(exception.status_code, error_text(exception.detail), headers=headers)
    expected = expected_error(exception)
    if expected is not None:
        _logger.warning("%s %s: %r", request.method, request.path, exception)
        return _json(*expected)
    _logger.error("%s %s failed", request.method, request.path, exc_info=exception)
    return server_error(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    status, detail = expected_error(exception) or (
        HTTPStatus.BAD_REQUEST,
        "The request was rejected.",
    )
    return _json(status, detail)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _json(HTTPStatus.FORBIDDEN, str(exception) or "This is not allowed.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _json(
        HTTPStatus.FORBIDDEN,
        reason or "The CSRF token is missing or invalid. Reload the page.",
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    # For an unknown URL Django's message is not text: it lists every pattern that it tried.
    message = exception.args[0] if exception.args else None
    return _json(
        HTTPStatus.NOT_FOUND,
        message if isinstance(message, str) else f"There is nothing at {mask_links(request.path)}.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    detail = (
        "The service has failed unexpectedly. The reason is in its log, "
        f"under request id {request_id.get() or '-'}."
    )
    return _json(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _json(status: int, detail: str, *, headers: dict[str, str] | None = None) -> HttpResponse:
    response = JsonResponse({"detail": detail}, status=status, headers=headers)
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log it again
    return response
