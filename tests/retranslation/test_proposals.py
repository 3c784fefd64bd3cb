"""The changes that accepting a retranslation makes: text, words, times and speakers stay consistent."""

import pytest
from django.utils import timezone

from retranslation import proposals
from tests.retranslation.builders import ONE, TWO, accept, make_proposal, reject
from tests.rows import reload
from tests.transcription.builders import (
    add_chunk,
    add_segment,
    diarize_job,
    ids,
    rows,
    texts,
    words_of,
)
from transcription.editing.changes import DECODER_FIELDS, ConflictError
from transcription.models import Diarization, Job, Leased, Segment
from transcription.transcript import speaker_split

pytestmark = pytest.mark.django_db(transaction=True)


def add_diarization(job: Job, *turns: tuple[float, float, str]) -> None:
    Diarization.objects.create(
        job=job,
        engine="pyannote",
        model="by hand",
        device="cpu",
        turns=[],
        exclusive=[[*turn, 1.0] for turn in turns],
        centroids={},
    )


# ---- Accepting


def test_a_proposal_shows_its_changes_and_makes_none(job: Job) -> None:
    before = rows(job)
    proposal = make_proposal(job, 3.0, 5.0, "Fine, thanks.")
    assert proposals.document(proposal)["changes"] == [
        {"segment_id": ids(job)[1], "old_text": "fine thanks", "new_text": "Fine, thanks."}
    ]
    assert rows(job) == before
    assert reload(job).revision == 0


def test_accepting_replaces_text_and_words_and_nothing_else(job: Job) -> None:
    first, second, third = rows(job)
    answer = accept(make_proposal(job, 3.0, 5.0, "Mine, tanks."))
    changed = {
        "text": "Mine, tanks.",
        "words": words_of("Mine, tanks.", 3.0),
        **dict.fromkeys(DECODER_FIELDS),
    }
    assert rows(job) == [first, {**second, **changed}, third]
    assert (answer["decision"], answer["decided_by"]) == ("accepted", "bob")
    assert answer["decided_at"] is not None
    assert (reload(job).revision, reload(job).removed_segments) == (1, [])
    assert reload(job).updated_at > job.updated_at


def test_words_are_assigned_to_the_segments_they_overlap(job: Job) -> None:
    accept(make_proposal(job, 0.0, 8.0, "How were you Quite fine Glad to hear"))
    assert texts(job) == ["How were you", "Quite fine", "Glad to hear"]
    assert [(s.start, s.end, s.speaker) for s in job.segments.all()] == [
        (0.0, 3.0, ONE),
        (3.0, 5.0, ONE),
        (5.0, 8.0, ONE),
    ]
    assert all(speaker_split.text_matches_words(segment) for segment in job.segments.all())


def test_a_word_is_assigned_to_the_segment_with_the_same_word(job: Job) -> None:
    accept(make_proposal(job, 0.0, 8.0, "How are you Fine thanks Glad to hear", at=0.6))
    assert texts(job) == ["How are you", "Fine thanks", "Glad to hear"]


def test_a_range_beyond_the_requested_segment_changes_its_neighbours_too(job: Job) -> None:
    first = job.segments.first()
    assert first is not None
    accept(
        make_proposal(job, 0.0, 8.0, "How were you Quite fine Glad to hear", segment_id=first.pk)
    )
    assert texts(job) == ["How were you", "Quite fine", "Glad to hear"]


def test_a_segment_is_extended_only_where_a_word_reaches_beyond_it(job: Job) -> None:
    chunk = job.chunks.get()
    last = add_segment(chunk, "see you", 20.0)
    accept(make_proposal(job, 19.0, 25.0, "We see you now", at=19.25))
    last.refresh_from_db()
    assert (last.start, last.end, last.text) == (19.25, 23.25, "We see you now")
    accept(make_proposal(job, 19.0, 25.0, "see", at=21.0))
    last.refresh_from_db()
    assert (last.start, last.end, last.text) == (19.25, 23.25, "see")


def test_a_segment_without_new_words_is_deleted(job: Job) -> None:
    first, second, third = ids(job)
    accept(make_proposal(job, 3.0, 8.0, "fine thanks"))
    assert ids(job) == [first, second]
    assert reload(job).removed_segments == [third]


