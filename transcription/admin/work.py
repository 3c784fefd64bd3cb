"""Stages, chunks, workers and diarizations in the admin."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from transcription.admin.base import JobRowAdmin, ReadOnlyAdmin, ValuesFilter
from transcription.models import Chunk, Diarization, Stage, Worker
from transcription.transcript.segments import display_time


class LeasedAdmin(JobRowAdmin):
    ordering = ("-pk",)
    search_fields = ("job__id", "job__recording__name", "error")

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
        # One job's chunks in order of time; those of all jobs newest first, which needs no sorting.
        return ("index",) if "job__id__exact" in request.GET else ("-pk",)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Workers that sent a heartbeat within the last hour; older rows are deleted."""

    list_display = ("machine", "role", "model_name", "device", "seen_at", "started_at")
    list_filter = ("role", ("machine", ValuesFilter))
    ordering = ("-seen_at",)
    search_fields = ("name",)


@admin.register(Diarization)
class DiarizationAdmin(JobRowAdmin):
    """Speakers and how long each speaks. The large fields (turns, centroids) are not shown."""

    list_display = ("recording_name", "engine", "model", "device", "created_at")
    list_filter = (("engine", ValuesFilter), ("device", ValuesFilter), "created_at")
    ordering = ("-pk",)
    search_fields = ("job__id", "job__recording__name")
    fields = ("job", "engine", "model", "device", "created_at", "speaker_times")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).defer("turns", "exclusive", "centroids")

    @admin.display(description="speakers")
    def speaker_times(self, diarization: Diarization) -> str:
        names = diarization.names
        return ", ".join(
            f"{names.get(label, label)} {display_time(seconds)}"
            for label, seconds in diarization.seconds_by_speaker().items()
        )
