"""Segments, whose text and speaker can be edited, and the history of edits, which can be undone."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.text import Truncator

from transcription import hooks
from transcription.admin.base import (
    JobRowAdmin,
    ModelAdmin,
    ReadOnlyInline,
    link,
    list_url,
    review_url,
    skipped_messages,
)
from transcription.editing import services
from transcription.editing.changes import ConflictError
from transcription.editing.serializers import no_control_characters
from transcription.models import Edit, Job, Segment, SegmentEdit
from transcription.transcript.segments import display_time

if TYPE_CHECKING:
    SegmentForm = forms.ModelForm[Segment]
else:
    SegmentForm = forms.ModelForm

EDITABLE = ("text", "speaker")
SEGMENT_GONE = "This segment no longer exists: it was removed, or the job was rerun."


class SegmentEditForm(SegmentForm):
    """Text and speaker, with hidden fields of their values when the page was rendered (optimistic locking)."""

    class Meta:
        model = Segment
        fields = EDITABLE

    def clean_text(self) -> str:
        text = " ".join(self.cleaned_data["text"].split())
        if len(text) > services.MAX_TEXT_LENGTH:
            raise forms.ValidationError(
                f"A segment has at most {services.MAX_TEXT_LENGTH:,} characters."
            )
        no_control_characters(text)
        return text

    def clean_speaker(self) -> str | None:
        speaker = " ".join((self.cleaned_data["speaker"] or "").split())
        no_control_characters(speaker)
        return speaker or None

    def seen(self) -> dict[str, Any]:
        """The values of the changed fields that the user saw before the change."""
        data = {name: self.data.get(self[name].html_initial_name, "") for name in self.changed_data}
        lines = {name: value.replace("\r\n", "\n") for name, value in data.items()}
        return {
            name: value or None if name == "speaker" else value for name, value in lines.items()
        }


@admin.register(Segment)
class SegmentAdmin(JobRowAdmin):
    """Text and speaker can be edited; times and scores come from the model and are read-only."""

    form = SegmentEditForm
    list_display = (
        "start_time",
        "end_time",
        "short_text",
        "speaker",
        "recording_name",
        "avg_logprob",
    )
    list_filter = ("job__status", "job__model_name", "job__language", "job__created_at")
    search_fields = ("job__id", "job__recording__name", "text")
    readonly_fields = (
        "job",
        "review",
        "edits",
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
    fields = (*EDITABLE, *readonly_fields)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return ModelAdmin.has_change_permission(self, request, obj)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("words")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # One job's segments in order of time; those of all jobs newest first, which needs no sorting.
        return ("start", "pk") if "job__id__exact" in request.GET else ("-pk",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The speaker too while the job is active: speakers are attributed at its end."""
        if obj is not None and obj.job.status in Job.ACTIVE:
            return (*self.readonly_fields, "speaker")
        return self.readonly_fields

    def formfield_for_dbfield(
        self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        return super().formfield_for_dbfield(
            db_field, request, **kwargs, show_hidden_initial=db_field.name in EDITABLE
        )

    @admin.display(description="start", ordering="start")
    def start_time(self, segment: Segment) -> str:
        return display_time(segment.start)

    @admin.display(description="end", ordering="end")
    def end_time(self, segment: Segment) -> str:
        return display_time(segment.end)

    @admin.display(description="text", ordering="text")
    def short_text(self, segment: Segment) -> str:
        return Truncator(segment.text).chars(120)

    @admin.display
    def review(self, segment: Segment) -> str:
        url = f"{review_url(segment.job_id)}?t={segment.start:.2f}"
        return link(url, segment.job.recording.name)

    @admin.display
    def edits(self, segment: Segment) -> str:
        return link(list_url(Edit, f"changes__segment_pk={segment.pk}"), "edits of this segment")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show and save the form. A conflict with another user's edit saves nothing and is shown as an error."""
        try:
            return super().change_view(request, object_id, form_url, extra_context)
        except ConflictError as error:
            problem = str(error)
        except Segment.DoesNotExist:
            problem = SEGMENT_GONE
        self.message_user(request, problem, messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        """Save as an edit in the history. Raises ConflictError, Segment.DoesNotExist."""
        if form.changed_data:
            services.change(
                segment_id=obj.pk,
                values={name: form.cleaned_data[name] for name in form.changed_data},
                was=form.seen(),
                done_by=request.user.get_username(),
            )
            hooks.report(request, hooks.EDIT, Job(pk=obj.job_id))


class SegmentEditInline(ReadOnlyInline):
    model = SegmentEdit
    verbose_name_plural = "segments"
    show_change_link = False
    fields = ("segment", "before_change", "after_change")
    readonly_fields = fields

    @admin.display
    def segment(self, change: SegmentEdit) -> int:
        return change.segment_pk

    @admin.display(description="before")
    def before_change(self, change: SegmentEdit) -> str:
        return _describe(change.before)

    @admin.display(description="after")
    def after_change(self, change: SegmentEdit) -> str:
        return _describe(change.after)


@admin.register(Edit)
class EditAdmin(JobRowAdmin):
    list_display = (
        "short_summary",
        "kind",
        "recording_name",
        "done_by",
        "created_at",
        "undone_by",
        "undone_at",
    )
    list_filter = ("kind", ("undone_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("job__id", "job__recording__name", "summary", "done_by")
    date_hierarchy = "created_at"
    inlines = (SegmentEditInline,)
    actions = ("undo",)
    fields = (
        "job",
        "review",
        "kind",
        "summary",
        "done_by",
        "created_at",
        "undone_by",
        "undone_at",
    )
    readonly_fields = ("review",)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the filter by segment too, which a segment's page links to."""
        return lookup == "changes__segment_pk" or bool(
            super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]
        )

    @admin.display(description="edit", ordering="summary")
    def short_summary(self, edit: Edit) -> str:
        return Truncator(edit.summary).chars(120)

    @admin.display
    def review(self, edit: Edit) -> str:
        return link(review_url(edit.job_id), edit.job.recording.name)

    @admin.action(description="Undo", permissions=["change"])
    def undo(self, request: HttpRequest, queryset: "QuerySet[Edit]") -> None:
        """Undo the edits newest first, because later edits build on earlier ones."""
        n_done, skipped = 0, Counter[str]()
        for edit in queryset.order_by("-pk").only("job_id"):
            try:
                services.undo(
                    job_id=edit.job_id, edit_id=edit.pk, done_by=request.user.get_username()
                )
            except ConflictError as error:
                skipped[str(error)] += 1
            except (Edit.DoesNotExist, Job.DoesNotExist):
                skipped["It no longer exists: the job was deleted or rerun."] += 1
            else:
                n_done += 1
                hooks.report(request, hooks.EDIT, Job(pk=edit.job_id))
        if n_done:
            self.message_user(request, f"{self.counted(n_done)} undone.", messages.SUCCESS)
        for text in skipped_messages(skipped, "edit"):
            self.message_user(request, text, messages.WARNING)


def _describe(fields: dict[str, Any] | None) -> str:
    """The speaker and text of one side of a change, those that it contains."""
    if fields is None:
        return "(no segment)"
    text, speaker = fields.get("text"), fields.get("speaker")
    parts = [speaker or "no speaker"] if "speaker" in fields else []
    if text is not None:
        parts.append(f"“{Truncator(text).chars(200)}”")
    return " — ".join(parts)
