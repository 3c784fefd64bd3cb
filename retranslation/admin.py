"""What an operator sees and does: rows are looked at, accepted, rejected, tried again, and not edited."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.timesince import timesince

from retranslation import proposals, services
from retranslation.models import Batch, Retranslation, SegmentChange
from transcription.admin import DeletableAdmin, ReadOnlyAdmin, ReadOnlyInline
from transcription.editing.changes import ConflictError
from transcription.transcript.segments import display_time

if TYPE_CHECKING:
    from django.db.models import QuerySet

SHOWN_LETTERS = 60


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
    actions = ("accept", "reject", "undo", "retry_what_failed")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("words")

    @admin.display(ordering="start")
    def range(self, retranslation: Retranslation) -> str:
        return f"{display_time(retranslation.start)} – {display_time(retranslation.end)}"

    @admin.display(description="old text")
    def short_old_text(self, retranslation: Retranslation) -> str:
        return Truncator(retranslation.old_text).chars(SHOWN_LETTERS)

    @admin.display(description="text")
    def short_text(self, retranslation: Retranslation) -> str:
        return Truncator(retranslation.text or retranslation.error).chars(SHOWN_LETTERS)

    @admin.display(description="job")
    def job_link(self, retranslation: Retranslation) -> str:
        if retranslation.job_id is None:
            return ""
        url = reverse("admin:transcription_job_change", args=[retranslation.job_id])
        return format_html('<a href="{}">{}</a>', url, "job")

    @admin.display(ordering="created_at")
    def age(self, retranslation: Retranslation) -> str:
        return timesince(retranslation.created_at, depth=1)

    @admin.action(description="Accept: put into the transcript", permissions=["change"])
    def accept(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        self._decide(request, queryset, proposals.accept, "accepted")

    @admin.action(description="Reject", permissions=["change"])
    def reject(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        self._decide(request, queryset, proposals.reject, "rejected")

    @admin.action(description="Take the decision back", permissions=["change"])
    def undo(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        self._decide(request, queryset, proposals.undo, "undecided again")

    @admin.action(description="Try again what failed", permissions=["change"])
    def retry_what_failed(self, request: HttpRequest, queryset: "QuerySet[Retranslation]") -> None:
        ids = list(queryset.values_list("pk", flat=True))
        n_done = sum(services.retry_failed(retranslation_id=pk) for pk in ids)
        if n_done:
            self.message_user(request, f"{_count(n_done)} tried again.", messages.SUCCESS)
        if n_done < len(ids):
            text = f"{_count(len(ids) - n_done)} skipped: did not fail."
            self.message_user(request, text, messages.WARNING)

    def _decide(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Retranslation]",
        decide: Callable[..., object],
        done: str,
    ) -> None:
        """Decide about each by itself, and say which could not be and why."""
        n_done = 0
        for row in list(queryset.order_by("start")):
            try:
                decide(retranslation_id=row.pk, decided_by=request.user.get_username())
            except (ConflictError, Retranslation.DoesNotExist) as error:
                self.message_user(request, f"{row}: {error}", messages.WARNING)
            else:
                n_done += 1
        if n_done:
            self.message_user(request, f"{_count(n_done)} {done}.", messages.SUCCESS)

    def delete_row(self, pk: UUID) -> None:
        services.delete_retranslation(retranslation_id=pk)


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ("id", "job", "model_name", "standing", "rows", "asked_by", "created_at")
    list_filter = ("model_name", "created_at")
    search_fields = ("id", "job__id", "asked_by")

    @admin.display(description="standing")
    def standing(self, batch: Batch) -> str:
        return services.standing(batch)[2]

    @admin.display(description="more")
    def rows(self, batch: Batch) -> str:
        url = reverse("admin:retranslation_retranslation_changelist")
        return format_html('<a href="{}?q={}">{}</a>', url, batch.pk, "retranslations")


@admin.register(SegmentChange)
class SegmentChangeAdmin(ReadOnlyAdmin):
    """The history of segments: search for a segment's id."""

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
    return "" if fields is None else Truncator(fields["text"]).chars(SHOWN_LETTERS)


def _count(n: int) -> str:
    return "1 retranslation" if n == 1 else f"{n} retranslations"
