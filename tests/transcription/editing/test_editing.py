"""What people put right by hand: nothing is overwritten unseen, no word is lost, and all can be taken back."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.rows import reload
from tests.threads import run_concurrently
from tests.transcription.builders import ids, rows
from tests.transcription.editing.builders import (
    EDITOR,
    ONE,
    TWO,
    change_segment,
    completed_job,
    editing_state,
    merge_segments,
    next_segment,
    remove_segment,
    rename_speaker,
    segment_with_text,
    split_segment,
    undo_edit,
)
from transcription.editing import changes, services
from transcription.editing.changes import ConflictError
from transcription.editing.services import MAX_TEXT_LENGTH, Edited
from transcription.jobs import retry_and_delete
from transcription.models import Edit, Job, Segment
from transcription.transcript.speaker_split import text_matches_words
from transcription.transcript.word_alignment import segment_with_words, shown_words

pytestmark = [pytest.mark.django_db, pytest.mark.both]

Act = Callable[[Job], Edited]
ACTS: dict[str, Act] = {
    "text": lambda job: change_segment(segment_with_text(job, "fine thanks"), text="Fine, thanks."),
    "speaker": lambda job: change_segment(segment_with_text(job, "fine thanks"), speaker="Ann"),
    "both": lambda job: change_segment(
        segment_with_text(job, "fine thanks"), text="Fine!", speaker="Ann"
    ),
    "split": lambda job: split_segment(segment_with_text(job, "fine thanks"), 4),
    "merge": lambda job: merge_segments(segment_with_text(job, "fine thanks")),
    "remove": lambda job: remove_segment(segment_with_text(job, "fine thanks")),
    "rename": lambda job: rename_speaker(job, ONE, "Ann"),
}
each_act = pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
NOT_TEXT = {name: act for name, act in ACTS.items() if name != "text"}


@pytest.fixture
def job() -> Job:
    return completed_job()


# ---- Every edit


@each_act
def test_an_edit_is_noted_told_and_taken_back(job: Job, act: Act) -> None:
    before, names, _, _ = editing_state(job)
    done = act(job)
    assert done.edit is not None
    assert (done.edit.done_by, done.edit.undone_at) == (EDITOR, None)
    assert (done.revision, reload(job).revision) == (1, 1)
    changed = [one for one in rows(job) if one not in before]
    assert {one.pk for one in done.segments} == {one["id"] for one in changed}
    assert reload(job).removed_segments == done.removed
    back = undo_edit(job, done)
    assert (rows(job), editing_state(job)[1]) == (before, names)
    assert back.revision == 2
    assert reload(job).removed_segments == back.removed
    assert not set(back.removed) & set(ids(job))
    edit = Edit.objects.get()
    assert edit.undone_by == "bob"
    assert edit.undone_at


@each_act
def test_an_edit_is_undone_only_once(job: Job, act: Act) -> None:
    done = act(job)
    undo_edit(job, done)
    before = editing_state(job)
    with pytest.raises(ConflictError, match="undone already"):
        undo_edit(job, done)
    assert editing_state(job) == before


@each_act
def test_an_edit_of_another_job_is_not_undone(job: Job, act: Act) -> None:
    done, other = act(job), completed_job()
    before = editing_state(job)
    with pytest.raises(Edit.DoesNotExist):
        undo_edit(other, done)
    assert editing_state(job) == before


@pytest.mark.parametrize("act", NOT_TEXT.values(), ids=NOT_TEXT)
@pytest.mark.parametrize("status", Job.ACTIVE)
@pytest.mark.parametrize("is_undone", [False, True])
def test_while_a_job_is_under_way_only_its_texts_change(
    job: Job, act: Act, status: Job.Status, is_undone: bool
) -> None:
    late = partial(undo_edit, job, act(job)) if is_undone else partial(act, job)
    Job.objects.filter(pk=job.pk).update(status=status)
    before = editing_state(job)
    with pytest.raises(ConflictError, match="not finished"):
        late()
    assert editing_state(job) == before


@pytest.mark.parametrize("status", Job.Status)
def test_a_text_can_be_put_right_at_any_time(job: Job, status: Job.Status) -> None:
    Job.objects.filter(pk=job.pk).update(status=status)
    before = rows(job)
    done = ACTS["text"](job)
    assert rows(job) != before
    undo_edit(job, done)
    assert rows(job) == before


@each_act
def test_a_job_that_is_done_again_has_no_edits(job: Job, act: Act) -> None:
    done = act(job)
    assert retry_and_delete.rerun(job_id=job.pk)
    assert not Edit.objects.exists()
    assert (reload(job).revision, reload(job).removed_segments) == (done.revision, [])
    with pytest.raises(Edit.DoesNotExist):
        undo_edit(job, done)


def test_what_is_there_already_is_no_edit(job: Job) -> None:
    segment = job.segments.all()[0]
    before = editing_state(job)
    for done in (
        change_segment(segment, text=segment.text),
        change_segment(segment, speaker=ONE, text=segment.text),
    ):
        assert (done.edit, done.revision, done.segments) == (None, 0, [segment])
    assert rename_speaker(job, ONE, ONE).edit is None
    assert editing_state(job) == before


STALE: dict[str, Callable[[Segment], Any]] = {
    "text": lambda one: services.change(
        segment_id=one.pk, values={"text": "x"}, was={"text": "fine"}, done_by=EDITOR
    ),
    "speaker": lambda one: services.change(
        segment_id=one.pk, values={"speaker": "x"}, was={"speaker": None}, done_by=EDITOR
    ),
    "text beside": lambda one: services.change(
        segment_id=one.pk,
        values={"speaker": "x"},
        was={"speaker": ONE, "text": "fine"},
        done_by=EDITOR,
    ),
    "split": lambda one: services.split(
        segment_id=one.pk, position=1, was={"text": "fine"}, done_by=EDITOR
    ),
    "remove": lambda one: services.remove(segment_id=one.pk, was={"text": "fine"}, done_by=EDITOR),
    "merge": lambda one: services.merge(
        segment_id=one.pk,
        next_id=next_segment(one).pk,
        was={"text": "fine"},
        next_was={"text": "good to hear"},
        done_by=EDITOR,
    ),
    "merge, next": lambda one: services.merge(
        segment_id=one.pk,
        next_id=next_segment(one).pk,
        was={"text": one.text},
        next_was={"text": "good"},
        done_by=EDITOR,
    ),
    "merge, another next": lambda one: merge_segments(one, one.job.segments.all()[0]),
}


@pytest.mark.parametrize("act", STALE.values(), ids=STALE)
def test_who_saw_something_else_changes_nothing(job: Job, act: Callable[[Segment], Any]) -> None:
    before = editing_state(job)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        act(segment_with_text(job, "fine thanks"))
    assert editing_state(job) == before
    assert reload(job).revision == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
def test_of_two_who_edit_at_once_one_wins() -> None:
    job = completed_job()
    segment = segment_with_text(job, "fine thanks")
    before = rows(job)
    for other in (
        partial(change_segment, segment, text="Mine"),
        partial(split_segment, segment, 4),
    ):
        for _ in range(3):
            found = run_concurrently(partial(change_segment, segment, text="Nine"), other)
            [won] = [answer for answer in found if isinstance(answer, Edited)]
            assert [type(answer) for answer in found if answer is not won] == [ConflictError]
            undo_edit(job, won)
            assert rows(job) == before
    assert reload(job).revision == 12


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database_file")
def test_a_job_is_deleted_with_the_edit_that_is_being_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = completed_job()
    is_editing, write = threading.Event(), changes._write

    def write_slowly(*args: Any) -> Any:
        is_editing.set()
        time.sleep(0.3)  # so that the delete begins before the edit is committed
        return write(*args)

    def delete_meanwhile() -> bool:
        return is_editing.wait(10) and retry_and_delete.delete_job(job_id=job.pk)

    monkeypatch.setattr(changes, "_write", write_slowly)
    edited, is_deleted = run_concurrently(
        partial(change_segment, segment_with_text(job, "fine thanks"), text="Mine"),
        delete_meanwhile,
    )
    assert isinstance(edited, Edited)
    assert is_deleted is True
    assert not Job.objects.exists()
    assert not Edit.objects.exists()


# ---- Text and speaker


def test_an_edited_text_keeps_what_was_heard(job: Job) -> None:
    segment = segment_with_text(job, "how are you")
    [edited] = change_segment(segment, text="How were you?").segments
    assert (edited.text, edited.words) == ("How were you?", segment.words)
    assert [word["probability"] for word in shown_words(edited)] == [0.9, None, 0.9]
    assert segment_with_words(edited)["edited"]


@pytest.mark.parametrize("name", ["Ann", TWO, None])
def test_a_speaker_set_by_hand_has_no_confidence(job: Job, name: str | None) -> None:
    done = change_segment(segment_with_text(job, "fine thanks"), speaker=name)
    [segment] = done.segments
    assert (segment.speaker, segment.speaker_confidence) == (name, None)
    assert not segment_with_words(segment)["edited"]
    undo_edit(job, done)
    assert segment_with_text(job, "fine thanks").speaker_confidence == 0.75


def test_a_text_can_be_undone_under_a_new_speaker_and_the_other_way_round(job: Job) -> None:
    for first, second in (
        ({"text": "Fine"}, {"speaker": "Ann"}),
        ({"speaker": "Ann"}, {"text": "F"}),
    ):
        segment = segment_with_text(job, "fine thanks")
        before = rows(job)
        one = change_segment(segment, **first)
        two = change_segment(one.segments[0], **second)
        [left] = undo_edit(job, one).segments
        [(name, value)] = second.items()
        assert getattr(left, name) == value
        undo_edit(job, two)
        assert rows(job) == before


# ---- Split and merge


def _with(job: Job, **values: Any) -> Segment:
    segment = job.segments.all()[0]
    Segment.objects.filter(pk=segment.pk).update(**values)
    segment.refresh_from_db()
    return segment


def _words(*texts: str, start: float = 0.0) -> list[dict[str, Any]]:
    return [
        {"start": start + n, "end": start + n + 1.0, "text": text, "probability": 0.5}
        for n, text in enumerate(texts)
    ]


KINDS: dict[str, dict[str, Any]] = {
    "as heard": {},
    "edited": {"text": "However, are  you there?"},
    "shorter": {"text": "how you"},
    "longer at the end": {"text": "how are you all there"},
    "no words": {"words": []},
    "Chinese": {"text": "你好吗", "words": _words("你", "好", "吗")},
    "Chinese edited": {"text": "你们好，吗", "words": _words("你", "好吗", "")},
    "words without blanks": {"text": "Wi-Fi on", "words": _words(" Wi", "-Fi", " on")},
    "words without length": {"text": "a b c", "words": [
        {**word, "start": 3.0, "end": 3.0} for word in _words(" a", " b", " c")
    ]},
    "words out of bounds": {"text": "a b c", "words": _words(" a", " b", " c", start=-1.5)},
    "blank words": {"text": "a b", "words": _words(" ", " a", " ", " b", " ")},
}  # fmt: skip
each_kind = pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)


@each_kind
def test_a_split_loses_and_doubles_nothing_wherever_it_is(job: Job, values: dict[str, Any]) -> None:
    segment = _with(job, **values)
    before = rows(job)
    for position in (*range(len(segment.text) + 1), 10**30):
        done = split_segment(segment, position)
        left, right = done.segments
        assert ids(job)[:2] == [left.pk, right.pk]
        assert "".join((left.text + right.text).split()) == "".join(segment.text.split())
        assert left.text.strip()
        assert right.text.strip()
        assert left.words + right.words == segment.words
        assert segment.start == left.start <= left.end <= right.start <= right.end == segment.end
        if text_matches_words(segment):
            assert text_matches_words(left)
            assert text_matches_words(right)
        undo_edit(job, done)
        assert rows(job) == before
        assert right.pk in reload(job).removed_segments


@pytest.mark.parametrize(
    ("text", "position", "left"),
    [
        ("how are you", 3, "how"),
        ("how are you", 4, "how"),
        ("how are you", 7, "how are"),
        ("how are you", 8, "how are"),
        ("how are you", 9, "how are"),
        ("how   are you", 5, "how"),
        ("I am a", 2, "I"),
        ("a b c", 2, "a"),
        ("你们好吗", 2, "你们"),
        ("👍🏽 yes", 2, "👍🏽"),
    ],
)
def test_a_caret_between_two_words_cuts_there(
    job: Job, text: str, position: int, left: str
) -> None:
    done = split_segment(_with(job, text=text), position)
    assert done.segments[0].text == left


@pytest.mark.parametrize(
    "values", [{"text": "how"}, {"text": ""}, {"text": "a", "words": _words(" a", " ")}]
)
def test_one_word_is_not_split(job: Job, values: dict[str, Any]) -> None:
    segment = _with(job, **values)
    before = editing_state(job)
    with pytest.raises(ConflictError, match="one word"):
        split_segment(segment, 1)
    assert editing_state(job) == before


@each_kind
@pytest.mark.parametrize("following_kind", ["as heard", "edited", "Chinese", "no words"])
def test_two_segments_become_one_and_two_again(
    job: Job, values: dict[str, Any], following_kind: str
) -> None:
    second = job.segments.all()[1]
    for speakers in ((ONE, ONE), (ONE, TWO), (None, TWO), (ONE, None)):
        Segment.objects.filter(pk=second.pk).update(**KINDS[following_kind], speaker=speakers[1])
        second.refresh_from_db()
        first = _with(job, **values, speaker=speakers[0])
        before = rows(job)
        done = merge_segments(first)
        [whole] = done.segments
        assert (whole.pk, done.removed) == (first.pk, [second.pk])
        blank = "" if (first.text + second.text).count("吗") == 2 else " "
        assert whole.text == f"{first.text}{blank}{second.text}"
        assert (whole.start, whole.end) == (first.start, second.end)
        assert whole.speaker == (speakers[0] or speakers[1])
        assert whole.speaker_confidence == (0.75 if speakers == (ONE, ONE) else None)
        assert _stripped(whole.words) == _stripped(first.words + second.words)
        if text_matches_words(first) and text_matches_words(second):
            assert text_matches_words(whole)
        undo_edit(job, done)
        assert rows(job) == before
        assert reload(job).removed_segments == []


def _stripped(words: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**word, "text": word["text"].strip()} for word in words]


@each_kind
@pytest.mark.parametrize("position", [1, 5])
def test_what_was_split_can_be_merged_again(
    job: Job, values: dict[str, Any], position: int
) -> None:
    segment = _with(job, **values)
    left, right = split_segment(segment, position).segments
    [whole] = merge_segments(left, right).segments
    assert whole.text.replace(" ", "") == segment.text.replace(" ", "")
    assert (whole.start, whole.end) == (segment.start, segment.end)
    assert len(whole.words) == len(segment.words)


def test_what_was_heard_says_whether_a_blank_stands_between_letters_that_need_none(
    job: Job,
) -> None:
    second = job.segments.all()[1]
    for heard, expected in (("很好", "你好吗很好"), (" 很好", "你好吗 很好")):
        first = _with(job, **KINDS["Chinese"])
        Segment.objects.filter(pk=second.pk).update(text="很好", words=_words(heard, start=3.0))
        done = merge_segments(first)
        assert done.segments[0].text == expected
        assert text_matches_words(done.segments[0])
        undo_edit(job, done)


def test_the_last_segment_has_none_to_be_merged_with(job: Job) -> None:
    *_, last = job.segments.all()
    with pytest.raises(ConflictError, match="last segment"):
        merge_segments(last, last)


def test_two_long_segments_stay_two(job: Job) -> None:
    segment = _with(job, text="a" * (MAX_TEXT_LENGTH - len("fine thanks")))
    before = editing_state(job)
    with pytest.raises(ConflictError, match="5,000 characters"):
        merge_segments(segment)
    assert editing_state(job) == before
    merge_segments(_with(job, text=segment.text[1:]))
