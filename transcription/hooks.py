"""Signals by which other apps are asked, and told: whether a person may do more, and what was done.

What listens to a question refuses by raising; the error is the answer to the request. This app knows no listener.
"""

from typing import Any, Final

from django.db.models import Model
from django.dispatch import Signal
from django.http import HttpRequest

from transcription import access

# ---- Questions

before_upload: Final = Signal()
"""A person sends a recording, which is not read yet. Keyword arguments: `owner_id`, `n_bytes` of the request."""

before_job: Final = Signal()
"""A job is made in the present transaction. Keyword arguments: `owner_id`, `job_id`, `n_bytes` that are stored for it,
`seconds` that the recording has by what it declares."""

before_retranslation: Final = Signal()
"""Ranges or clips are to be transcribed again, in the present transaction. Keyword arguments: `owner_id` of who asks,
`seconds` of audio."""

before_retry: Final = Signal()
"""A job that ended is taken up again in the present transaction. Keyword argument: `owner_id`."""

before_language_model: Final = Signal()
"""A provider's language model is about to be asked. Keyword arguments: `owner_id` of who asks, `job_id` that the
question is about (None if it is about a transcript that was sent)."""

# ---- News

recording_read: Final = Signal()
"""A job's recording was decoded. Keyword arguments: `job_id`, `seconds`; 0 if it could not be read."""

action_done: Final = Signal()
"""A person did something. Keyword arguments: `request` (None if the listener is to find it), `action`, `kind`,
`object_id`, `detail`, `row`, and `owner_id` of the recording (None if the listener is to find it)."""

# What people do. A listener may know more of them.
UPLOAD, READ, EXPORT, EDIT, DELETE = "upload", "read", "export", "edit", "delete"
SHARE, UNSHARE = "share", "unshare"
MAKE_LINK, OPEN_LINK, REVOKE_LINK = "make link", "open link", "revoke link"
CANCEL, RETRY, DIARIZE, RERUN, SUMMARIZE = "cancel", "retry", "diarize", "rerun", "summarize"
ASK, RETRANSLATE = "ask", "retranslate"

NOBODY: Final = -1
"""The owner of a list: no person has this id, so to read it is to read what others own."""


def report(
    request: HttpRequest | None,
    action: str,
    row: Model,
    *,
    owner_id: int | None = None,
    object_id: Any = None,
    detail: str = "",
) -> None:
    """Tell the listeners of `action_done` what was done to a row; `object_id` if it is deleted by now.

    Views of what is read report it whether it belongs to who reads or not: the listener finds out, sooner if it is
    told the recording's owner. `detail` never holds content.
    """
    action_done.send(
        sender=type(row),
        request=request,
        action=action,
        kind=str(row._meta.model_name),
        object_id=str(row.pk if object_id is None else object_id),
        detail=detail,
        row=row,
        owner_id=owner_id,
    )


def report_list(request: HttpRequest, model: type[Model]) -> None:
    """Tell the listeners that a list was read, if whoever reads it sees all people's rows there."""
    if access.current().reads_all:
        report(request, READ, model(), object_id="", owner_id=NOBODY, detail="list")
