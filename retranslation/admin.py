"""The admin's lists and pages: retranslations are accepted, rejected, retried and deleted, but not edited."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import Truncator
from django.utils.timesince import timesince

from retranslation import proposals, services
from retranslation.models import Batch, Retranslation, SegmentChange
from transcription import hooks
from transcription.admin.base import (
    DeletableAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    job_link,
    link,
)
from transcription.editing.changes import ConflictError
from transcription.transcript.segments import display_time

if TYPE_CHECKING:
    from django.db.models import QuerySet

MAX_SHOWN_CHARACTERS = 60


class SegmentChangeInline(ReadOnlyInline):
    model = SegmentChange
    fields = ("segment_pk", "before", "after")
    show_change_link = False


@admin.register(Retranslation)
class RetranslationAdmin(DeletableAdmin):
    list_display = (
        "range",
        "short_old_text",
        "short_text",
        "confidence",
        "model_name",
        "state",
        "decision",
        "reasons",
        "job_link",
        "asked_by",
        "age",
    )
    list_filter = ("state", "decision", "model_name", "created_at")
    search_fields = ("id", "job__id", "batch__id", "asked_by")
    date_hierarchy = "created_at"
    exclude = ("clip",)
    inlines = (SegmentChangeInline,)
    actions = ("accept", "reject", "undo", "retry_failed")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("words")

    @admin.display(ordering="start")
    def range(self, retranslation: Retranslation) -> str:
        return f"{display_time(retranslation.start)} – {display_time(retranslation.end)}"

    @admin.display(description="old text")
    def short_old_text(self, retranslation: Retranslation) -> str:
        return Truncator(retranslation.old_text).chars(MAX_SHOWN_CHARACTERS)

    @admin.display(description="text")
    def short_text(self, retranslation: Retranslation) -> str:
        return Truncator(retranslation.text or retranslation.error).chars(MAX_SHOWN_CHARACTERS)

    @admin.display(description="job")
    def job_link(self, retranslation: Retranslation) -> str:
        return job_link(retranslation.job_id)

    @admin.display(ordering="created_at")
    def age(self, retranslation: Retranslation) -> str:
        return timesince(retranslation.created_at, depth=1)

    @admin.action(description="Accept: apply to the transcript", permissions=["change"])
    def accept(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        self._decide(request, queryset, proposals.accept, "accepted")

    @admin.action(description="Reject", permissions=["change"])
    def reject(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        self._decide(request, queryset, proposals.reject, "rejected")

    @admin.action(description="Undo the decision", permissions=["change"])
    def undo(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        self._decide(request, queryset, proposals.undo, "undone")

    @admin.action(description="Retry failed retranslations", permissions=["change"])
    def retry_failed(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        self.act_on_each(
            request,
            queryset,
            lambda pk: services.retry_failed(retranslation_id=pk),
            done="{} queued again",
            skipped="{} skipped: not failed",
        )

    def _decide(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Retranslation]",
        decide: Callable[..., object],
        done: str,
    ) -> None:
        """Decide about each row by itself; show why those that were skipped could not be decided."""
        n_done = 0
        for row in list(queryset.order_by("start")):
            try:
                decide(retranslation_id=row.pk, decided_by=request.user.get_username())
            except (ConflictError, Retranslation.DoesNotExist) as error:
                self.message_user(request, f"{row}: {error}", messages.WARNING)
            else:
                n_done += 1
                hooks.report(request, hooks.EDIT, row)
        if n_done:
            self.message_user(request, f"{self.counted(n_done)} {done}.", messages.SUCCESS)

    def delete_row(self, pk: UUID) -> bool:
        return services.delete_retranslation(retranslation_id=pk)


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ("id", "job", "model_name", "status", "rows", "asked_by", "created_at")
    list_filter = ("model_name", "created_at")
    search_fields = ("id", "job__id", "asked_by")

    @admin.display
    def status(self, batch: Batch) -> str:
        return services.batch_progress(batch).message

    @admin.display(description="retranslations")
    def rows(self, batch: Batch) -> str:
        url = reverse("admin:retranslation_retranslation_changelist")
        return link(f"{url}?q={batch.pk}", "retranslations")


@admin.register(SegmentChange)
class SegmentChangeAdmin(ReadOnlyAdmin):
    """Changes of segments; a search for a segment's id shows its history."""

    list_display = ("segment_pk", "old_text", "new_text", "decision", "retranslation")
    list_select_related = ("retranslation",)
    list_filter = ("retranslation__decision",)
    search_fields = ("=segment_pk", "retranslation__id", "retranslation__job__id")

    @admin.display(description="old text")
    def old_text(self, change: SegmentChange) -> str:
        return _text(change.before)

    @admin.display(description="new text")
    def new_text(self, change: SegmentChange) -> str:
        return _text(change.after)

    @admin.display(ordering="retranslation__decision")
    def decision(self, change: SegmentChange) -> str:
        return change.retranslation.decision


def _text(fields: dict[str, Any] | None) -> str:
    return "" if fields is None else Truncator(fields["text"]).chars(MAX_SHOWN_CHARACTERS)
