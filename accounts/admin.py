"""People in Django's admin: how they get there, their limits, and the audit log."""

import csv
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import AuditEntry, Limits
from accounts.signing_in import admin_sign_in
from transcription.admin.base import ReadOnlyAdmin


def _not_found(request: HttpRequest) -> HttpResponse:
    raise Http404


if TYPE_CHECKING:
    StackedInline = admin.StackedInline[Limits, User]
    OfPeople = UserAdmin[User]
else:
    StackedInline, OfPeople = admin.StackedInline, UserAdmin

# No field uses it, and it would name rows that nobody notes as read.
admin.site.autocomplete_view = _not_found  # type: ignore[method-assign]

CSV_FIELDS = ("at", "name", "token", "address", "action", "kind", "object_id", "detail")
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


class LimitsInline(StackedInline):
    model = Limits
    verbose_name = "limits"
    can_delete = False


admin.site.login = admin_sign_in(admin.site.login)  # type: ignore[method-assign]
for _model in list(admin.site._registry):
    # A second factor or an account at a provider is not to be made or removed here either.
    if _model is User or _model._meta.app_label in ("account", "mfa", "socialaccount", "knox"):
        admin.site.unregister(_model)
ELSEWHERE = (
    "Passwords, roles and who may sign in are changed here, where those whom it concerns are told."
)
ON_OUR_PAGES = (
    "password",
    "is_active",
    "is_staff",
    "is_superuser",
    "groups",
    "user_permissions",
)


@admin.register(User)
class PersonAdmin(OfPeople):
    """Django's own, with limits. People are made inactive rather than deleted: what they made is theirs."""

    inlines = (LimitsInline,)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return () if obj is None or _accounts_are_off() else self.inlines

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if _accounts_are_off() or obj is None else (*fields, *ON_OUR_PAGES)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _accounts_are_off() and super().has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """With accounts, none: the page that asks whether to go on would name the recordings that are in the way."""
        return _accounts_are_off() and super().has_delete_permission(request, obj)

    def user_change_password(
        self,
        request: HttpRequest,
        id: str,  # noqa: A002  Django's name
        form_url: str = "",
    ) -> HttpResponse:
        if _accounts_are_off():
            return super().user_change_password(request, id, form_url)
        messages.info(request, ELSEWHERE)
        return redirect("people")


def _accounts_are_off() -> bool:
    return bool(settings.TRANSCRIBER_ACCOUNTS == "off")


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
