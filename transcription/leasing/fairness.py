"""Workers are shared fairly by person: of each kind of work, who was served longest ago comes first.

Work without an owner, as all is while accounts are off, has no turn of a person: its own order decides.
"""

from typing import Any

from django.db.models import Case, F, OuterRef, Subquery, When
from django.db.models.expressions import OrderBy
from django.db.models.functions import Now

from transcription.leasing.models import Served

CHUNK, PREPARATION, DIARIZATION = "chunk", "preparation", "diarization"
RETRANSLATION, SUMMARY = "retranslation", "summary"


def person_in_turn(work: str, *, owner: str, without_owner: str | None = None) -> OrderBy:
    """The first key to order work by. `owner` is the path to its owner.

    `without_owner` is the path to a time that stands in for the person's where there is no owner.
    """
    served: Case | Subquery[Any] = Subquery(
        Served.objects.filter(person=OuterRef(owner), work=work).values("at")
    )
    if without_owner is not None:
        served = Case(When(**{owner: None}, then=F(without_owner)), default=served)
    return OrderBy(served, nulls_first=True)


def note_served(work: str, *, person_id: int | None) -> None:
    """Save that a worker took up work of this person, who now comes last."""
    if person_id is None:
        return
    if not Served.objects.filter(person=person_id, work=work).update(at=Now()):
        # Another worker may have been first: then the row has the present time already.
        row = Served(person_id=person_id, work=work, at=Now())
        Served.objects.bulk_create([row], ignore_conflicts=True)
