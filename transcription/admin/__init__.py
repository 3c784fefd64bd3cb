"""The Django admin: rows are read-only, except a segment's text and speaker; services do actions and deletion."""

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
