"""The queue in the admin: failed tasks can be looked at and run again, and nothing else can be run.

django-q2's own pages let whoever may add a schedule, or resubmit a task, have a worker call any function.
"""

from typing import Any

import django_q.admin  # noqa: F401  # it registers what is replaced here
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import truncatechars
from django_q.models import Failure, OrmQ, Schedule, Success

from transcription.admin import masking
from transcription.admin.base import ReadOnlyAdmin
from transcription.leasing import wakeups

for model in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(model):  # OrmQ is so only where the queue is the database
        admin.site.unregister(model)


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """Tasks that ended in an error. What is left to do is read from the rows, so running one again harms nothing."""

    list_display = ("func", "cluster", "started", "stopped", "short_result")
    list_filter = ("func", "cluster")
    fields = ("func", "cluster", "started", "stopped", "result")
    actions = ("run_again",)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without errors where they may quote what is other people's."""
        columns = super().get_list_display(request)
        return [name for name in columns if name != "short_result" or not masking.is_masking()]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_fields(request, obj)
        return [name for name in fields if name != "result" or not masking.is_masking()]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Without `result__contains=…`, by which the address would tell what an error says."""
        if masking.is_masking() and lookup.split("__")[0] not in ("func", "cluster", "id"):
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[arg-type]

    @admin.display(description="Error")
    def short_result(self, task: Any) -> str:
        return truncatechars(task.result, 100)

    @admin.action(description="Run again", permissions=["change"])
    def run_again(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        """Enqueue each task that an app has registered, and forget that it failed."""
        self.act_on_each(
            request,
            queryset,
            _run_again,
            done="Enqueued {}",
            skipped="Left {} alone: what they call is no task of this version",
        )


def _run_again(task_id: str) -> bool:
    task = Failure.objects.get(pk=task_id)
    try:
        wakeups.wake_workers(task.func)
    except KeyError:
        return False
    task.delete()
    return True
