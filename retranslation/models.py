"""Retranslations: ranges that are transcribed again, their results, the proposed changes, and decisions."""

import uuid

from django.conf import settings
from django.db import models

from transcription import access
from transcription.models import Job, Leased


class Batch(models.Model):
    """Retranslations of all suspects of a job, made in the background."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="retranslation_batches")
    model_name = models.CharField(max_length=50)
    asked_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The person who asked for it; empty while there are no accounts.",
    )

    scope = access.OF_JOB
    objects = access.ScopedManager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return f"suspects of {self.job_id} with {self.model_name}"


class Retranslation(Leased):
    """A range of a recording, or a clip, that is transcribed again. Times are seconds from the recording's start."""

    class Decision(models.TextChoices):
        NONE = "none"
        ACCEPTED = "accepted"
        REJECTED = "rejected"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(
        Job,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="retranslations",
        db_index=False,  # an index below begins with it
    )
    batch = models.ForeignKey(
        Batch, on_delete=models.CASCADE, null=True, blank=True, related_name="retranslations"
    )
    segment_id = models.CharField(max_length=100, help_text="As it was asked for.")
    start = models.FloatField()
    end = models.FloatField()
    channel = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="If channels are speakers, the one of the segment; else all.",
    )
    clip = models.FileField(
        max_length=255, blank=True, help_text="What was sent to be transcribed; gone once it is."
    )
    reasons = models.JSONField(default=list, blank=True, help_text="Why it was suspect, as codes.")
    model_name = models.CharField(max_length=50)
    requested_language = models.CharField(max_length=5, blank=True)
    asked_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    old_text = models.TextField(blank=True)
    text = models.TextField(blank=True)
    words = models.JSONField(
        default=list,
        help_text="Objects with start, end, text and probability, and the channel if channels are speakers.",
    )
    confidence = models.FloatField(null=True, blank=True, help_text="Mean probability of a word.")
    speaker = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001  # the API says null
    language = models.CharField(max_length=5, blank=True, help_text="Given or detected.")
    model_used = models.CharField(max_length=100, blank=True)
    device = models.CharField(max_length=10, blank=True)

    decision = models.CharField(max_length=8, choices=Decision.choices, default=Decision.NONE)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveIntegerField(
        default=0, help_text="The job's, which accepting it made."
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The person who asked for it; empty while there are no accounts.",
    )

    scope = access.Scope("job", "jobs", has_owner=True)
    objects = access.ScopedManager()

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("state", "lease_until")),
            models.Index(fields=("job", "-created_at")),
            models.Index(fields=("-created_at",)),
            models.Index(fields=("job", "finished_at")),
        )

    def __str__(self) -> str:
        return (
            f"{self.start:.2f}–{self.end:.2f} of {self.job_id or 'a clip'} with {self.model_name}"
        )


class SegmentChange(models.Model):
    """The change that a retranslation proposes, or made, to one segment.

    `before` and `after` hold the segment's fields; None if it is added or deleted.
    """

    retranslation = models.ForeignKey(
        Retranslation, on_delete=models.CASCADE, related_name="changes"
    )
    segment_pk = models.BigIntegerField(
        null=True, db_index=True, help_text="None until a segment that it adds is there."
    )
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    scope = access.Scope("retranslation", "jobs__retranslations")
    objects = access.ScopedManager()

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"segment {self.segment_pk} by {self.retranslation_id}"
