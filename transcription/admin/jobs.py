"""Jobs: what is going on, what went wrong, and what to do about it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
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

from transcription.admin import downloads
from transcription.admin.base import (
    DeletableAdmin,
    ValuesFilter,
    counted,
    link,
    list_url,
    review_url,
    shown_duration,
)
from transcription.admin.timeline import timeline
from transcription.jobs import diarize, lifecycle, retry_and_delete, status
from transcription.models import Chunk, Diarization, Edit, Job, Leased, Segment, Stage
from transcription.transcript import exports

LONG = timedelta(hours=1)
IDLE = timedelta(minutes=10)
RECENT = timedelta(days=1)
MOST_EXPORTED = 200
NO_TRANSCRIPT = "not completed, or nothing was said"
WORK_FOR_A_SECOND = Case(
    When(
        status=Job.Status.COMPLETED,
        then=ExpressionWrapper(
            (F("finished_at") - F("started_at") - F("paused"))
            / NullIf(F("recording__duration"), 0.0),
            output_field=DurationField(),
        ),
    )
)
"""The real-time factor, for the database to sort by."""


class AttentionFilter(admin.SimpleListFilter):
    title = "what to look at"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("failed", "Failed in the last 24 hours"),
            ("long", "Under way for more than an hour"),
            ("idle", "Nobody has worked at it for 10 minutes"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        if self.value() == "failed":
            recent = Now() - RECENT
            return queryset.filter(status=Job.Status.FAILED, finished_at__gte=recent)
        if self.value() == "long":
            working = Q(status=Job.Status.RUNNING, started_at__lt=Now() - LONG - F("paused"))
            waiting = Q(status=Job.Status.QUEUED, updated_at__lt=Now() - LONG)
            return queryset.filter(working | waiting)
        if self.value() == "idle":
            held = {"job": OuterRef("pk"), "state": Leased.State.DOING, "lease_until__gte": Now()}
            return queryset.filter(
                ~Exists(Chunk.objects.filter(**held)),
                ~Exists(Stage.objects.filter(**held)),
                status__in=Job.ACTIVE,
                updated_at__lt=Now() - IDLE,
            )
        return queryset


def _export_action(format: str) -> Callable[..., Any]:  # noqa: A002  # as `exports` calls it
    @admin.action(description=f"Export as {format.upper()}", permissions=["view"])
    def export(
        model_admin: "JobAdmin", request: HttpRequest, queryset: "QuerySet[Job]"
    ) -> HttpResponseBase | None:
        return model_admin.export(request, queryset, format)

    export.__name__ = f"export_{format}"  # by which the page's form and its choice know it
    return export


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
                    ("diarize", "num_speakers", "min_speakers", "max_speakers"),
                    ("created_at", "started_at", "finished_at"),
                    ("real_time_factor", "paused"),
                    ("updated_at", "served_at", "run", "revision"),
                )
            },
        ),
    )
    actions = (
        "run_again",
        "retry_what_failed",
        "find_speakers",
        "cancel",
        *(_export_action(name) for name in exports.FORMATS),
    )

    @admin.display(description="recording", ordering="recording__name")
    def recording_name(self, job: Job) -> str:
        return job.recording.name

    @admin.display(description="message", ordering="message")
    def short_message(self, job: Job) -> str:
        return Truncator(job.message).chars(80)

    @admin.display(description="duration", ordering="recording__duration")
    def length(self, job: Job) -> str:
        return shown_duration(job.recording)

    @admin.display(description="progress", ordering="progress")
    def percent(self, job: Job) -> str:
        bar = '<progress max="100" value="{0}" style="width: 5em" aria-hidden="true"></progress>'
        return format_html(f'<span style="white-space: nowrap">{bar} {{0}} %</span>', job.progress)

    @admin.display(description="real-time factor", ordering=WORK_FOR_A_SECOND)
    def real_time_factor(self, job: Job) -> str | None:
        factor = status.real_time_factor(job)
        return None if factor is None else f"{factor:.3f}"

    @admin.display
    def review(self, job: Job) -> str:
        return link(review_url(job.pk), "review")

    @admin.display(ordering="created_at")
    def age(self, job: Job) -> str:
        return timesince(job.created_at, depth=1)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("removed_segments")

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
            context |= {
                "subtitle": self.name_of(obj),
                "timeline": timeline(obj),
                "review_url": review_url(obj.pk),
                "tools": [{"url": url, "text": text.capitalize()} for url, text in _lists(obj)],
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.action(
        description="Run again from the start: transcript and edits go", permissions=["change"]
    )
    def run_again(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        self._act(request, queryset, retry_and_delete.rerun, "{} begun again", "{} no longer there")

    @admin.action(description="Retry what failed", permissions=["change"])
    def retry_what_failed(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        skipped = "{} skipped: neither failed nor cancelled"
        self._act(request, queryset, retry_and_delete.retry_failed, "{} tried again", skipped)

    @admin.action(description="Find out who speaks (again)", permissions=["change"])
    def find_speakers(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        skipped = "{} skipped: not completed"
        self._act(request, queryset, diarize.request_diarization, "{} begun", skipped)

    @admin.action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        self._act(
            request, queryset, lifecycle.cancel_job, "{} cancelled", "{} skipped: ended already"
        )

    def _act(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Job]",
        function: Callable[..., bool],
        done: str,
        skipped: str,
    ) -> None:
        self.act_on_each(
            request, queryset, lambda pk: function(job_id=pk), done=done, skipped=skipped
        )

    def export(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Job]",
        format: str,  # noqa: A002
    ) -> HttpResponseBase | None:
        """One job's transcript as its file, several as an archive, which says too whose is missing."""
        n = queryset.count()
        if n > MOST_EXPORTED:
            text = f"{n} jobs are too many for one archive: at most {MOST_EXPORTED}."
            self.message_user(request, text, messages.ERROR)
            return None
        said = Exists(Segment.objects.filter(job=OuterRef("pk")))
        chosen = list(queryset.select_related("recording").annotate(has_segments=said))
        ready = [job for job in chosen if job.status == Job.Status.COMPLETED and job.has_segments]
        skipped = [job for job in chosen if job not in ready]
        if skipped:
            text = f"{counted(len(skipped), 'job')} skipped: {NO_TRANSCRIPT}."
            self.message_user(request, text, messages.WARNING)
        if not ready:
            return None
        if len(ready) == 1:
            return downloads.one_file(job=ready[0], format=format)
        lines = [f"{job.recording.name} ({job.pk}): {NO_TRANSCRIPT}" for job in skipped]
        return downloads.archive(jobs=ready, format=format, skipped=lines)

    def name_of(self, row: Job) -> str:
        return f"{row.recording.name} with {row.model_name}"

    def delete_row(self, pk: UUID) -> None:
        retry_and_delete.delete_job(job_id=pk)


def _lists(job: Job) -> list[tuple[str, str]]:
    """Where a job's rows are listed, and what they are called."""
    of_job = f"job__id__exact={job.pk}"
    listed = {Chunk: "chunks", Segment: "segments", Diarization: "speakers", Edit: "edits"}
    return [(list_url(model, of_job), name) for model, name in listed.items()]
