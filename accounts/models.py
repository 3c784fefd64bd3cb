"""People's API tokens and one-time links, what they are told, what they may use and have used, and what they did."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from django.utils import timezone
from knox.models import AbstractAuthToken


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox is untyped
    """A token with which a program acts as a person. It is shown once, and stored hashed."""

    class Scope(models.TextChoices):
        READ = "read", "may read"
        WRITE = "write", "may read and change"

    name = models.CharField(max_length=100, help_text="What uses it.")
    scope = models.CharField(max_length=5, choices=Scope.choices, default=Scope.READ)
    last_used_at = models.DateTimeField(null=True, blank=True)
    public_id = models.UUIDField(
        default=uuid.uuid4, unique=True, editable=False, help_text="Names it in addresses."
    )

    class Meta:
        ordering = ("created",)

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key}…)"

    @property
    def has_expired(self) -> bool:
        return self.expiry is not None and self.expiry <= timezone.now()


class OneTimeLink(models.Model):
    """A link that can be used once: to join, or to set a new password. Its token is stored hashed."""

    class Purpose(models.TextChoices):
        FIRST_PERSON = "first", "make the first administrator"
        INVITATION = "invitation", "join"
        RESET = "reset", "set a new password"

    token_hash = models.CharField(max_length=64, unique=True, help_text="SHA-256, hexadecimal.")
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="reset_links",
        help_text="Whose password is reset.",
    )
    makes_administrator = models.BooleanField(default=False)
    groups = models.ManyToManyField(Group, blank=True, related_name="+")
    note = models.CharField(max_length=100, blank=True, help_text="For whom it is.")
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(purpose="reset", person__isnull=False)
                | (~Q(purpose="reset") & Q(person__isnull=True)),
                name="reset_links_have_a_person",
            ),
        )

    def __str__(self) -> str:
        return f"link to {self.get_purpose_display()}"


class Notice(models.Model):
    """What a person is told at their next sign-in."""

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notices"
    )
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    shown_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.text


class Limits(models.Model):
    """One person's limits. An empty one is that of the settings; 0 is none."""

    person = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="limits"
    )
    audio_minutes = models.PositiveIntegerField(
        "minutes of audio a day",
        null=True,
        blank=True,
        help_text="Empty: TRANSCRIBER_LIMIT_AUDIO_MINUTES. 0: no limit.",
    )
    stored_gb = models.PositiveIntegerField(
        "GB stored",
        null=True,
        blank=True,
        help_text="Empty: TRANSCRIBER_LIMIT_STORED_GB. 0: no limit.",
    )
    jobs = models.PositiveIntegerField(
        "jobs at once",
        null=True,
        blank=True,
        help_text="Empty: TRANSCRIBER_LIMIT_JOBS. 0: no limit.",
    )
    llm_requests = models.PositiveIntegerField(
        "language-model requests a day",
        null=True,
        blank=True,
        help_text="Empty: TRANSCRIBER_LIMIT_LLM_REQUESTS. 0: no limit.",
    )

    class Meta:
        verbose_name_plural = "limits"

    def __str__(self) -> str:
        return f"limits of {self.person}"


class Use(models.Model):
    """Something that a person used and that is limited by the day. Deleting a recording gives nothing back."""

    class Kind(models.TextChoices):
        AUDIO = "audio", "seconds of audio"
        LANGUAGE_MODEL = "llm", "requests to a language model"

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    kind = models.CharField(max_length=5, choices=Kind.choices)
    amount = models.FloatField()
    job_id = models.UUIDField(null=True, db_index=True, help_text="Of audio; it may be deleted.")
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        indexes = (models.Index(fields=("person", "kind", "at")),)

    def __str__(self) -> str:
        return f"{self.amount:g} {self.get_kind_display()} by {self.person_id}"


class AppendOnlyError(TypeError):
    """An entry of the audit log was to be changed or deleted."""


class AuditEntries(models.QuerySet["AuditEntry"]):
    """Entries can be added, and expire; nothing else."""

    def update(self, **_: Any) -> int:
        raise AppendOnlyError("Entries of the audit log cannot be changed.")

    def bulk_update(self, *_: Any, **__: Any) -> int:
        raise AppendOnlyError("Entries of the audit log cannot be changed.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("Entries of the audit log cannot be deleted: they expire.")

    def expire(self) -> int:
        """Delete them. For `audit.expire` alone."""
        return super().delete()[0]


class AuditEntry(models.Model):
    """Who did what to which object, from where, when. Whoever reads the log learns no content from it.

    It is append only for this program. There are no triggers that say so to the database: who can reach the database
    past this program can drop them as well.
    """

    at = models.DateTimeField(auto_now_add=True)
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,  # an entry outlives the person, and is not changed
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    name = models.CharField(max_length=150, blank=True, help_text="The person's, at that time.")
    token = models.CharField(
        max_length=100, blank=True, help_text="The beginning of the API token that was sent."
    )
    address = models.CharField(max_length=45, blank=True, help_text="The client's.")
    action = models.CharField(max_length=50)
    kind = models.CharField(max_length=50, blank=True, help_text="Of the object.")
    object_id = models.CharField(max_length=100, blank=True)
    detail = models.CharField(max_length=200, blank=True)

    objects = AuditEntries.as_manager()

    class Meta:
        ordering = ("-pk",)
        verbose_name = "entry of the audit log"
        verbose_name_plural = "audit log"
        indexes = (
            models.Index(fields=("at",)),
            models.Index(fields=("object_id", "action", "at")),
            models.Index(fields=("person", "at")),
        )

    def __str__(self) -> str:
        return f"{self.name or 'somebody'}: {self.action} {self.kind} {self.object_id}".rstrip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError("Entries of the audit log cannot be changed.")
        super().save(*args, **{**kwargs, "force_insert": True})  # else an id would make it a change

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("Entries of the audit log cannot be deleted: they expire.")
