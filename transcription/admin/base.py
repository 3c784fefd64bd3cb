"""What all lists and pages have in common: they read, they are bounded, they lead to one another."""

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

from transcription.models import Recording
from transcription.transcript.segments import clock_time

MOST_INLINE_ROWS = 50
MOST_ACTED_ON = 500
"""Rows of one action: a request that takes minutes is broken off by whatever stands before the service."""
MOST_NAMED = 100
"""Rows that are named one by one when it is asked whether they are to be deleted."""


if TYPE_CHECKING:  # these take type arguments in the stubs alone
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
    """Rows can be looked at, and nothing else unless a subclass says so."""

    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 200

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # Without a row it is asked whether actions may be run, which is for the user's rights to say.
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def response_action(  # type: ignore[override]  # the stubs are of a later Django
        self, request: HttpRequest, queryset: "QuerySet[Any]"
    ) -> HttpResponse | None:
        """Run an action, unless it is asked for on more rows at once than can be done while one waits."""
        if request.POST.get("select_across") == "1":
            n = queryset.order_by().count()
            if n > MOST_ACTED_ON:
                text = (
                    f"{n:,} {self.opts.verbose_name_plural} are too many at once: at most "
                    f"{MOST_ACTED_ON}. Nothing was done. A filter makes them fewer."
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
        return f"1 {self.opts.verbose_name}" if n == 1 else f"{n:,} {self.opts.verbose_name_plural}"


class DeletableAdmin(ReadOnlyAdmin):
    """Rows that can be deleted, with all that hangs on them, by a function of `operations`."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What the page that asks for confirmation shows: not every single segment."""
        found = list(objs)
        named = [self.name_of(row) for row in found[:MOST_NAMED]]
        if len(found) > MOST_NAMED:
            named.append(f"and {len(found) - MOST_NAMED} more")
        return (named, {str(self.opts.verbose_name_plural): len(found)}, set(), [])

    def name_of(self, row: Any) -> str:
        """What a person knows it by."""
        return str(row)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_row(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        for pk in list(queryset.values_list("pk", flat=True)):
            self.delete_row(pk)

    def delete_row(self, pk: UUID) -> None:
        raise NotImplementedError


class LimitedFormSet(InlineFormSet):
    """The first rows; the others are in the list of their own."""

    def get_queryset(self) -> "QuerySet[Any]":
        if not hasattr(self, "_first_rows"):
            self._first_rows = super().get_queryset()[:MOST_INLINE_ROWS]
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
    """A filter by the values that there are, where empty is one of them: the plain one shows it as nothing."""

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for choice in super().choices(changelist):
            yield choice if choice["display"] != "" else {**choice, "display": "(none)"}


def shown_duration(recording: Recording) -> str:
    seconds = recording.duration
    return "" if seconds is None else clock_time(seconds)


def link(url: str, text: str) -> str:
    return format_html('<a href="{}">{}</a>', url, text)


def list_url(model: type[Model], query: str) -> str:
    """The list of those rows of a model that a query finds, such as `job__id__exact=…`."""
    return f"{reverse(_view(model, 'changelist'))}?{query}"


def page_url(row: Model) -> str:
    return reverse(_view(type(row), "change"), args=[row.pk])


def _view(model: type[Model], name: str) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}"


def job_link(job_id: UUID | None) -> str:
    """A link to a job's page, without a query for the job; empty for None."""
    if job_id is None:
        return ""
    return link(reverse("admin:transcription_job_change", args=[job_id]), "job")


def review_url(job_id: UUID) -> str:
    return reverse("review", args=[job_id])


def counted(n: int, what: str) -> str:
    return f"1 {what}" if n == 1 else f"{n:,} {what}s"


def reasons(found: "Counter[str]", what: str) -> list[str]:
    """Why something was not done, each reason once: how often, and in what words."""
    return [f"{counted(n, what)} skipped: {reason}" for reason, n in found.most_common()]
