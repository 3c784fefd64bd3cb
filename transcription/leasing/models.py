"""The rows that leasing reads and writes: units of work (abstract), worker processes, and whose turn it is."""

from django.conf import settings
from django.db import models


class Leased(models.Model):
    """A unit of work that one worker holds at a time, for as long as it renews its lease."""

    class State(models.TextChoices):
        TODO = "todo"
        DOING = "doing"
        DONE = "done"
        FAILED = "failed"

    state = models.CharField(max_length=6, choices=State.choices, default=State.TODO)
    attempts = models.PositiveIntegerField(default=0, help_text="How often it was begun.")
    failures = models.PositiveIntegerField(default=0, help_text="How often it ended in an error.")
    worker = models.CharField(max_length=150, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    progress = models.PositiveSmallIntegerField(default=0, help_text="Per cent.")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Worker(models.Model):
    """A worker process, as its last heartbeat reported it."""

    name = models.CharField(
        max_length=150, primary_key=True, help_text="Machine, process, and when that began."
    )
    machine = models.CharField(max_length=100)
    role = models.CharField(max_length=20, help_text="The queue that it works for.")
    model_name = models.CharField(max_length=50, blank=True, help_text="The model it has loaded.")
    device = models.CharField(max_length=10, blank=True)
    weights = models.JSONField(default=list, help_text="Names of the models whose weights it has.")
    secret_id = models.CharField(max_length=16, help_text="The same where the secret key is.")
    files_id = models.CharField(max_length=32, help_text="The same where the files folder is.")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("role", "name")

    def __str__(self) -> str:
        return f"{self.role} worker on {self.machine}"


class Served(models.Model):
    """When workers last took up work of one kind that belongs to a person: people take turns."""

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    work = models.CharField(max_length=20, help_text="Its kind: see fairness.py.")
    at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "served"
        constraints = (
            models.UniqueConstraint(fields=("person", "work"), name="one_row_per_person_and_work"),
        )

    def __str__(self) -> str:
        return f"{self.work} for {self.person_id}"
