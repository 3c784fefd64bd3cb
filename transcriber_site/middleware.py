"""The outermost middleware: request ids, timing, error responses, trailing slashes."""

import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from transcriber_site import errors
from transcriber_site.bodies import body_rejection
from transcriber_site.logs import request_id
from transcriber_site.paths import resolvable_path

_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

ResponseOrAwaitable = HttpResponseBase | Awaitable[HttpResponseBase]


class RequestTrace:
    """Sets a request id, the headers X-Request-ID and X-Process-Time-Ms, and answers errors as JSON.

    It must be the outermost middleware. It also resolves each path with or without a trailing slash:
    Django's redirect (APPEND_SLASH) would lose the body of a POST.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], ResponseOrAwaitable]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> ResponseOrAwaitable:
        if self.is_async:
            return self._call_async(request)
        with _traced(request) as set_headers:
            response = cast("HttpResponseBase", self.get_response(request))
            set_headers(response)
            return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        with _traced(request) as set_headers:
            response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
            set_headers(response)
            return response

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        rejection = body_rejection(request)
        return None if rejection is None else errors.error_response(request, rejection)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return errors.error_response(request, exception)


@contextmanager
def _traced(request: HttpRequest) -> Iterator[Callable[[HttpResponseBase], None]]:
    started = time.perf_counter()
    client_id = request.headers.get("X-Request-ID", "")
    current = client_id if _VALID_ID.fullmatch(client_id) else uuid.uuid4().hex
    request.path_info = resolvable_path(request.path_info)

    def set_headers(response: HttpResponseBase) -> None:
        response["X-Request-ID"] = current
        response["X-Process-Time-Ms"] = f"{(time.perf_counter() - started) * 1000:.1f}"

    token = request_id.set(current)
    try:
        yield set_headers
    finally:
        request_id.reset(token)
