"""Request parsers: bodies of limited size, and uploads with any file name.

Django checks DATA_UPLOAD_MAX_MEMORY_SIZE only when it reads the body itself, and in multipart forms; REST framework's
parsers read JSON and URL-encoded bodies straight from the request.
"""

import html
import io
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import IO, Any, TypeVar

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from django.http import multipartparser
from rest_framework import parsers
from rest_framework.exceptions import ParseError

View = TypeVar("View", bound=Callable[..., Any])
JSON_BODY = "DATA_UPLOAD_MAX_MEMORY_SIZE"
UPLOAD = "TRANSCRIBER_MAX_UPLOAD_BYTES"
"""What a view may take: the names of the settings that say up to how many bytes."""


def takes_body(kind: str) -> Callable[[View], View]:
    """Declare that a view takes such bodies; the web process refuses more than 64 KiB for all others."""

    def declare(view: View) -> View:
        view.body = kind  # type: ignore[attr-defined]
        return view

    return declare


class JSONParser(parsers.JSONParser):
    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        try:
            return super().parse(_read_limited(stream), media_type, parser_context)
        except RecursionError as error:
            raise ParseError("JSON parse error - it is nested too deeply.") from error


class FormParser(parsers.FormParser):
    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return super().parse(_read_limited(stream), media_type, parser_context)


def _read_limited(stream: IO[Any]) -> IO[bytes]:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise RequestDataTooBig
    return io.BytesIO(body)


# ---- Uploads

MAX_NAME = 255
MAX_SUFFIX = 20
UNNAMED = "recording"
_UNREADABLE = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of control characters, of what is no character, and of line breaks."""
_REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that show others in another order: a name must not look like one with another ending."""


def readable_name(name: str) -> str:
    """The name of an uploaded file as people read it: without folders and control characters, of at most 255."""
    name = "".join(
        character
        for character in html.unescape(name).replace("\\", "/")
        if unicodedata.category(character) not in _UNREADABLE and character not in _REORDERING
    )
    name = name.rstrip("/").rpartition("/")[2].strip()
    if not name.strip("."):
        return UNNAMED
    suffix = PurePosixPath(name).suffix[:MAX_SUFFIX]
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - len(suffix)] + suffix


class _Form(multipartparser.MultiPartParser):
    def sanitize_file_name(self, file_name: str) -> str:
        return readable_name(file_name)


class MultiPartParser(parsers.MultiPartParser):
    """Parses a multipart form; a file may have any name."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> "parsers.DataAndFiles[Any, Any]":
        request = (parser_context or {})["request"]
        meta = {**request.META, "CONTENT_TYPE": media_type}
        form = _Form(meta, stream, request.upload_handlers, (parser_context or {}).get("encoding"))
        try:
            return parsers.DataAndFiles(*form.parse())
        except multipartparser.MultiPartParserError as error:
            raise ParseError(f"Multipart form parse error - {error}") from error


class NoForm(parsers.BaseParser):
    """Takes a body of any other type for an empty form, so that the answer says which file is missing."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        return {}


class UploadHandler(TemporaryFileUploadHandler):
    """Writes an upload to a temporary file whose name has nothing of the upload's: that may be too long for a disk."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        FileUploadHandler.new_file(self, *args, **kwargs)
        self.file = TemporaryUploadedFile(
            UNNAMED, self.content_type, 0, self.charset, self.content_type_extra
        )
        self.file.name = self.file_name
