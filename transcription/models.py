"""Recordings, their jobs with stages and chunks, and the transcripts. The rows are the source of truth."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models

from transcription import access
from transcription.leasing.models import Leased, Served, Worker
from transcription.sharing.models import Share, ShareLink
from transcription.speech.diarization.base import Turn

__all__ = (
    "Chunk",
    "Diarization",
    "Edit",
    "Job",
    "Leased",
    "Recording",
    "Segment",
    "SegmentEdit",
    "Served",
    "Share",
    "ShareLink",
    "Stage",
    "Worker",
    "speaker_of_channel",
)


class Recording(models.Model):
    """An uploaded file. Its samples (16 kHz mono) are stored beside it, in pieces of a minute."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255, help_text="The file's name as it was uploaded.")
    file = models.FileField(max_length=255)
    size = models.BigIntegerField(help_text="Bytes of the uploaded file.")
    container = models.CharField(max_length=100, blank=True)
    codec = models.CharField(max_length=50, blank=True)
    declared_duration = models.FloatField(
        null=True, blank=True, help_text="Seconds, as the container says; it may be wrong."
    )
    duration = models.FloatField(
        null=True, blank=True, help_text="Seconds, as decoded; empty until all is decoded."
    )
    has_separate_voices = models.BooleanField(
        default=False,
        help_text="Its channels or tracks hold a speaker each, as far as can be told.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The person who uploaded it; empty while there are no accounts.",
    )

    scope = access.ITSELF
    objects = access.ScopedManager()

    class Meta:
        ordering = ("-created_at",)
        indexes = (models.Index(fields=("-created_at", "-id")),)

    def __str__(self) -> str:
        return self.name

    @property
    def known_duration(self) -> float | None:
        """Seconds: as decoded, else as declared; None while neither is known."""
        return self.declared_duration if self.duration is None else self.duration


class Job(models.Model):
    """One transcription of a recording, with its options."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    ACTIVE = (Status.QUEUED, Status.RUNNING)

    class Channels(models.TextChoices):
        AUTO = "auto", "mixed; if they hold a speaker each, the message says so"
        MIX = "mix", "mixed"
        SPEAKERS = "speakers", "a speaker each"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    recording = models.ForeignKey(Recording, on_delete=models.CASCADE, related_name="jobs")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    message = models.TextField(blank=True)
    progress = models.PositiveSmallIntegerField(default=0, help_text="Per cent.")
    model_name = models.CharField(max_length=50)
    requested_language = models.CharField(max_length=5, blank=True, help_text="Empty: detect it.")
    language = models.CharField(max_length=5, blank=True, help_text="Given or detected.")
    channels = models.CharField(
        max_length=8,
        choices=Channels.choices,
        default=Channels.AUTO,
        help_text="What the recording's channels, or its tracks if it has several, are taken for.",
    )
    diarize = models.BooleanField(default=True)
    num_speakers = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="How many people speak, if somebody said so."
    )
    min_speakers = models.PositiveSmallIntegerField(null=True, blank=True)
    max_speakers = models.PositiveSmallIntegerField(null=True, blank=True)
    engine = models.CharField(max_length=30, blank=True, help_text="What ran.")
    device = models.CharField(max_length=10, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    paused = models.DurationField(
        default=timedelta, help_text="From an end to being taken up again: no time of work."
    )
    run = models.PositiveIntegerField(default=1, help_text="Counts up when all is done again.")
    revision = models.PositiveIntegerField(
        default=0, help_text="Counts changes of segments that listeners may have."
    )
    removed_segments = models.JSONField(
        default=list, blank=True, help_text="Ids of segments that a revision took away."
    )
    served_at = models.DateTimeField(
        null=True, blank=True, help_text="When a chunk was last taken: jobs take turns."
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The person who started it; empty while there are no accounts.",
    )

    scope = access.OF_RECORDING
    objects = access.ScopedManager()

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("-created_at", "-id")),
            models.Index(fields=("status", "-created_at")),
            models.Index(fields=("finished_at",)),
        )

    def __str__(self) -> str:
        return f"{self.recording_id} with {self.model_name}"


class Stage(Leased):
    """A part of a job that is not split into chunks."""

    class Kind(models.TextChoices):
        PREPARE = "prepare"
        DIARIZE = "diarize"

    # Here and below without an index of its own, where a constraint or another index begins with the job.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="stages", db_index=False)
    kind = models.CharField(max_length=10, choices=Kind.choices)

    scope = access.OF_JOB
    objects = access.ScopedManager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("job", "kind"), name="one_stage_of_a_kind_per_job"),
        )
        indexes = (models.Index(fields=("state", "lease_until")),)

    def __str__(self) -> str:
        return f"{self.kind} of {self.job_id}"


class Chunk(Leased):
    """The unit of work: a few streams of a recording, which are claimed, transcribed and committed together."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    index = models.PositiveIntegerField()
    start = models.FloatField(help_text="Seconds from the start of the recording.")
    end = models.FloatField()
    streams = models.JSONField(help_text="[start, end] of each stretch that is decoded by itself.")
    speech = models.JSONField(help_text="[start, end] of each span of speech.")
    channel = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="The speaker's, if channels are speakers; from 0."
    )

    scope = access.OF_JOB
    objects = access.ScopedManager()

    class Meta:
        ordering = ("job", "index")
        constraints = (
            models.UniqueConstraint(fields=("job", "index"), name="one_chunk_per_index"),
        )
        indexes = (models.Index(fields=("state", "lease_until")),)

    def __str__(self) -> str:
        return f"chunk {self.index} of {self.job_id}"

    @property
    def channel_speaker(self) -> str | None:
        """The label of the speaker whose channel it is; None if the channels are mixed."""
        return None if self.channel is None else speaker_of_channel(self.channel)

    def find_speaker(self) -> str | None:
        """What the speaker of its channel is called by now; None if the channels are mixed."""
        label = self.channel_speaker
        if label is None:
            return None
        names = Diarization.objects.filter(job=self.job_id).values_list("names", flat=True).first()
        return str((names or {}).get(label, label))


