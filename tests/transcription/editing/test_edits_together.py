"""Edits among each other, with speakers found anew, with retranslations, and before listeners."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from tests.retranslation.builders import accept, make_proposal
from tests.retranslation.builders import undo as undo_retranslation
from tests.rows import reload
from tests.transcription.builders import diarize_job, ids, make_job, rows, spoken, texts
from tests.transcription.editing.builders import (
    ONE,
    TWO,
    change_segment,
    completed_job,
    editing_state,
    merge_segments,
    remove_segment,
    rename_speaker,
    segment_with_text,
    split_segment,
    undo_edit,
)
from tests.transcription.live.listeners import hear, listening, result_of
from transcription.editing.changes import ConflictError
from transcription.editing.services import Edited
from transcription.live import feed
from transcription.models import Diarization, Edit, Job, Segment
from transcription.transcript.speaker_split import text_matches_words

pytestmark = [pytest.mark.django_db, pytest.mark.both]

NAMES = (ONE, TWO, "SPEAKER_3", "Ann", None)


# ---- Any edits in any order


def _talk(chance: random.Random, n_segments: int = 30) -> Job:
    """Every word is another, so that each can be found again; who speaks splits some segments."""
    n = 0
    said = []
    for _ in range(n_segments):
        n_words = chance.randint(1, 6)
        said.append(" ".join(f"w{n + index}" for index in range(n_words)))
        n += n_words
    job = make_job(*said)
    _diarize_at_random(job, chance)
    return job


def _diarize_at_random(job: Job, chance: random.Random) -> None:
    turns, start = [], 0.0
    while start < 200:
        end = start + chance.randint(1, 12)
        turns.append((start, end, chance.choice([ONE, TWO, "SPEAKER_3"])))
        start = end
    diarize_job(job, turns)


def _words(segments: Sequence[Segment]) -> list[str]:
    return [word["text"].strip() for segment in segments for word in segment.words]


def _edit_at_random(job: Job, chance: random.Random) -> Edited | None:
    segments = list(job.segments.all())
    index = chance.randrange(len(segments))
    segment = segments[index]
    match chance.choice(["text", "text", "speaker", "split", "split", "merge", "merge", "remove"]):
        case "text":
            written = segment.text.split()
            written.insert(chance.randint(0, len(written)), "new")
            del written[chance.randrange(len(written))]
            return change_segment(segment, text=" ".join(written))
        case "speaker" if chance.random() < 0.3 and segment.speaker is not None:
            return rename_speaker(job, segment.speaker, str(chance.choice(NAMES)))
        case "speaker":
            return change_segment(segment, speaker=chance.choice(NAMES))
        case "split":
            return split_segment(segment, chance.randint(0, 30)) if " " in segment.text else None
        case "merge" if index + 1 < len(segments):
            return merge_segments(segment, segments[index + 1])
        case "remove" if chance.random() < 0.3:
            return remove_segment(segment)
    return None


@pytest.mark.parametrize("seed", range(2))
def test_two_hundred_edits_undone_backwards_leave_no_trace(seed: int) -> None:
    chance = random.Random(seed)
    job = _talk(chance)
    before, names, _, removed = editing_state(job)
    edits: list[Edit] = []
    revision = reload(job).revision
    while len(edits) < 200:
        done = _edit_at_random(job, chance)
        if done is None or done.edit is None:
            continue
        edits.append(done.edit)
        assert reload(job).revision == done.revision == revision + len(edits)
        assert not set(ids(job)) & set(reload(job).removed_segments)
    assert rows(job) != before
    for edit in reversed(edits):
        undo_edit(job, edit)
    assert rows(job) == before
    assert list(Diarization.objects.filter(job=job).values_list("names", flat=True)) == names
    gone = set(reload(job).removed_segments)
    assert set(removed) <= gone
    assert not gone & set(ids(job))
    assert reload(job).revision == revision + 400


@pytest.mark.parametrize("seed", range(8))
def test_no_word_is_lost_or_doubled_whatever_is_edited_undone_and_found_anew(seed: int) -> None:
    chance = random.Random(seed)
    job = _talk(chance, 12)
    for _ in range(60):
        before = list(job.segments.all())
        left = editing_state(job)
        try:
            expected = _act_at_random(job, chance, before)
        except ConflictError:
            assert editing_state(job) == left
            continue
        after = list(job.segments.all())
        assert _words(after) == sorted(expected, key=lambda word: int(word[1:]))
        for segment in after:
            assert segment.text == segment.text.strip() != ""
            assert segment.start <= segment.end


def _act_at_random(job: Job, chance: random.Random, before: list[Segment]) -> list[str]:
    """Edit, undo any edit, or find the speakers anew. Returns the words that are to be there then."""
    said = _words(before)
    act = chance.random()
    if act < 0.1:
        edited = {one.pk: one.text for one in before if not text_matches_words(one)}
        _diarize_at_random(job, chance)
        assert edited == {
            one.pk: one.text for one in job.segments.all() if not text_matches_words(one)
        }
        return said
    if act < 0.4:
        edits = list(Edit.objects.filter(job=job, undone_at=None))
        if not edits:
            return said
        edit = chance.choice(edits)
        undo_edit(job, edit)
        return said + (_removed_by(edit) if edit.kind == Edit.Kind.REMOVE else [])
    done = _edit_at_random(job, chance)
    gone = _removed_by(done.edit) if done and done.edit and done.edit.kind == "remove" else []
    return [word for word in said if word not in gone]


def _removed_by(edit: Edit) -> list[str]:
    change = edit.changes.get(after__isnull=True)
    assert change.before is not None
    return [word["text"].strip() for word in change.before["words"]]


# ---- Speakers found meanwhile


def test_a_text_put_right_while_speakers_are_looked_for_stays() -> None:
    job = make_job("how are you fine thanks", "good to hear")
    done = change_segment(segment_with_text(job, "good to hear"), text="Good to hear!")
    diarize_job(job, [(0, 3, ONE), (3, 6, TWO), (6, 8, ONE)])
    assert spoken(job) == [("how are you", ONE), ("fine thanks", TWO), ("Good to hear!", ONE)]
    undo_edit(job, done)
    assert texts(job)[-1] == "good to hear"
    diarize_job(job, [(0, 3, ONE), (3, 6, TWO), (6, 8, ONE)])
    assert spoken(job)[2:] == [("good", TWO), ("to hear", ONE)]


def test_where_somebody_split_a_segment_it_stays_split() -> None:
    job = make_job("how are you fine thanks")
    diarize_job(job, [(0, 9, ONE)])
    split_segment(segment_with_text(job, "how are you fine thanks"), 7)
    for turns in ([(0, 1, ONE), (1, 9, TWO)], [(0, 9, ONE)]):
        diarize_job(job, turns)
    assert spoken(job) == [("how are", ONE), ("you fine thanks", ONE)]


@pytest.mark.parametrize("turns", [[(0, 9, ONE)], [(0, 4, ONE), (4, 9, TWO)]])
def test_what_came_after_a_removed_part_does_not_run_across_the_gap(turns: Any) -> None:
    job = make_job("how are you fine thanks")
    diarize_job(job, [(0, 2, ONE), (2, 3, TWO), (3, 5, ONE)])
    done = remove_segment(segment_with_text(job, "you"))
    diarize_job(job, turns)
    assert texts(job)[0] == "how are"
    if len(turns) == 1:
        undo_edit(job, done)
        assert texts(job) == ["how are", "you", "fine thanks"]
        diarize_job(job, [(0, 9, ONE)])
        assert texts(job) == ["how are you fine thanks"]
        return
    with pytest.raises(ConflictError, match="changed since"):  # what followed is two by now
        undo_edit(job, done)


@pytest.mark.parametrize("apart", ["undo", "split"])
def test_what_was_removed_comes_back_between_its_neighbours_but_into_none(apart: str) -> None:
    job = completed_job()
    done = remove_segment(segment_with_text(job, "fine thanks"))
    merged = merge_segments(segment_with_text(job, "how are you"))
    before = editing_state(job)
    with pytest.raises(ConflictError, match="were merged since"):
        undo_edit(job, done)
    assert editing_state(job) == before
    undo_edit(job, merged) if apart == "undo" else split_segment(merged.segments[0], 11)
    undo_edit(job, done)
    assert texts(job) == ["how are you", "fine thanks", "good to hear"]


def test_a_part_that_a_retranslation_removed_comes_back_into_none_either() -> None:
    job = make_job("how are you fine thanks")
    diarize_job(job, [(0, 2, ONE), (2, 3, TWO), (3, 5, ONE)])
    proposal = make_proposal(job, 2.0, 3.0, "")
    accept(proposal)
    diarize_job(job, [(0, 9, ONE)])
    assert texts(job) == ["how are fine thanks"]
    with pytest.raises(ConflictError, match="were merged since"):
        undo_retranslation(proposal)
    split_segment(segment_with_text(job, "how are fine thanks"), 7)
    undo_retranslation(proposal)
    assert spoken(job) == [("how are", ONE), ("you", ONE), ("fine thanks", ONE)]


# ---- With retranslations


@pytest.fixture
def job() -> Job:
    return completed_job()


def _fine(job: Job) -> Segment:
    return job.segments.get(start=3.0)


CHANGES: dict[str, Callable[[Job], Edited]] = {
    "text": lambda job: change_segment(_fine(job), text="Nice"),
    "split": lambda job: split_segment(_fine(job), 4),
    "merge": lambda job: merge_segments(_fine(job)),
    "merged into": lambda job: merge_segments(job.segments.all()[0]),
    "remove": lambda job: remove_segment(_fine(job)),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@each_change
def test_a_retranslation_of_what_was_edited_meanwhile_is_not_accepted(
    job: Job, change: Callable[[Job], Edited]
) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Nine tanks", segment_id=_fine(job).pk)
    done = change(job)
    before = editing_state(job)
    with pytest.raises(ConflictError, match="changed since it was retranslated"):
        accept(proposal)
    assert editing_state(job) == before
    undo_edit(job, done)
    accept(proposal)
    assert texts(job)[1] == "Nine tanks"


@each_change
def test_a_retranslation_is_not_undone_under_an_edit(
    job: Job, change: Callable[[Job], Edited]
) -> None:
    before = rows(job)
    proposal = make_proposal(job, 3.0, 5.0, "Nine tanks")
    accept(proposal)
    done = change(job)
    edited = editing_state(job)
    with pytest.raises(ConflictError, match="undo that first"):
        undo_retranslation(proposal)
    assert editing_state(job) == edited
    undo_edit(job, done)
    undo_retranslation(proposal)
    assert rows(job) == before


def test_an_edit_is_not_undone_under_a_retranslation(job: Job) -> None:
    before = rows(job)
    done = change_segment(_fine(job), text="Nine tanks")
    proposal = make_proposal(job, 3.0, 5.0, "Nine tanks")
    accept(proposal)
    left = editing_state(job)
    with pytest.raises(ConflictError, match="undo that first"):
        undo_edit(job, done)
    assert editing_state(job) == left
    undo_retranslation(proposal)
    undo_edit(job, done)
    assert rows(job) == before


def test_a_speaker_set_before_or_after_a_retranslation_stays(job: Job) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Nine tanks")
    change_segment(_fine(job), speaker="Ann")
    accept(proposal)
    assert _fine(job).speaker == "Ann"
    rename_speaker(job, "Ann", "Anna")
    undo_retranslation(proposal)
    assert spoken(job)[1] == ("fine thanks", "Anna")


# ---- Before listeners


@pytest.mark.django_db(transaction=True)
async def test_listeners_of_a_job_under_way_hear_of_edits_and_of_their_undoing() -> None:
    job = await sync_to_async(make_job)("how are you", "fine thanks", "good to hear")
    before = await sync_to_async(ids)(job)
    early = asyncio.create_task(listening(job, lambda: None))
    await asyncio.sleep(2 * feed.POLL_SECONDS)
    undone = await sync_to_async(
        lambda: change_segment(segment_with_text(job, "how are you"), text="How?")
    )()
    await sync_to_async(
        lambda: change_segment(segment_with_text(job, "fine thanks"), text="Fine!")
    )()
    await asyncio.sleep(2 * feed.POLL_SECONDS)
    await sync_to_async(undo_edit)(job, undone)
    late = asyncio.create_task(hear(job, after=before[0]))
    await asyncio.sleep(2 * feed.POLL_SECONDS)
    await sync_to_async(diarize_job)(job, [(0, 9, ONE)])
    async with asyncio.timeout(10):
        told, come_back = await early, await late
    assert told.kinds.count("speakers") >= 3
    expected = await sync_to_async(result_of)(job)
    assert told.transcript == come_back.transcript == expected
    assert [one["text"] for one in expected] == ["how are you", "Fine!", "good to hear"]
    assert [one["id"] for one in expected] == before


@pytest.mark.django_db(transaction=True)
async def test_who_comes_back_after_edits_has_the_transcript_as_it_is() -> None:
    def edit(job: Job) -> None:
        change_segment(segment_with_text(job, "how are you"), text="How?")
        split_segment(segment_with_text(job, "fine thanks"), 4)
        back = remove_segment(segment_with_text(job, "good to hear"))
        merge_segments(segment_with_text(job, "fine"))
        undo_edit(job, back)

    job = await sync_to_async(completed_job)()
    had = await hear(job)
    await sync_to_async(edit)(job)
    expected = await sync_to_async(result_of)(job)
    for message in had.transcript:
        back = await hear(job, after=message["id"], had=had)
        assert back.transcript == expected
    assert len(had.segments) == 3
