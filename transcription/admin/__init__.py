"""What an operator sees and does. Rows are looked at, not edited, save what a segment says and who said it."""

from django.contrib import admin
from django.urls import reverse_lazy

from transcription.admin import jobs, recordings, transcripts, work
from transcription.admin.base import DeletableAdmin, ReadOnlyAdmin, ReadOnlyInline

__all__ = [
    "DeletableAdmin",
    "ReadOnlyAdmin",
    "ReadOnlyInline",
    "jobs",
    "recordings",
    "transcripts",
    "work",
]

admin.site.site_url = reverse_lazy("app")  # type: ignore[assignment]  # where "View site" leads
