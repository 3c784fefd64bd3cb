"""Workers are shared fairly by person, however many jobs one of them has."""

import pytest
from django.contrib.auth.models import User

from retranslation import services as retranslations
from retranslation.models import Retranslation
from summaries import services as summaries
from summaries.models import Summary
from tests.accounts.people import acting, make_person
from tests.rows import reload
from tests.transcription.builders import claim_diarization, make_ended_job, make_job
from tests.transcription.jobs.builders import claim_chunk, make_prepared_job
from transcription.jobs import lifecycle, prepare, status
from transcription.live.looks import look_at
from transcription.models import Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both]

N_MANY = 20


@pytest.fixture
def busy() -> User:
    return make_person("busy")


@pytest.fixture
def modest() -> User:
    return make_person("modest")


def jobs_of(person: User, n: int, *, n_chunks: int = 2) -> list[Job]:
    with acting(person):
        return [make_prepared_job(n_chunks=n_chunks) for _ in range(n)]


def message(job: Job) -> str:
    return str(status.status_document(reload(job))["message"])


def test_chunks_alternate_by_person(busy: User, modest: User) -> None:
    jobs_of(busy, N_MANY)
    [one] = jobs_of(modest, 1, n_chunks=4)
    taken = [claim_chunk().job.owner_id for _ in range(8)]
    assert taken == [busy.pk, modest.pk] * 4
    assert "done" not in {chunk.state for chunk in one.chunks.all()}
    assert {claim_chunk().job.owner_id for _ in range(4)} == {busy.pk}, "nobody else is left"


def test_the_jobs_of_one_person_take_turns_among_each_other(busy: User, modest: User) -> None:
    many = jobs_of(busy, 3)
    jobs_of(modest, 1, n_chunks=6)
    taken = [claim_chunk().job_id for _ in range(12)]
    assert taken[::2] == [job.pk for job in many] * 2


def test_a_person_who_comes_later_is_served_at_once(busy: User, modest: User) -> None:
    jobs_of(busy, 3)
    assert [claim_chunk().job.owner_id for _ in range(3)] == [busy.pk] * 3
    [one] = jobs_of(modest, 1)
    assert claim_chunk().job_id == one.pk


def test_who_had_nothing_to_do_for_long_has_saved_up_no_turns(busy: User, modest: User) -> None:
    jobs_of(modest, 1, n_chunks=1)
    assert claim_chunk().job.owner_id == modest.pk
    jobs_of(busy, 5)
    assert [claim_chunk().job.owner_id for _ in range(4)] == [busy.pk] * 4
    jobs_of(modest, 1, n_chunks=3)
    taken = [claim_chunk().job.owner_id for _ in range(4)]
    assert taken == [modest.pk, busy.pk, modest.pk, busy.pk]


def test_without_owners_jobs_take_turns_as_ever() -> None:
    jobs = [make_prepared_job(n_chunks=2) for _ in range(3)]
    assert [claim_chunk().job_id for _ in range(6)] == [job.pk for job in jobs] * 2


def test_uploads_are_read_in_turn_by_person(busy: User, modest: User) -> None:
    many = jobs_of(busy, 3, n_chunks=0)
    [one] = jobs_of(modest, 1, n_chunks=0)
    stages = [prepare.claim_preparation() for _ in range(4)]
    assert [stage and stage.job_id for stage in stages] == [
        many[0].pk,
        one.pk,
        many[1].pk,
        many[2].pk,
    ]


def test_speakers_are_found_in_turn_by_person(busy: User, modest: User) -> None:
    with acting(busy):
        many = [make_job("a") for _ in range(3)]
    with acting(modest):
        one = make_job("a")
    taken = [claim_diarization().job_id for _ in range(4)]
    assert taken == [many[0].pk, one.pk, many[1].pk, many[2].pk]


def test_summaries_are_made_in_turn_by_person(busy: User, modest: User) -> None:
    many = [Summary.objects.create(owner=busy) for _ in range(3)]
    one = Summary.objects.create(owner=modest)
    taken = [summaries.claim() for _ in range(4)]
    assert taken == [many[0], one, many[1], many[2]]


def test_retranslations_are_made_in_turn_by_person(busy: User, modest: User) -> None:
    job = make_ended_job("a")
    times = {"job": job, "start": 0, "end": 1, "model_name": "tiny.en"}
    many = [Retranslation.objects.create(**times, owner=busy) for _ in range(2)]
    one = Retranslation.objects.create(**times, owner=modest)
    taken = []
    for _ in range(3):
        row = retranslations.claim(retranslations.claimable_requests())
        assert row is not None
        taken.append(row)
        Retranslation.objects.filter(pk=row.pk).update(state=Retranslation.State.DONE)
    assert taken == [many[0], one, many[1]]


# ---- The place in the queue


def test_the_first_jobs_of_all_people_come_before_their_second_ones(
    busy: User, modest: User
) -> None:
    many = jobs_of(busy, N_MANY, n_chunks=1)
    first, second = jobs_of(modest, 2, n_chunks=1)
    places = {many[0]: 1, first: 2, many[1]: 3, second: 4, many[2]: 5, many[-1]: 22}
    looks = look_at([job.pk for job in places])
    for job, place in places.items():
        assert message(job) == f"Waiting for a worker (number {place} of 22 in the queue)"
        assert (looks[job.pk].place, looks[job.pk].queue_length) == (place, 22)
    told = status.status_messages([reload(job) for job in places])
    assert [told[job.pk] for job in places] == [message(job) for job in places]


def test_the_place_is_the_order_in_which_first_chunks_are_taken(busy: User, modest: User) -> None:
    waiting = [*jobs_of(busy, 4, n_chunks=1), *jobs_of(modest, 2, n_chunks=1)]
    looks = look_at([job.pk for job in waiting])
    in_order = sorted(waiting, key=lambda job: looks[job.pk].place or 0)
    assert [claim_chunk().job_id for _ in waiting] == [job.pk for job in in_order]


def test_a_cancelled_job_lets_the_same_persons_others_move_up(busy: User, modest: User) -> None:
    first, second = jobs_of(busy, 2, n_chunks=1)
    jobs_of(modest, 1, n_chunks=1)
    assert "number 3 of 3" in message(second)
    lifecycle.cancel_job(job_id=first.pk)
    assert "number 1 of 2" in message(second)
