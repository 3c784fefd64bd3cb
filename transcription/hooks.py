"""Signals by which other apps are asked, and told: whether a person may do more, and what was done.

What listens to a question refuses by raising; the error is the answer to the request. This app knows no listener, and
with accounts off nothing listens.
"""

from typing import Any, Final
from uuid import UUID

from django.db.models import Model
from django.dispatch import Signal
from django.http import HttpRequest

# ---- Questions

before_upload: Final = Signal()
"""A person wants to upload a recording. Sent before it is examined. Keyword argument: `n_bytes`."""

before_job: Final = Signal()
"""A job is about to be made or taken up again, in this transaction. Keyword arguments: `n_bytes` that are stored for
it, `seconds` of audio that are read for it."""

before_language_model: Final = Signal()
"""A language model is about to be asked. No keyword arguments."""

# ---- News

action_done: Final = Signal()
"""A person did something. Keyword arguments: `request`, `action`, `kind` and `object_id` (text), `owner_id` of the
recording (None if it is not known)."""

# What people do. A listener may know more of them.
UPLOAD, READ, EXPORT, EDIT, DELETE = "upload", "read", "export", "edit", "delete"
SHARE, UNSHARE = "share", "unshare"
MAKE_LINK, OPEN_LINK, REVOKE_LINK = "make link", "open link", "revoke link"
CANCEL, RETRY, DIARIZE, SUMMARIZE = "cancel", "retry", "diarize", "summarize"


def report(
    request: HttpRequest,
    action: str,
    row: Model,
    *,
    owner_id: int | None = None,
    object_id: Any = None,
) -> None:
    """Tell the listeners of `action_done` what was done to a row; `object_id` if it is deleted by now.

    Give the owner of the recording where it is known: reading one's own is no news.
    """
    found: UUID | int | str = row.pk if object_id is None else object_id
    action_done.send(
        sender=type(row),
        request=request,
        action=action,
        kind=row._meta.model_name,
        object_id=str(found),
        owner_id=owner_id,
    )
