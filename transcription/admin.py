"""What an operator sees and does. Rows are looked at, not edited, save what a segment says and who said it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import BaseInlineFormSet, ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator
from django.utils.timesince import timesince

from transcription import jobs, operations, speakers
from transcription.models import Chunk, Diarization, Job, Recording, Segment, Stage
from transcription.transcript import display_time

MOST_INLINE_ROWS = 50
LEASED_FIELDS = ("state", "attempts", "failures", "worker", "lease_until", "error")


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


class DeletableAdmin(ReadOnlyAdmin):
    """Rows that can be deleted, with all that hangs on them, by a function of `operations`."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What the page that asks for confirmation shows: not every single segment."""
        found = list(objs)
        return (
            [str(row) for row in found],
            {str(self.opts.verbose_name_plural): len(found)},
            set(),
            [],
        )

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


class StageInline(ReadOnlyInline):
    model = Stage
    fields = ("kind", *LEASED_FIELDS)


class ChunkInline(ReadOnlyInline):
    model = Chunk
    verbose_name_plural = f"The first {MOST_INLINE_ROWS} chunks"
    fields = ("index", "start", "end", "progress", *LEASED_FIELDS)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("streams", "speech")


@admin.register(Recording)
class RecordingAdmin(DeletableAdmin):
    list_display = ("name", "length", "size", "container", "codec", "jobs_link", "age")
    list_filter = ("created_at", "container", "codec")
    search_fields = ("id", "name")
    date_hierarchy = "created_at"

    @admin.display(description="duration", ordering="duration")
    def length(self, recording: Recording) -> str:
        return _duration(recording)

    @admin.display(description="jobs")
    def jobs_link(self, recording: Recording) -> str:
        return _list_link(Job, f"recording__id__exact={recording.pk}", "jobs")

    @admin.display(ordering="created_at")
    def age(self, recording: Recording) -> str:
        return timesince(recording.created_at, depth=1)

    def delete_row(self, pk: UUID) -> None:
        operations.delete_recording(recording_id=pk)


