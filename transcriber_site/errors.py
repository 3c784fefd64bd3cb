"""Every error becomes `{"detail": <string>}`."""

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
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from rest_framework import views
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.response import Response
from rest_framework.settings import api_settings

from transcriber_site.logs import request_id
from transcription.leasing.outages import DATABASE_ERRORS, is_disk_full
from transcription.models import Job

_logger = logging.getLogger(__name__)


def exception_handler(exception: Exception, context: dict[str, Any]) -> Response | None:
    """What an API view's exception is answered with; None leaves it to the middleware."""
    response = views.exception_handler(exception, context)
    if response is not None:
        response.data = {"detail": sentence(response.data) + _remedy(exception)}
        return response
    known = known_failure(exception)
    if known is None:
        return None
    _logger.warning("%s failed", context["request"].path, exc_info=exception)
    views.set_rollback()
    status, detail = known
    response = Response({"detail": detail}, status=status)
    response._has_been_logged = True  # type: ignore[attr-defined]  # by the line above
    return response


def _remedy(exception: Exception) -> str:
    if isinstance(exception, UnsupportedMediaType):
        return " Uploads are sent as multipart/form-data, all else as application/json."
    if isinstance(exception, ParseError) and "header size" in str(exception.detail):
        return ". Is the file's name too long? 255 letters are allowed."
    return ""


def sentence(detail: Any) -> str:
    """Validation errors of any shape as text that names each field: `language: Unknown.`"""
    return " ".join(_sentences(detail, field="")) or "The request is not valid."


def _sentences(detail: Any, field: str) -> list[str]:
    if isinstance(detail, dict):
        return [
            text
            for name, inner in detail.items()
            for text in _sentences(inner, field=_inner_name(field, name))
        ]
    if isinstance(detail, list | tuple):
        return [
            text
            for index, inner in enumerate(detail)
            for text in _sentences(
                inner, field=f"{field}[{index}]" if isinstance(inner, dict | list) else field
            )
        ]
    return [f"{field}: {detail}" if field else str(detail)]


def _inner_name(outer: str, name: str | int) -> str:
    if isinstance(name, int):
        return f"{outer}[{name}]"
    if name in (api_settings.NON_FIELD_ERRORS_KEY, "detail"):
        return outer
    return f"{outer}.{name}" if outer else name


def known_failure(exception: Exception) -> tuple[int, str] | None:
    """Status and detail of an exception that is not this service's fault, or None."""
    match exception:
        case RequestDataTooBig():
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(exception)
        case TooManyFieldsSent() | TooManyFilesSent():
            return HTTPStatus.BAD_REQUEST, "The form has too many fields."
        case MultiPartParserError():
            return HTTPStatus.BAD_REQUEST, f"The multipart form cannot be read: {exception}"
        case UnreadablePostError():
            return HTTPStatus.BAD_REQUEST, "The upload broke off before its end. Send it again."
        case SuspiciousOperation():  # too many form fields, a host that is not allowed, and so on
            return HTTPStatus.BAD_REQUEST, str(exception) or "The request is not acceptable."
        case _ if is_disk_full(exception):
            return HTTPStatus.SERVICE_UNAVAILABLE, _DISK_FULL
        case Job.DoesNotExist():  # it was deleted while it was asked for
            return HTTPStatus.NOT_FOUND, "Transcription job not found or expired"
    if isinstance(exception, DATABASE_ERRORS) and "no such" not in str(exception):
        return HTTPStatus.SERVICE_UNAVAILABLE, _NO_DATABASE
    return None


def _too_large(exception: RequestDataTooBig) -> str:
    message = str(exception)
    if message and "settings." not in message:  # Django's own speaks to programmers
        return message
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return f"The request's body is larger than the {limit:,} bytes allowed here."


_DISK_FULL = (
    "The service's disk is full. Free some space (or ask who runs the service to), then try again."
)


_NO_DATABASE = (
    "The service's database does not answer just now. What was accepted is safe: try again in a moment. "
    "Whoever runs the service finds the reason in its log."
)


def answer_to_failure(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """The answer to whatever a view raised; None for what Django has its own handlers for."""
    if isinstance(exception, Http404 | PermissionDenied):
        return None
    known = known_failure(exception)
    if known is not None:
        _logger.warning("%s %s: %r", request.method, request.path, exception)
        return _json(*known)
    _logger.error("%s %s failed", request.method, request.path, exc_info=exception)
    return server_error(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    known = known_failure(exception)
    return (
        _json(*known) if known else _json(HTTPStatus.BAD_REQUEST, "The request is not acceptable.")
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _json(HTTPStatus.FORBIDDEN, str(exception) or "This is not allowed.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _json(
        HTTPStatus.FORBIDDEN,
        reason or "The form's CSRF token is missing or wrong. Load the page again.",
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    # Django's own message of an unknown URL is a dictionary of everything that it tried.
    message = exception.args[0] if exception.args else None
    return _json(
        HTTPStatus.NOT_FOUND,
        message if isinstance(message, str) else f"There is nothing at {request.path}.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    detail = (
        "Something went wrong here. Whoever runs the service finds the reason in its log "
        f"under {request_id.get() or '-'}."
    )
    return _json(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _json(status: int, detail: str) -> HttpResponse:
    response = JsonResponse({"detail": detail}, status=status)
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log it a second time
    return response
