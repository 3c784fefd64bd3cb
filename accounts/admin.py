"""People in Django's admin: how they get there, their limits, and the audit log."""

import csv
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts.models import AuditEntry, Limits
from accounts.signing_in import admin_sign_in
from transcription.admin.base import ReadOnlyAdmin

if TYPE_CHECKING:
    StackedInline = admin.StackedInline[Limits, User]
    OfPeople = UserAdmin[User]
else:
    StackedInline, OfPeople = admin.StackedInline, UserAdmin

CSV_FIELDS = ("at", "name", "token", "address", "action", "kind", "object_id", "detail")
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


class LimitsInline(StackedInline):
    model = Limits
    verbose_name = "limits"
    can_delete = False


admin.site.login = admin_sign_in(admin.site.login)  # type: ignore[method-assign]
admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(OfPeople):
    """Django's own, with limits. People are made inactive rather than deleted: what they made is theirs."""

    inlines = (LimitsInline,)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj is not None and settings.TRANSCRIBER_ACCOUNTS != "off" else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """With accounts, none: the page that asks whether to go on would name the recordings that are in the way."""
        return settings.TRANSCRIBER_ACCOUNTS == "off" and super().has_delete_permission(
            request, obj
        )


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """The audit log: read, filtered, searched and exported, never changed."""

    list_display = ("at", "name", "token", "address", "action", "kind", "object_id", "detail")
    list_filter = ("at", "action", "kind")
    search_fields = ("name", "token", "address", "action", "object_id", "detail")
    date_hierarchy = "at"
    actions = ("export_csv",)

    @admin.action(description="Export as CSV", permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: "QuerySet[AuditEntry]") -> HttpResponse:
        headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
        return HttpResponse(
            "".join(_lines(queryset)), content_type="text/csv; charset=utf-8", headers=headers
        )

    def response_action(  # type: ignore[override]  # the stubs are of a later Django
        self, request: HttpRequest, queryset: "QuerySet[Any]"
    ) -> Any:
        """Any number of entries may be exported: it is the log's only action, and changes nothing."""
        return super(ReadOnlyAdmin, self).response_action(request, queryset)


class _Echo:
    def write(self, line: str) -> str:
        return line


def _lines(entries: "QuerySet[AuditEntry]") -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(CSV_FIELDS)
    for values in entries.order_by("pk").values_list(*CSV_FIELDS).iterator(chunk_size=1000):
        at, *texts = values
        yield writer.writerow([at.isoformat(), *map(_as_text, texts)])


def _as_text(value: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(FORMULA_SIGNS) else value
