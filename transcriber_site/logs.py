"""Log format: one line per record, with the id of its request, and without what opens a share link."""

import logging
import re
import time
from contextvars import ContextVar
from typing import Literal

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class LineFormatter(logging.Formatter):
    """Formats time (UTC), level, logger, request id and message; escapes control characters, masks share links."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
    ) -> None:
        super().__init__(
            fmt or "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
            datefmt,
            style,
            validate,
        )

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get() or "-"
        return mask_links(_CONTROL.sub(_escaped, super().format(record)))


def mask_links(text: str) -> str:
    """The text without the tokens of share links: whoever has one may read the recording."""
    return _LINK_TOKEN.sub(r"\1…", text)


_LINK_TOKEN = re.compile(r"(/(?:app/shared|accounts/link)/+)[^\s/?#\"'<>]+")


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that move a terminal's cursor, colour it, or begin a line: names of files may hold them."""


def _escaped(character: re.Match[str]) -> str:
    return character.group().encode("unicode_escape").decode()