@admin.register(Job)
class JobAdmin(DeletableAdmin):
    list_display = (
        "recording_name",
        "status",
        "short_message",
        "model_name",
        "language",
        "length",
        "percent",
        "real_time_factor",
        "rows",
        "age",
    )
    list_filter = ("status", "model_name", "language", "engine", "created_at")
    list_select_related = ("recording",)
    search_fields = ("id", "recording__name")
    date_hierarchy = "created_at"
    exclude = ("removed_segments",)
    inlines = (StageInline, ChunkInline)
    actions = ("run_again", "retry_what_failed", "find_speakers", "cancel")

    @admin.display(description="recording", ordering="recording__name")
    def recording_name(self, job: Job) -> str:
        return job.recording.name

    @admin.display(description="message")
    def short_message(self, job: Job) -> str:
        return Truncator(job.message).chars(80)

    @admin.display(description="duration", ordering="recording__duration")
    def length(self, job: Job) -> str:
        return _duration(job.recording)

    @admin.display(description="progress", ordering="progress")
    def percent(self, job: Job) -> str:
        return f"{job.progress} %"

    @admin.display(description="real-time factor")
    def real_time_factor(self, job: Job) -> str | None:
        factor = jobs.real_time_factor(job)
        return None if factor is None else f"{factor:.3f}"

    @admin.display(description="more")
    def rows(self, job: Job) -> str:
        of_job = f"job__id__exact={job.pk}"
        links = [
            (_list_link(Chunk, of_job, "chunks"),),
            (_list_link(Segment, of_job, "segments"),),
            (_list_link(Diarization, of_job, "speakers"),),
        ]
        return format_html_join(" · ", "{}", links)

    @admin.display(ordering="created_at")
    def age(self, job: Job) -> str:
        return timesince(job.created_at, depth=1)

    @admin.action(description="Run again from the start", permissions=["change"])
    def run_again(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        self._act(request, queryset, operations.rerun, "{} begun again", "{} no longer there")

    @admin.action(description="Retry what failed", permissions=["change"])
    def retry_what_failed(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        skipped = "{} skipped: neither failed nor cancelled"
        self._act(request, queryset, operations.retry_failed, "{} tried again", skipped)

    @admin.action(description="Find out who speaks (again)", permissions=["change"])
    def find_speakers(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        skipped = "{} skipped: not completed"
        self._act(request, queryset, speakers.request_diarization, "{} begun", skipped)

    @admin.action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        self._act(request, queryset, jobs.cancel_job, "{} cancelled", "{} skipped: ended already")

    def _act(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Job]",
        function: Callable[..., bool],
        done: str,
        skipped: str,
    ) -> None:
        """Call `function` for each job, and say for how many it did something and for how many not."""
        ids = list(queryset.values_list("pk", flat=True))
        n_done = sum(function(job_id=job_id) for job_id in ids)
        if n_done:
            self.message_user(request, done.format(_jobs(n_done)) + ".", messages.SUCCESS)
        if n_done < len(ids):
            text = skipped.format(_jobs(len(ids) - n_done)) + "."
            self.message_user(request, text, messages.WARNING)

    def delete_row(self, pk: UUID) -> None:
        operations.delete_job(job_id=pk)


class LeasedAdmin(ReadOnlyAdmin):
    ordering = ("-pk",)
    list_select_related = ("job__recording",)
    search_fields = ("job__id", "job__recording__name", "error")

    @admin.display(description="recording", ordering="job__recording__name")
    def recording_name(self, row: Stage | Chunk) -> str:
        return row.job.recording.name

    @admin.display(description="error")
    def short_error(self, row: Stage | Chunk) -> str:
        return Truncator(row.error).chars(80)


@admin.register(Stage)
class StageAdmin(LeasedAdmin):
    list_display = (
        "kind",
        "recording_name",
        "state",
        "attempts",
        "failures",
        "lease_until",
        "short_error",
    )
    list_filter = ("state", "kind", "job__created_at")


@admin.register(Chunk)
class ChunkAdmin(LeasedAdmin):
    list_display = (
        "index",
        "recording_name",
        "start",
        "end",
        "state",
        "progress",
        "attempts",
        "failures",
        "lease_until",
        "short_error",
    )
    list_filter = ("state", "job__status", "job__model_name", "job__created_at")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("streams", "speech")


@admin.register(Diarization)
class DiarizationAdmin(ReadOnlyAdmin):
    """Who was heard, and for how long; turns and voices are for programs."""

    list_display = ("recording_name", "engine", "model", "device", "created_at")
    list_filter = ("engine", "device", "created_at")
    list_select_related = ("job__recording",)
    ordering = ("-pk",)
    search_fields = ("job__id", "job__recording__name")
    fields = ("job", "engine", "model", "device", "created_at", "heard")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("turns", "exclusive", "centroids")

    @admin.display(description="recording", ordering="job__recording__name")
    def recording_name(self, diarization: Diarization) -> str:
        return diarization.job.recording.name

    @admin.display(description="speakers")
    def heard(self, diarization: Diarization) -> str:
        seconds = diarization.seconds_of_speakers()
        return ", ".join(f"{name} {display_time(heard)}" for name, heard in seconds.items())


@admin.register(Segment)
class SegmentAdmin(ReadOnlyAdmin):
    """What was said and by whom may be put right; times and figures are what the model gave."""

    list_display = ("begins", "ends", "short_text", "speaker", "recording_name", "avg_logprob")
    list_filter = ("job__status", "job__model_name", "job__language", "job__created_at")
    list_select_related = ("job__recording",)
    search_fields = ("job__id", "job__recording__name", "text")
    readonly_fields = (
        "job",
        "chunk",
        "start",
        "end",
        "speaker_confidence",
        "avg_logprob",
        "no_speech_prob",
        "compression_ratio",
        "temperature",
        "words",
    )
    fields = ("text", "speaker", *readonly_fields)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("words")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # One job's segments as they were said; all jobs' the newest first, which needs no sorting.
        return ("start", "pk") if "job__id__exact" in request.GET else ("-pk",)

    @admin.display(description="start", ordering="start")
    def begins(self, segment: Segment) -> str:
        return display_time(segment.start)

    @admin.display(description="end", ordering="end")
    def ends(self, segment: Segment) -> str:
        return display_time(segment.end)

    @admin.display(description="text")
    def short_text(self, segment: Segment) -> str:
        return Truncator(segment.text).chars(120)

    @admin.display(description="recording", ordering="job__recording__name")
    def recording_name(self, segment: Segment) -> str:
        return segment.job.recording.name

    def save_model(
        self, request: HttpRequest, obj: Segment, form: "ModelForm[Segment]", change: bool
    ) -> None:
        """Write what was edited and nothing else; a segment that is gone by now stays gone."""
        edited = {name: form.cleaned_data[name] for name in form.changed_data}
        if edited:
            Segment.objects.filter(pk=obj.pk).update(**edited)


def _duration(recording: Recording) -> str:
    seconds = recording.duration
    return "" if seconds is None else display_time(seconds)


def _list_link(model: type[Model], query: str, text: str) -> str:
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return format_html('<a href="{}?{}">{}</a>', url, query, text)


def _jobs(n: int) -> str:
    return "1 job" if n == 1 else f"{n} jobs"