def test_an_empty_text_deletes_all_segments_in_the_range(job: Job) -> None:
    _first, *others = ids(job)
    answer = accept(make_proposal(job, 3.0, 8.0, ""))
    assert texts(job) == ["how are you"]
    assert reload(job).removed_segments == others
    assert [change["new_text"] for change in answer["changes"]] == [None, None]


def test_an_empty_text_without_segments_changes_nothing(job: Job) -> None:
    before = rows(job)
    assert accept(make_proposal(job, 100.0, 102.0, ""))["changes"] == []
    assert rows(job) == before


def test_of_a_segment_partly_inside_only_the_words_in_the_range_are_replaced(job: Job) -> None:
    accept(make_proposal(job, 2.0, 4.0, "they Nine"))
    assert texts(job) == ["how are they", "Nine thanks", "good to hear"]
    for segment in job.segments.all():
        assert segment.text == speaker_split.text_of(segment.words)
        times = [time for word in segment.words for time in (word["start"], word["end"])]
        assert times == sorted(times)


def test_kept_and_new_words_do_not_overlap_at_the_edge(job: Job) -> None:
    accept(make_proposal(job, 1.6, 3.0, "you", at=1.4))
    first = job.segments.first()
    assert first is not None
    assert [(w["start"], w["end"], w["text"]) for w in first.words] == [
        (0.0, 1.0, " how"),
        (1.0, 1.6, " are"),
        (1.6, 2.4, " you"),
    ]


def test_a_neighbour_without_a_word_in_the_range_is_not_touched(job: Job) -> None:
    _first, second, _third = ids(job)
    proposal = make_proposal(job, 2.75, 5.25, "Fine thanks", at=3.0)
    assert [change.segment_pk for change in proposal.changes.all()] == [second]


def test_an_edited_segment_that_is_partly_inside_is_a_conflict_that_says_why(job: Job) -> None:
    first = ids(job)[0]
    job.segments.filter(pk=first).update(text="How are you, Ann?")
    before = rows(job)
    proposal = make_proposal(job, 2.0, 5.0, "they fine thanks")
    with pytest.raises(ConflictError, match=f"Segment {first} lies only partly.*was edited"):
        accept(proposal)
    assert rows(job) == before
    proposal.refresh_from_db()
    assert proposal.decision == "none"


def test_an_edited_segment_is_replaced_when_all_of_it_is_inside(job: Job) -> None:
    job.segments.filter(pk=ids(job)[1]).update(text="Fine, Ann!")
    accept(make_proposal(job, 3.0, 5.0, "Fine thanks"))
    assert texts(job)[1] == "Fine thanks"


def test_missed_speech_becomes_a_segment_with_its_speaker(job: Job) -> None:
    add_diarization(job, (0, 30, ONE), (30, 34, TWO))
    chunk = add_chunk(job, 1, state=Leased.State.DONE)
    job.chunks.filter(index=0).update(end=20.0)
    type(chunk).objects.filter(pk=chunk.pk).update(start=20.0)
    before = rows(job)
    answer = accept(make_proposal(job, 29.5, 34.5, "Is anybody there", at=30.0))
    *others, added = rows(job)
    assert others == before
    assert added == {
        "id": answer["changes"][0]["segment_id"],
        "chunk_id": chunk.pk,
        "start": 30.0,
        "end": 33.0,
        "text": "Is anybody there",
        "words": words_of("Is anybody there", 30.0),
        "speaker": TWO,
        "speaker_confidence": 1.0,
        "phrase": None,
        **dict.fromkeys(DECODER_FIELDS),
    }


def test_missed_speech_is_split_where_the_speaker_changes(job: Job) -> None:
    add_diarization(job, (30, 32, ONE), (32, 34, TWO))
    accept(make_proposal(job, 30.0, 34.0, "Who comes A guest"))
    added = job.segments.filter(start__gte=30)
    assert [(s.text, s.speaker) for s in added] == [("Who comes", ONE), ("A guest", TWO)]


def test_missed_speech_between_two_segments_becomes_a_third(job: Job) -> None:
    add_segment(job.chunks.get(), "see you", 12.0)
    accept(make_proposal(job, 5.0, 14.0, "good to hear I must go now see you"))
    assert texts(job)[2:] == ["good to hear", "I must go now", "see you"]


