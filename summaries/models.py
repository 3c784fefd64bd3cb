"""Summaries: their input, the work of making them, and their results."""

import uuid

from django.conf import settings
from django.db import models

from chat.llm.base import Style
from transcription import access
from transcription.models import Job, Leased


class Summary(Leased):
    """A summary of a job's transcript or of one that a client sent; made by one worker at a time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    transcription = models.ForeignKey(
        Job,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="summaries",
        db_index=False,  # an index below begins with it
    )
    transcript = models.JSONField(
        default=dict,
        help_text="What is summarized, as it was when it was asked for; empty once that is done.",
    )
    style = models.CharField(
        max_length=20,
        choices=[(style.value, style.value) for style in Style],
        default=Style.PARAGRAPH.value,
    )
    max_length = models.PositiveIntegerField(default=500, help_text="Words.")
    model_name = models.CharField(
        max_length=200, blank=True, help_text="As asked for; empty: the default."
    )
    model_used = models.CharField(max_length=255, blank=True, help_text="What ran.")
    message = models.TextField(blank=True)
    partials = models.JSONField(
        default=list,
        help_text="For each time that the whole was condensed: the sizes of its parts, and what came of those done.",
    )
    not_before = models.DateTimeField(
        null=True, blank=True, help_text="When it may be tried again after a failure."
    )
    summary = models.TextField(blank=True)
    topics = models.JSONField(default=list, blank=True)
    length = models.PositiveIntegerField(default=0, help_text="Words of the summary.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The person who asked for it; empty while there are no accounts.",
    )

    scope = access.Scope("transcription", "jobs", has_owner=True)
    objects = access.ScopedManager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name_plural = "summaries"
        indexes = (
            models.Index(fields=("state", "lease_until")),
            models.Index(fields=("-created_at",)),
            models.Index(fields=("transcription", "finished_at")),
        )

    def __str__(self) -> str:
        return f"{self.style} of {self.transcription_id or 'a transcript that was sent'}"
