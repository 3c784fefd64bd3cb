"""Who else may see a recording: people and groups it is shared with, and links that show it to whoever has them."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from transcription import access


class Share(models.Model):
    """A recording that is shared with one person or one group."""

    class Role(models.TextChoices):
        READER = "reader", "may read it"
        EDITOR = "editor", "may read and change it"

    recording = models.ForeignKey(
        "transcription.Recording", on_delete=models.CASCADE, related_name="shares", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="shares",
    )
    group = models.ForeignKey(
        "auth.Group", on_delete=models.CASCADE, null=True, blank=True, related_name="shares"
    )
    role = models.CharField(max_length=6, choices=Role.choices, default=Role.READER)
    created_at = models.DateTimeField(auto_now_add=True)

    scope = access.Scope("recording", for_owner=True)
    objects = access.ScopedManager()

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(user=None, group__isnull=False) | Q(user__isnull=False, group=None),
                name="share_is_with_a_person_or_a_group",
            ),
            models.UniqueConstraint(fields=("recording", "user"), name="one_share_per_person"),
            models.UniqueConstraint(fields=("recording", "group"), name="one_share_per_group"),
        )

    def __str__(self) -> str:
        return f"{self.recording_id} for {self.user or self.group}, {self.role}"


class ShareLink(models.Model):
    """A link that shows one recording to whoever has it, until it expires or is revoked. Its token is stored hashed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    recording = models.ForeignKey(
        "transcription.Recording", on_delete=models.CASCADE, related_name="links"
    )
    token_hash = models.CharField(max_length=64, unique=True, help_text="SHA-256, hexadecimal.")
    note = models.CharField(max_length=100, blank=True, help_text="For whom or what it is.")
    allows_chat = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    scope = access.Scope("recording", for_owner=True)
    objects = access.ScopedManager()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"link to {self.recording_id}"
