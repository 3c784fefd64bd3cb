"""A server that several people share: Alice has one of everything, and each of her texts carries a random word."""

import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.contrib.auth.models import User

from accounts import tokens
from accounts.models import ApiToken
from retranslation import services as retranslations
from retranslation.models import Retranslation
from tests.retranslation.builders import accept, make_proposal, make_recorded_job
from tests.summaries.builders import make_summary
from tests.transcription.builders import add_segment, make_ended_job
from transcription import access
from transcription.access import Scope
from transcription.editing import services as editing
from transcription.models import Chunk, Diarization, Job, Leased, Share, Stage
from transcription.sharing.links import create_link
from transcription.transcript.suspects import Suspect


@dataclass
class World:
    """What Alice has, by the names under which requests mention it."""

    canary: str = field(default_factory=lambda: f"zq{secrets.token_hex(6)}")
    people: dict[str, User] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    other_job: Job | None = None
    """A job of Alice's without the word."""

    def absent(self) -> dict[str, str]:
        """Ids of the same kinds that nothing has."""
        return {
            name: str(10**9 + n) if value.isdigit() else str(uuid4())
            for n, (name, value) in enumerate(self.ids.items())
        }


def make_world() -> World:
    world = World()
    for name in ("alice", "bob", "carol", "dave", "erin"):
        world.people[name] = User.objects.create_user(name, password="correct horse battery")
    User.objects.filter(username="carol").update(is_staff=True, is_superuser=True)
    with access.acting_as(access.SERVICE):
        _make_jobs(world)
        for model in scoped_models():
            if any(one.name == "owner" for one in model._meta.fields):
                model._base_manager.filter(owner=None).update(owner=world.people["alice"])
    return world


def _make_jobs(world: World) -> None:
    word = world.canary
    job = make_recorded_job(
        segments=[
            (0.3, 2.5, f"And so {word} my fellow", f"One {word}"),
            (3.3, 5.0, f"Ask what {word}.", f"Two {word}"),
            (5.2, 7.6, f"Ask {word} not what.", f"Two {word}"),
            (8.2, 10.6, f"Country {word} is yours.", f"One {word}"),
        ]
    )
    type(job.recording).objects.filter(pk=job.recording_id).update(name=f"{word}.flac")
    Job.objects.filter(pk=job.pk).update(message=f"Completed {word}")
    exclusive = [[0.3, 2.5, f"One {word}", 0], [3.3, 7.6, f"Two {word}", 1]]
    Diarization.objects.create(
        job=job, engine="e", model="m", device="cpu", turns=[], exclusive=exclusive, centroids={}
    )
    first, second, third, fourth = job.segments.order_by("start")
    text = f"And then {word} fellow"
    edited = editing.change(
        segment_id=first.pk, values={"text": text}, was={"text": first.text}, done_by=f"al {word}"
    )
    assert edited.edit is not None
    pending = make_proposal(job, 8.2, 10.6, f"Your country {word}", segment_id=fourth.pk)
    accepted = make_proposal(job, 5.2, 7.6, f"Ask not {word} why", segment_id=third.pk)
    accept(accepted)
    suspect = Suspect(segment=second, start=3.3, end=5.0, reasons=("low_confidence",), channel=None)
    batch = retranslations.request_suspects(
        job=job, suspects=[suspect], model_name="base", asked_by=f"al {word}"
    )
    clip = Retranslation.objects.create(
        segment_id="clip", start=0.0, end=1.0, model_name="base", state=Leased.State.DONE, text=word
    )
    done = {"state": Leased.State.DONE, "summary": f"All about {word}", "topics": [word]}
    summary = make_summary(transcription=job, message=word, **done)
    own_summary = make_summary(message=word, **done)
    failed = make_ended_job(f"It broke {word}", name=f"{word}.mp3", status=Job.Status.FAILED)
    Job.objects.filter(pk=failed.pk).update(message=f"Chunk {word} failed")
    Stage.objects.create(job=failed, kind=Stage.Kind.PREPARE, state=Leased.State.DONE)
    Chunk.objects.filter(job=failed).update(state=Leased.State.FAILED, error=f"Error {word}")
    active = make_ended_job(f"Just now {word}", name=f"{word}.wav", status=Job.Status.QUEUED)
    Stage.objects.create(job=active, kind=Stage.Kind.PREPARE, state=Leased.State.TODO)
    world.other_job = make_ended_job("Nothing secret", name="plain.wav")
    share = Share.objects.create(
        recording=job.recording, user=world.people["dave"], role=Share.Role.READER
    )
    link, _token = create_link(recording=job.recording, note=f"For {word}")
    loose = add_segment(Chunk.objects.get(job=failed), f"Loose {word}", 100.0)
    token, _ = tokens.create_token(
        request=None, person=world.people["alice"], name=word, scope="write", days=None
    )
    world.ids = {
        "token": str(token.public_id),
        "job": str(job.pk),
        "failed": str(failed.pk),
        "active": str(active.pk),
        "segment": str(first.pk),
        "second": str(second.pk),
        "loose": str(loose.pk),
        "edit": str(edited.edit.pk),
        "pending": str(pending.pk),
        "accepted": str(accepted.pk),
        "batch": str(batch.pk),
        "clip": str(clip.pk),
        "summary": str(summary.pk),
        "own_summary": str(own_summary.pk),
        "share": str(share.pk),
        "link": str(link.pk),
    }


def scoped_models() -> list[Any]:
    """The models whose rows belong to somebody."""
    return [
        model for model in apps.get_models() if isinstance(getattr(model, "scope", None), Scope)
    ]


def everything() -> dict[str, list[dict[str, Any]]]:
    """All rows of all models whose rows are somebody's, to be compared."""
    return {
        model.__name__: list(model._base_manager.order_by("pk").values())
        for model in (*scoped_models(), ApiToken)
    }