def test_a_word_between_two_segments_belongs_to_the_nearer(job: Job) -> None:
    add_segment(job.chunks.get(), "see you", 9.0)
    accept(make_proposal(job, 5.0, 11.0, "good to hear well see you"))
    assert texts(job)[2:] in (["good to hear well", "see you"], ["good to hear", "well see you"])


def test_a_segment_requested_by_its_id_gets_all_words(job: Job) -> None:
    first, second, third = rows(job)
    accept(make_proposal(job, 2.5, 5.5, "Fine many thanks", at=2.5, segment_id=second["id"]))
    is_first, is_second, is_third = rows(job)
    assert (is_first, is_third) == (first, third)
    assert is_second["text"] == "Fine many thanks"
    assert (is_second["start"], is_second["end"]) == (2.5, 5.5)


def test_a_segment_requested_by_its_id_keeps_its_words_outside_the_range(job: Job) -> None:
    first = ids(job)[0]
    accept(make_proposal(job, 0.0, 2.0, "Who were", segment_id=first))
    assert texts(job)[0] == "Who were you"


def test_the_id_of_a_segment_elsewhere_has_no_effect(job: Job) -> None:
    first = ids(job)[0]
    accept(make_proposal(job, 3.0, 5.0, "Fine thanks", segment_id=first))
    assert texts(job) == ["how are you", "Fine thanks", "good to hear"]


# ---- Speakers, history, documents


def test_a_new_diarization_attributes_the_new_words(job: Job) -> None:
    accept(make_proposal(job, 0.0, 5.0, "How were they Fine thanks"))
    diarize_job(job, [(0, 2, ONE), (2, 8, TWO)])
    assert [(s.text, s.speaker) for s in job.segments.all()] == [
        ("How were", ONE),
        ("they", TWO),
        ("Fine thanks", TWO),
        ("good to hear", TWO),
    ]


def test_an_added_segment_gets_a_speaker_that_was_found_since(job: Job) -> None:
    proposal = make_proposal(job, 30.0, 33.0, "Is anybody there")
    add_diarization(job, (29, 34, TWO))
    accept(proposal)
    assert job.segments.get(start=30.0).speaker == TWO


def test_a_segments_history_is_in_the_order_of_the_decisions(job: Job) -> None:
    second = ids(job)[1]
    first_requested, accepted = (
        make_proposal(job, 3.0, 5.0, "Mine"),
        make_proposal(job, 3.0, 5.0, "Nine"),
    )
    accept(accepted)
    follows = make_proposal(job, 3.0, 5.0, "Fine")
    accept(follows)
    reject(first_requested)
    make_proposal(job, 5.0, 8.0, "of another segment")
    history = proposals.history(job=job, segment_pk=second)
    assert [(one.retranslation.text, one.retranslation.decision) for one in history] == [
        ("Nine", "accepted"),
        ("Fine", "accepted"),
        ("Mine", "rejected"),
    ]
    assert [(one.before or {})["text"] for one in history] == ["fine thanks", "Nine", "fine thanks"]


def test_the_document_in_full(job: Job) -> None:
    requested_at = timezone.now().timestamp()
    proposal = make_proposal(
        job, 3.0, 5.0, "Fine", segment_id="mine", reasons=["repetition"], speaker=ONE
    )
    document = proposals.document(proposal)
    assert document.pop("created_at") == pytest.approx(requested_at, abs=10)
    assert document == {
        "id": str(proposal.pk),
        "job_id": str(job.pk),
        "segment_id": "mine",
        "start_time": 3.0,
        "end_time": 5.0,
        "status": "completed",
        "message": "Completed",
        "old_text": "",
        "text": "Fine",
        "confidence": 0.9,
        "speaker": ONE,
        "model_used": "base",
        "reasons": ["repetition"],
        "decision": "none",
        "asked_by": "ann",
        "decided_by": "",
        "decided_at": None,
        "changes": [
            {"segment_id": ids(job)[1], "old_text": "fine thanks", "new_text": "Fine"},
        ],
    }


def test_saving_a_proposal_is_idempotent(job: Job) -> None:
    proposal = make_proposal(job, 3.0, 5.0, "Fine")
    proposals.save_proposal(retranslation=proposal)
    assert proposal.changes.count() == 1


def test_no_segment_is_left_without_words(job: Job) -> None:
    accept(make_proposal(job, 0.0, 8.0, "How were they Fine thanks good to know"))
    assert not Segment.objects.filter(job=job, words=[]).exists()
