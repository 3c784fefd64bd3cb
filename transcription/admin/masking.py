"""What administrators do not see of other people's recordings: names, texts, messages and errors are content.

They see the states of all jobs. All other lists hold what is theirs or shared with them, as everywhere.
"""

from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from transcription import access
from transcription.models import Job, Recording


def is_masking() -> bool:
    """Whether there may be jobs whose content is not for whoever asks."""
    present = access.current()
    return not present.sees_all and (present.changes or not present.reads_all)


def all_jobs(rows: "QuerySet[Job]") -> "QuerySet[Job]":
    """The jobs of all people, each with `is_readable`. `rows` were made as the service."""
    readable = Recording.objects.filter(pk=OuterRef("recording"))  # as far as who asks may see them
    return rows.annotate(is_readable=Exists(readable)).select_related("recording", "owner")


def is_masked(job: Any) -> bool:
    return not getattr(job, "is_readable", True)


def masked_name(job: Job) -> str:
    return f"a recording of {job.owner or 'somebody'}"
