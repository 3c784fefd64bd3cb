"""The admin's list and pages of summaries. Transcripts and partial results are not shown: they can be megabytes."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest
from django.utils.text import Truncator
from django.utils.timesince import timesince

from summaries import services
from summaries.models import Summary
from transcription.admin.base import DeletableAdmin, job_link

if TYPE_CHECKING:
    from django.db.models import QuerySet


@admin.register(Summary)
class SummaryAdmin(DeletableAdmin):
    list_display = (
        "id",
        "state",
        "short_message",
        "model_used",
        "style",
        "percent",
        "length",
        "transcription_link",
        "age",
    )
    list_filter = ("state", "style", "model_used", "created_at")
    search_fields = ("id", "transcription__id")
    date_hierarchy = "created_at"
    exclude = ("transcript", "partials")
    actions = ("retry_failed",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("transcript", "partials", "summary")

    @admin.display(description="message")
    def short_message(self, summary: Summary) -> str:
        return Truncator(summary.message).chars(80)

    @admin.display(description="progress", ordering="progress")
    def percent(self, summary: Summary) -> str:
        return f"{summary.progress} %"

    @admin.display(description="transcription")
    def transcription_link(self, summary: Summary) -> str:
        return job_link(summary.transcription_id)

    @admin.display(ordering="created_at")
    def age(self, summary: Summary) -> str:
        return timesince(summary.created_at, depth=1)

    @admin.action(description="Retry failed summaries", permissions=["change"])
    def retry_failed(self, request: HttpRequest, queryset: "QuerySet[Summary]") -> None:
        self.act_on_each(
            request,
            queryset,
            lambda pk: services.retry_failed(summary_id=pk),
            done="{} queued again",
            skipped="{} skipped: not failed",
        )

    def delete_row(self, pk: UUID) -> bool:
        return services.delete_summary(summary_id=pk)
