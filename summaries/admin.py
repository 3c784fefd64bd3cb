"""What an operator sees and does. What people said, and the parts of it, are not shown: they can be megabytes."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.timesince import timesince

from summaries import services
from summaries.models import Summary
from transcription.admin import DeletableAdmin

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
    actions = ("retry_what_failed",)

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
        if summary.transcription_id is None:
            return ""
        url = reverse("admin:transcription_job_change", args=[summary.transcription_id])
        return format_html('<a href="{}">{}</a>', url, "job")

    @admin.display(ordering="created_at")
    def age(self, summary: Summary) -> str:
        return timesince(summary.created_at, depth=1)

    @admin.action(description="Try again what failed", permissions=["change"])
    def retry_what_failed(self, request: HttpRequest, queryset: "QuerySet[Summary]") -> None:
        ids = list(queryset.values_list("pk", flat=True))
        n_done = sum(services.retry_failed(summary_id=pk) for pk in ids)
        if n_done:
            self.message_user(request, f"{_count(n_done)} tried again.", messages.SUCCESS)
        if n_done < len(ids):
            text = f"{_count(len(ids) - n_done)} skipped: did not fail."
            self.message_user(request, text, messages.WARNING)

    def delete_row(self, pk: UUID) -> None:
        services.delete_summary(summary_id=pk)


def _count(n: int) -> str:
    return "1 summary" if n == 1 else f"{n} summaries"
