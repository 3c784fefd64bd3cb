"""People's API tokens, links to join or to set a new password, and what they are told at the next sign-in."""

import uuid

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
