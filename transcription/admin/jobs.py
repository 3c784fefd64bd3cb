"""Jobs in the admin: their state, timeline, and actions (rerun, retry, diarize, cancel, export, delete)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import (
    Case,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    When,
)
from django.db.models.functions import Now, NullIf
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.timesince import timesince

from transcription import access, hooks
from transcription.admin import downloads, masking
from transcription.admin.base import (
    DeletableAdmin,
    ValuesFilter,
    display_duration,
    link,
    list_url,
    review_url,
)
from transcription.admin.timeline import masked_timeline, timeline
from transcription.jobs import diarize, lifecycle, retry_and_delete, status
from transcription.models import Chunk, Diarization, Edit, Job, Leased, Segment, Stage
from transcription.transcript import exports

LONG_RUNNING = timedelta(hours=1)
STALLED = timedelta(minutes=10)
RECENTLY = timedelta(days=1)
MAX_EXPORTED_JOBS = 200
STATE_LOOKUPS = {
    "id",
    "pk",
    "recording",
    "status",
    "model_name",
    "language",
    "engine",
    "created_at",
    "owner",
}
"""What the jobs of other people may be filtered by."""
NO_TRANSCRIPT = "not completed, or without speech"
REAL_TIME_FACTOR = Case(
    When(
        status=Job.Status.COMPLETED,
        then=ExpressionWrapper(
            (F("finished_at") - F("started_at") - F("paused"))
            / NullIf(F("recording__duration"), 0.0),
            output_field=DurationField(),
        ),
    )
)
"""The real-time factor as a database expression, to sort by."""


class AttentionFilter(admin.SimpleListFilter):
    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("failed", "Failed in the last 24 hours"),
            ("long", "In progress for more than an hour"),
            ("idle", "Stalled: no worker has held it for 10 minutes"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        if self.value() == "failed":
            recent = Now() - RECENTLY
            return queryset.filter(status=Job.Status.FAILED, finished_at__gte=recent)
        if self.value() == "long":
            running = Q(
                status=Job.Status.RUNNING, started_at__lt=Now() - LONG_RUNNING - F("paused")
            )
            queued = Q(status=Job.Status.QUEUED, updated_at__lt=Now() - LONG_RUNNING)
            return queryset.filter(running | queued)
        if self.value() == "idle":
            leased = {"job": OuterRef("pk"), "state": Leased.State.DOING, "lease_until__gte": Now()}
            return queryset.filter(
                ~Exists(Chunk.objects.filter(**leased)),
                ~Exists(Stage.objects.filter(**leased)),
                status__in=Job.ACTIVE,
                updated_at__lt=Now() - STALLED,
            )
        return queryset


def _export_action(format: str) -> Callable[..., Any]:  # noqa: A002  # as `exports` calls it
    @admin.action(description=f"Export as {format.upper()}", permissions=["view"])
    def export(
        model_admin: "JobAdmin", request: HttpRequest, queryset: "QuerySet[Job]"
    ) -> HttpResponseBase | None:
        return model_admin.export(request, queryset, format)

    export.__name__ = f"export_{format}"  # Django's name of the action in the form
    return export


CONTENT_COLUMNS = ("recording_name", "short_message")


class JobList(ChangeList):
    """Sorts by no column whose order would tell what others' names and messages are: the address could ask for that."""

    def get_ordering_field(self, field_name: Any) -> Any:
        if masking.is_masking() and field_name in CONTENT_COLUMNS:
            return None
        return super().get_ordering_field(field_name)


