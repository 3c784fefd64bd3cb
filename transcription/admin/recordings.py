"""Recordings in the admin, with the jobs that transcribe them."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.timesince import timesince

from transcription.admin.base import (
    DeletableAdmin,
    ValuesFilter,
    display_duration,
    link,
    list_url,
    page_url,
    review_url,
)
from transcription.jobs import retry_and_delete
from transcription.models import Job, Recording

MAX_JOBS = 20


@admin.register(Recording)
class RecordingAdmin(DeletableAdmin):
    list_display = ("name", "length", "size", "container", "codec", "jobs_link", "age")
    list_filter = ("created_at", ("container", ValuesFilter), ("codec", ValuesFilter))
    search_fields = ("id", "name")
    date_hierarchy = "created_at"
    fields = (
        "name",
        "stored_as",
        "size",
        "container",
        "codec",
        "declared_duration",
        "duration",
        "created_at",
        "latest_jobs",
    )
    readonly_fields = ("stored_as", "latest_jobs")

    @admin.display(description="duration", ordering="duration")
    def length(self, recording: Recording) -> str:
        return display_duration(recording)

    @admin.display(description="jobs")
    def jobs_link(self, recording: Recording) -> str:
        return link(list_url(Job, f"recording__id__exact={recording.pk}"), "jobs")

    @admin.display(description="file")
    def stored_as(self, recording: Recording) -> str:
        """The file's name as text: a file field would link to its URL, which is not served."""
        return recording.file.name or ""

    @admin.display(description="jobs")
    def latest_jobs(self, recording: Recording) -> str:
        """The newest jobs, each with links to its page and its review."""
        rows: list[tuple[Any, ...]] = [
            (page_url(job), f"{job.model_name}, {job.status}", review_url(job.pk))
            for job in recording.jobs.order_by("-created_at")[:MAX_JOBS]
        ]
        return format_html_join(
            "", '<div><a href="{}">{}</a> · <a href="{}">review</a></div>', rows
        )

    @admin.display(ordering="created_at")
    def age(self, recording: Recording) -> str:
        return timesince(recording.created_at, depth=1)

    def delete_row(self, pk: UUID) -> bool:
        return retry_and_delete.delete_recording(recording_id=pk)
