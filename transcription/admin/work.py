"""The parts of a job that workers hold, one at a time, the workers, and who was heard."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from transcription.admin.base import ReadOnlyAdmin, ValuesFilter
from transcription.models import Chunk, Diarization, Stage, Worker
from transcription.transcript.segments import display_time


class LeasedAdmin(ReadOnlyAdmin):
    ordering = ("-pk",)
    list_select_related = ("job__recording",)
    search_fields = ("job__id", "job__recording__name", "error")

    @admin.display(description="recording", ordering="job__recording__name")
    def recording_name(self, row: Stage | Chunk) -> str:
        return row.job.recording.name

    @admin.display(description="error", ordering="error")
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

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # One job's chunks as they follow each other; all jobs' the newest first.
        return ("index",) if "job__id__exact" in request.GET else ("-pk",)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Those that were there within the last hour."""

    list_display = ("machine", "role", "model_name", "device", "seen_at", "started_at")
    list_filter = ("role", ("machine", ValuesFilter))
    ordering = ("-seen_at",)
    search_fields = ("name",)


@admin.register(Diarization)
class DiarizationAdmin(ReadOnlyAdmin):
    """Who was heard, and for how long; turns and voices are for programs."""

    list_display = ("recording_name", "engine", "model", "device", "created_at")
    list_filter = (("engine", ValuesFilter), ("device", ValuesFilter), "created_at")
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
        called = diarization.names
        return ", ".join(
            f"{called.get(name, name)} {display_time(heard)}" for name, heard in seconds.items()
        )