def speaker_of_channel(channel: int) -> str:
    return f"SPEAKER_{channel + 1}"


class Segment(models.Model):
    """A phrase or sentence of a transcript. Times are seconds from the start of the recording."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="segments", db_index=False)
    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE, related_name="segments")
    start = models.FloatField()
    end = models.FloatField()
    text = models.TextField()
    speaker = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001  # the API says null
    speaker_confidence = models.FloatField(null=True, blank=True)
    words = models.JSONField(
        default=list, help_text="Objects with start, end, text and probability."
    )
    avg_logprob = models.FloatField(null=True)
    no_speech_prob = models.FloatField(null=True)
    compression_ratio = models.FloatField(null=True)
    temperature = models.FloatField(null=True)
    phrase = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="Where speakers split a segment: its id, which the first part keeps.",
    )

    scope = access.OF_JOB
    objects = access.ScopedManager()

    class Meta:
        ordering = ("start", "id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(start__gte=0, end__gte=models.F("start")),
                name="segment_ends_after_it_starts",
            ),
        )
        indexes = (models.Index(fields=("job", "start", "id")),)

    def __str__(self) -> str:
        return f"{self.start:.2f}–{self.end:.2f} {self.text[:40]}"


class Diarization(models.Model):
    """The result of a job's last diarization, or what its channels tell: who speaks when. Times are seconds."""

    CHANNELS = "channels"
    """The engine where each channel is a speaker."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="diarization")
    engine = models.CharField(max_length=30)
    model = models.CharField(max_length=255)
    device = models.CharField(max_length=10)
    turns = models.JSONField(help_text="[start, end, speaker] of each turn; they may overlap.")
    exclusive = models.JSONField(
        help_text="[start, end, speaker, voice] of each turn, one speaker at a time unless by channels."
    )
    centroids = models.JSONField(help_text="The mean embedding of each speaker's voice.")
    names = models.JSONField(
        default=dict, blank=True, help_text="What people call the speakers, by their labels."
    )
    revision = models.PositiveIntegerField(
        default=0, help_text="The job's when speakers were attributed: edits up to it came before."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    scope = access.OF_JOB
    objects = access.ScopedManager()

    def __str__(self) -> str:
        return f"diarization of {self.job_id}"

    def seconds_by_speaker(self) -> dict[str, float]:
        """The speaking time of each speaker, in order of appearance."""
        seconds: dict[str, float] = {}
        for start, end, speaker, _voice in self.exclusive:
            seconds[speaker] = seconds.get(speaker, 0.0) + end - start
        return seconds

    def named_turns(self) -> list[Turn]:
        """The exclusive turns, ordered by start, with the speakers' present names."""
        return [
            Turn(start, end, self.names.get(speaker, speaker), voice)
            for start, end, speaker, voice in self.exclusive
        ]


class Edit(models.Model):
    """An edit that a person made; `changes` holds what it changed in each segment."""

    class Kind(models.TextChoices):
        TEXT = "text"
        SPEAKER = "speaker"
        SPLIT = "split"
        MERGE = "merge"
        REMOVE = "remove"
        RENAME = "rename"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="edits")
    kind = models.CharField(max_length=7, choices=Kind.choices)
    summary = models.CharField(max_length=255, help_text="What was done, in words.")
    names_before = models.JSONField(
        null=True, blank=True, help_text="Of a renaming: what the speakers were called."
    )
    names_after = models.JSONField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=0, help_text="The job's, which it made.")
    done_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    undone_by = models.CharField(max_length=150, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)

    scope = access.OF_JOB
    objects = access.ScopedManager()

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return self.summary


class SegmentEdit(models.Model):
    """An edit's change of one segment: the changed fields, or all fields if the segment was added or deleted."""

    edit = models.ForeignKey(Edit, on_delete=models.CASCADE, related_name="changes")
    segment_pk = models.BigIntegerField(db_index=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    scope = access.Scope("edit", "jobs__edits")
    objects = access.ScopedManager()

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"segment {self.segment_pk} by edit {self.edit_id}"
