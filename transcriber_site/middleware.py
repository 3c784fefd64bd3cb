"""What every request passes through."""

import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import is_valid_path

from transcriber_site import errors
from transcriber_site.bodies import refusal_of
from transcriber_site.logs import request_id

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

Answer = HttpResponseBase | Awaitable[HttpResponseBase]


class RequestTrace:
    """Gives requests an id, responses X-Request-ID and X-Process-Time-Ms, failures their JSON.

    It must be the outermost middleware. It also finds the view for a path that differs from a known
    one by its trailing slash alone: API paths answer in both forms, and a redirect would lose the
    body of a POST.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Answer:
        if self.is_async:
            return self._answer_async(request)
        with _traced(request) as headers:
            response = cast("HttpResponseBase", self.get_response(request))
            headers(response)
            return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        with _traced(request) as headers:
            response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
            headers(response)
            return response

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        refusal = refusal_of(request)
        return None if refusal is None else errors.answer_to_failure(request, refusal)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return errors.answer_to_failure(request, exception)


@contextmanager
def _traced(request: HttpRequest) -> Iterator[Callable[[HttpResponseBase], None]]:
    started = time.perf_counter()
    sent = request.headers.get("X-Request-ID", "")
    current = sent if _SANE_ID.fullmatch(sent) else uuid.uuid4().hex
    request.path_info = _known_form(request.path_info)

    def headers(response: HttpResponseBase) -> None:
        response["X-Request-ID"] = current
        response["X-Process-Time-Ms"] = f"{(time.perf_counter() - started) * 1000:.1f}"

    token = request_id.set(current)
    try:
        yield headers
    finally:
        request_id.reset(token)


def _known_form(path: str) -> str:
    if is_valid_path(path):
        return path
    other = path[:-1] if path.endswith("/") else f"{path}/"
    return other if is_valid_path(other) else path
