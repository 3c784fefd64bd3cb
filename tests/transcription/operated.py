"""Jobs on rows alone as an operator meets them, and the operator's hand on the admin's pages."""

from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from transcription.models import Chunk, Diarization, Job, Leased, Recording, Segment, Stage


def make_job(name: str = "meeting.flac", status: Job.Status = Job.Status.COMPLETED) -> Job:
    recording = Recording(name=name, size=3, duration=100.0)
    folder = f"recordings/{recording.id}"
    recording.file.name = default_storage.save(f"{folder}/original.flac", ContentFile(b"abc"))
    default_storage.save(f"{folder}/samples-00000.s16", ContentFile(b"abcd"))
    recording.save()
    now = timezone.now()
    job = Job.objects.create(
        recording=recording,
        status=status,
        model_name="tiny.en",
        requested_language="en",
        language="en",
        engine="faster-whisper",
        message="All is said",
        progress=100,
        started_at=now - timedelta(seconds=25),
        finished_at=None if status in Job.ACTIVE else now,
    )
    Stage.objects.create(job=job, kind=Stage.Kind.PREPARE, state=Leased.State.DONE)
    Diarization.objects.create(
        job=job,
        engine="pyannote",
        model="by hand",
        device="cpu",
        turns=[[0, 61.5, "SPEAKER_1"]],
        exclusive=[[0, 61.5, "SPEAKER_1", None], [61.5, 62, "SPEAKER_2", 0.5]],
        centroids={"SPEAKER_1": [0.123456]},
    )
    return job


def add_chunk(
    job: Job, index: int, *, n_segments: int = 1, state: Leased.State = Leased.State.DONE
) -> Chunk:
    chunk = Chunk.objects.create(
        job=job,
        index=index,
        start=10.0 * index,
        end=10.0 * index + 10,
        streams=[],
        speech=[],
        state=state,
        attempts=2,
    )
    Segment.objects.bulk_create(
        Segment(job=job, chunk=chunk, start=i, end=i + 1, text=f"Part {i}", words=[])
        for i in range(n_segments)
    )
    return chunk


def changelist(model: str, query: str = "") -> str:
    return reverse(f"admin:transcription_{model}_changelist") + query


def page_of(row: Any) -> str:
    return reverse(f"admin:transcription_{row._meta.model_name}_change", args=[row.pk])


def act(client: Client, action: str, *rows: Any, **data: str) -> list[str]:
    """Run an action on rows of the list; returns the messages it left."""
    names = rows[0]._meta
    answer: Any = client.post(
        reverse(f"admin:{names.app_label}_{names.model_name}_changelist"),
        {"action": action, "_selected_action": [str(row.pk) for row in rows], **data},
        follow=True,
    )
    assert answer.redirect_chain, answer.content
    return [str(message) for message in answer.context["messages"]]


class Form(HTMLParser):
    """The fields of a page's forms with what a browser would send of them, hidden ones too."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._textarea = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name = found.get("name") or ""
        if tag == "input" and name and found.get("type") != "submit":
            self.values[name] = found.get("value") or ""
        elif tag == "textarea" and name:
            self._textarea, self.values[name] = name, ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            # What follows the tag is a line's end that is no part of the text.
            self.values[self._textarea] = self.values[self._textarea].removeprefix("\n")
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.values[self._textarea] += data


def submit(client: Client, row: Any, *, page: str | None = None, **values: str) -> list[str]:
    """Fill in a row's form, as it was loaded (now, unless `page` is given), and send it; returns the messages."""
    page = client.get(page_of(row)).content.decode() if page is None else page
    answer: Any = client.post(page_of(row), {**Form(page).values, **values}, follow=True)
    assert answer.redirect_chain, answer.context["errors"]
    return [str(message) for message in answer.context["messages"]]