@admin.register(Job)
class JobAdmin(DeletableAdmin):
    list_display = (
        "recording_name",
        "review",
        "status",
        "short_message",
        "model_name",
        "language",
        "length",
        "percent",
        "real_time_factor",
        "age",
    )
    list_filter = (
        AttentionFilter,
        "status",
        ("model_name", ValuesFilter),
        ("language", ValuesFilter),
        ("engine", ValuesFilter),
        "created_at",
    )
    list_select_related = ("recording",)
    search_fields = ("id", "recording__name")
    date_hierarchy = "created_at"
    readonly_fields = ("percent", "real_time_factor")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "recording",
                    ("status", "percent"),
                    "message",
                    ("model_name", "engine", "device"),
                    ("language", "requested_language"),
                    ("channels", "diarize"),
                    ("num_speakers", "min_speakers", "max_speakers"),
                    ("created_at", "started_at", "finished_at"),
                    ("real_time_factor", "paused"),
                    ("updated_at", "served_at", "run", "revision"),
                )
            },
        ),
    )
    actions = (
        "rerun",
        "retry_failed",
        "run_diarization",
        "cancel",
        *(_export_action(name) for name in exports.FORMATS),
    )

    @admin.display(description="recording", ordering="recording__name")
    def recording_name(self, job: Job) -> str:
        return masking.masked_name(job) if masking.is_masked(job) else job.recording.name

    @admin.display(description="message", ordering="message")
    def short_message(self, job: Job) -> str:
        return "" if masking.is_masked(job) else Truncator(job.message).chars(80)

    @admin.display(description="duration", ordering="recording__duration")
    def length(self, job: Job) -> str:
        return display_duration(job.recording)

    @admin.display(description="progress", ordering="progress")
    def percent(self, job: Job) -> str:
        bar = '<progress max="100" value="{0}" aria-hidden="true"></progress>'
        return format_html(f'<span class="percent">{bar} {{0}} %</span>', job.progress)

    @admin.display(description="real-time factor", ordering=REAL_TIME_FACTOR)
    def real_time_factor(self, job: Job) -> str | None:
        factor = status.real_time_factor(job)
        return None if factor is None else f"{factor:.3f}"

    @admin.display
    def review(self, job: Job) -> str:
        return "" if masking.is_masked(job) else link(review_url(job.pk), "review")

    @admin.display(ordering="created_at")
    def age(self, job: Job) -> str:
        return timesince(job.created_at, depth=1)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        if not masking.is_masking():
            return super().get_queryset(request).defer("removed_segments")
        with access.as_service():
            rows = super().get_queryset(request).defer("removed_segments")
        return masking.all_jobs(rows)

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> tuple["QuerySet[Any]", bool]:
        """Search names in what may be read alone: whether a name is found tells what it is."""
        if not masking.is_masking():
            return super().get_search_results(request, queryset, search_term)
        for word in search_term.split():
            named = Q(is_readable=True, recording__name__icontains=word)
            queryset = queryset.filter(Q(pk__icontains=word) | named)
        return queryset, False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Without `message__contains=…`, by which the address would tell what a message says."""
        if masking.is_masking() and lookup.split("__")[0] not in STATE_LOOKUPS:
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[arg-type]

    def get_sortable_by(self, request: HttpRequest) -> Any:
        columns = super().get_sortable_by(request)
        return [each for each in columns if not (masking.is_masking() and each in CONTENT_COLUMNS)]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return JobList

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        return (*columns, "owner") if masking.is_masking() else columns

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or not masking.is_masked(obj):
            return fieldsets
        [(title, options)] = fieldsets
        fields = [each for each in options["fields"] if each not in ("recording", "message")]
        return [(title, {**options, "fields": ("recording_name", *fields)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), "recording_name")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Other people's jobs are named as what keeps the rest from being deleted with them."""
        names, counts, missing, protected = super().get_deleted_objects(objs, request)
        masked = [self.display_name(job) for job in objs if masking.is_masked(job)]
        return names, counts, missing, [*protected, *masked]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Job | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context |= {"subtitle": self.display_name(obj), **self._page_parts(request, obj)}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _page_parts(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        """What a job's page shows besides its fields."""
        if masking.is_masked(job):
            return {"timeline": masked_timeline(job)}
        hooks.report(request, hooks.READ, job)
        return {
            "timeline": timeline(job),
            "review_url": review_url(job.pk),
            "tools": [{"url": url, "text": text.capitalize()} for url, text in _related_lists(job)],
        }

    @admin.action(
        description="Rerun from scratch (deletes transcript and edits)", permissions=["change"]
    )
    def rerun(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        self._act_on_jobs(
            request,
            queryset,
            retry_and_delete.rerun,
            "{} restarted",
            "{} skipped: deleted",
            action=hooks.RERUN,
        )

    @admin.action(description="Retry what failed", permissions=["change"])
    def retry_failed(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        skipped = "{} skipped: neither failed nor cancelled"
        self._act_on_jobs(
            request,
            queryset,
            retry_and_delete.retry_failed,
            "{} retried",
            skipped,
            action=hooks.RETRY,
        )

    @admin.action(description="Run diarization (again)", permissions=["change"])
    def run_diarization(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        skipped = "{} skipped: not completed"
        done = "Diarization requested for {}"
        self._act_on_jobs(
            request, queryset, diarize.request_diarization, done, skipped, action=hooks.DIARIZE
        )

    @admin.action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        self._act_on_jobs(
            request,
            queryset,
            lifecycle.cancel_job,
            "{} cancelled",
            "{} skipped: already ended",
            action=hooks.CANCEL,
        )

    def _act_on_jobs(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Job]",
        function: Callable[..., bool],
        done: str,
        skipped: str,
        *,
        action: str,
    ) -> None:
        def act(pk: UUID) -> bool:
            is_done = function(job_id=pk)
            if is_done:
                hooks.report(request, action, Job(pk=pk))
            return is_done

        rows = self._without_masked(request, queryset)
        self.act_on_each(request, rows, act, done=done, skipped=skipped)

    def _without_masked(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        """The jobs that whoever asks may read and change; a message says how many others there are."""
        if not masking.is_masking():
            return queryset
        n_masked = queryset.filter(Q(is_readable=False)).count()
        if n_masked:
            text = f"{self.counted(n_masked)} skipped: they belong to other people."
            self.message_user(request, text, messages.WARNING)
        return queryset.filter(Q(is_readable=True))

    def export(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Job]",
        format: str,  # noqa: A002
    ) -> HttpResponseBase | None:
        """Download one job's transcript as a file, or several as an archive with a list of the jobs without one."""
        queryset = self._without_masked(request, queryset)
        n = queryset.count()
        if n > MAX_EXPORTED_JOBS:
            text = (
                f"{n} jobs are too many for one archive: at most {MAX_EXPORTED_JOBS} are allowed."
            )
            self.message_user(request, text, messages.ERROR)
            return None
        has_segments = Exists(Segment.objects.filter(job=OuterRef("pk")))
        jobs = list(queryset.select_related("recording").annotate(has_segments=has_segments))
        ready = [job for job in jobs if job.status == Job.Status.COMPLETED and job.has_segments]
        skipped = [job for job in jobs if job not in ready]
        if skipped:
            text = f"{self.counted(len(skipped))} skipped: {NO_TRANSCRIPT}."
            self.message_user(request, text, messages.WARNING)
        if not ready:
            return None
        for job in ready:
            hooks.report(request, hooks.EXPORT, job, detail=format)
        if len(ready) == 1:
            return downloads.one_file(job=ready[0], format=format)
        lines = [f"{job.recording.name} ({job.pk}): {NO_TRANSCRIPT}" for job in skipped]
        return downloads.archive(jobs=ready, format=format, skipped=lines)

    def display_name(self, row: Job) -> str:
        return f"{self.recording_name(row)} with {row.model_name}"

    def delete_row(self, pk: UUID) -> bool:
        return retry_and_delete.delete_job(job_id=pk)


def _related_lists(job: Job) -> list[tuple[str, str]]:
    """The URLs of the lists of the job's rows, with their labels."""
    query = f"job__id__exact={job.pk}"
    labels = {Chunk: "chunks", Segment: "segments", Diarization: "speakers", Edit: "edits"}
    return [(list_url(model, query), label) for model, label in labels.items()]
