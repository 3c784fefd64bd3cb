"""Base classes of the admin: read-only lists of bounded size, and links between pages."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from transcription import hooks
from transcription.models import Recording
from transcription.transcript.segments import clock_time

MAX_INLINE_ROWS = 50
MAX_ACTION_ROWS = 500
"""Rows per action: a reverse proxy would time out a request that takes minutes."""
MAX_NAMED_ROWS = 100
"""Rows that the confirmation page of a deletion lists by name."""


if TYPE_CHECKING:  # generic only in the stubs
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    InlineFormSet = BaseInlineFormSet[Any, Any, Any]
else:
    ModelAdmin, TabularInline, InlineFormSet = (
        admin.ModelAdmin,
        admin.TabularInline,
        BaseInlineFormSet,
    )


class ReadOnlyAdmin(ModelAdmin):
    """Rows can only be viewed, unless a subclass allows more."""

    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 200

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # Without a row, Django asks whether the user may run actions.
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """The row of a page, whose reading is reported if it is content."""
        row = super().get_object(request, object_id, from_field)
        if row is not None and hasattr(row, "scope") and not hasattr(row, "is_readable"):
            hooks.report(request, hooks.READ, row)
        return row

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, which an administrator who reads everything reads as a whole."""
        if hasattr(self.model, "scope"):
            hooks.report_list(request, self.model)
        return super().changelist_view(request, extra_context)

    def response_action(  # type: ignore[override]  # the stubs are of a later Django
        self, request: HttpRequest, queryset: "QuerySet[Any]"
    ) -> HttpResponse | None:
        """Run an action; refuse it with a message for more than MAX_ACTION_ROWS rows."""
        if request.POST.get("select_across") == "1":
            n = queryset.order_by().count()
            if n > MAX_ACTION_ROWS:
                text = (
                    f"{n:,} {self.opts.verbose_name_plural} are too many for one action: at most "
                    f"{MAX_ACTION_ROWS} are allowed. Nothing was changed. Narrow the list with a filter."
                )
                self.message_user(request, text, messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset)

    def act_on_each(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Any]",
        function: Callable[[Any], bool],
        *,
        done: str,
        skipped: str,
    ) -> None:
        """Call `function` with each row's id, and show for how many rows it returned true, and for how many false.

        `done` and `skipped` say what happened; `{}` in them is replaced by "1 job" or "3 jobs".
        """
        ids = list(queryset.values_list("pk", flat=True))
        n_done = sum(function(pk) for pk in ids)
        if n_done:
            text = done.format(self.counted(n_done)) + "."
            self.message_user(request, text, messages.SUCCESS)
        if n_done < len(ids):
            text = skipped.format(self.counted(len(ids) - n_done)) + "."
            self.message_user(request, text, messages.WARNING)

    def counted(self, n: int) -> str:
        """The number and the name of the rows, such as "1 job" or "1,000 jobs"."""
        return counted(n, str(self.opts.verbose_name), str(self.opts.verbose_name_plural))


class JobRowAdmin(ReadOnlyAdmin):
    """Rows that belong to a job, with a column for its recording's name."""

    list_select_related = ("job__recording",)

    @admin.display(description="recording", ordering="job__recording__name")
    def recording_name(self, row: Any) -> str:
        name: str = row.job.recording.name
        return name


class DeletableAdmin(ReadOnlyAdmin):
    """Rows can be deleted too, through the service function that `delete_row` calls."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What the confirmation page shows: the rows' names, without the thousands of dependent rows."""
        rows = list(objs)
        names = [self.display_name(row) for row in rows[:MAX_NAMED_ROWS]]
        if len(rows) > MAX_NAMED_ROWS:
            names.append(f"and {len(rows) - MAX_NAMED_ROWS} more")
        return (names, {str(self.opts.verbose_name_plural): len(rows)}, set(), [])

    def display_name(self, row: Any) -> str:
        return str(row)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self._delete(request, obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        for pk in list(queryset.values_list("pk", flat=True)):
            self._delete(request, pk)

    def _delete(self, request: HttpRequest, pk: Any) -> None:
        if self.delete_row(pk):
            hooks.report(request, hooks.DELETE, self.model(pk=pk))

    def delete_row(self, pk: UUID) -> bool:
        """Delete a row. False if it was deleted before."""
        raise NotImplementedError


class LimitedFormSet(InlineFormSet):
    """Shows the first rows only; the model's own list has all."""

    def get_queryset(self) -> "QuerySet[Any]":
        if not hasattr(self, "_first_rows"):
            self._first_rows = super().get_queryset()[:MAX_INLINE_ROWS]
        return self._first_rows


class ReadOnlyInline(TabularInline):
    formset = LimitedFormSet
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ValuesFilter(admin.AllValuesFieldListFilter):
    """A filter by the values that occur; shows the empty value as "(none)", for which Django has no label."""

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for choice in super().choices(changelist):
            yield choice if choice["display"] != "" else {**choice, "display": "(none)"}


def display_duration(recording: Recording) -> str:
    seconds = recording.duration
    return "" if seconds is None else clock_time(seconds)


def link(url: str, text: str) -> str:
    return format_html('<a href="{}">{}</a>', url, text)


def list_url(model: type[Model], query: str) -> str:
    """The URL of a model's list, filtered by a query such as `job__id__exact=…`."""
    return f"{reverse(_view(model, 'changelist'))}?{query}"


def page_url(row: Model) -> str:
    return reverse(_view(type(row), "change"), args=[row.pk])


def _view(model: type[Model], name: str) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}"


def job_link(job_id: UUID | None) -> str:
    """A link to a job's page, made without fetching the job; empty for None."""
    if job_id is None:
        return ""
    return link(reverse("admin:transcription_job_change", args=[job_id]), "job")


def review_url(job_id: UUID) -> str:
    return reverse("review", args=[job_id])


def counted(n: int, singular: str, plural: str = "") -> str:
    """A number with its noun, such as "1 job" or "1,000 jobs"; the default plural ends in "s"."""
    return f"1 {singular}" if n == 1 else f"{n:,} {plural or f'{singular}s'}"


def skipped_messages(reasons: "Counter[str]", noun: str) -> list[str]:
    """A message for each reason why rows were skipped, with the number of rows."""
    return [f"{counted(n, noun)} skipped: {reason}" for reason, n in reasons.most_common()]
