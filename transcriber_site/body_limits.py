"""How large a body each endpoint takes: what `transcription.parsers.takes_body` declares for its view, else 64 KiB."""

from dataclasses import dataclass

from django.conf import settings
from django.urls import is_valid_path

from transcriber_site.paths import resolvable_path

SMALL_BYTES = 64 * 1024
"""For short forms and JSON, and for what clients send to endpoints that need no body."""
FORM_BYTES = 1024**2  # allowance for an upload's other fields and boundaries


@dataclass(frozen=True, slots=True)
class BodyLimit:
    max_bytes: int
    is_upload: bool
    refusal: str
    """Why a larger body is refused, and what to do instead."""


def body_limit(method: str, path: str) -> BodyLimit:
    """The limit of the endpoint that a request is for. `path` has no query and is not percent-encoded."""
    from transcription.parsers import JSON_BODY, UPLOAD  # needs Django's settings

    match = is_valid_path(resolvable_path(path))
    kind = None
    if match and method in ("POST", "PUT", "PATCH"):
        is_admin = "admin" in match.app_names  # its forms hold whole texts
        kind = JSON_BODY if is_admin else getattr(match.func, "body", None)
    if kind == UPLOAD:
        limit = settings.TRANSCRIBER_MAX_UPLOAD_BYTES
        refusal = (
            f"The upload is larger than the {limit:,} bytes allowed (TRANSCRIBER_MAX_UPLOAD_BYTES). "
            "Compress the recording, or send it in parts."
        )
        return BodyLimit(limit + FORM_BYTES, is_upload=True, refusal=refusal)
    if kind == JSON_BODY:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        refusal = f"The request body is larger than the {limit:,} bytes allowed. Send less text."
        return BodyLimit(limit, is_upload=False, refusal=refusal)
    refusal = (
        f"The request body is larger than the {SMALL_BYTES:,} bytes allowed here. "
        "Recordings are uploaded with POST /api/transcribe/."
    )
    return BodyLimit(SMALL_BYTES, is_upload=False, refusal=refusal)
