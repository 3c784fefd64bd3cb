"""The API of edits: documented shapes, and 400, 404 and 409 with a reason, never 500."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests import UNKNOWN_ID
from tests.rows import reload
from tests.transcription.builders import ids
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
from transcription.editing import serializers, services
from transcription.models import Job, Segment
from transcription.serializers import SegmentWithWords

pytestmark = pytest.mark.django_db

API = "/api/transcribe"
WAS: dict[str, Any] = {"was": {"text": "fine thanks"}}


@pytest.fixture
def job() -> Job:
    return completed_job()


@pytest.fixture
def segment(job: Job) -> Segment:
    return segment_with_text(job, "fine thanks")


def send(method: str, path: str, body: Any = None) -> tuple[int, Any]:
    answer = Client().generic(
        method,
        f"{API}/{path}",
        b"" if body is None else json.dumps(body).encode(),
        content_type="application/json",
    )
    return answer.status_code, answer.json()


def assert_refused(answer: tuple[int, Any], status: int, *said: str) -> None:
    assert answer[0] == status, answer
    assert list(answer[1]) == ["detail"]
    assert all(part in answer[1]["detail"] for part in said), answer[1]["detail"]


def fields(shape: Any) -> list[str]:
    return list(shape().fields)


# ---- What is asked for is done


def test_one_segment_is_shown_with_its_words(segment: Segment) -> None:
    status, found = send("GET", f"segments/{segment.pk}")
    assert status == 200
    assert list(found) == fields(SegmentWithWords)
    assert found["words"] == segment.words
    assert found["edited"] is False
    assert Client().head(f"{API}/segments/{segment.pk}").status_code == 200


@pytest.mark.parametrize(
    ("data", "kind", "now_is"),
    [
        ({"text": "Fine,\n thanks. "}, "text", {"text": "Fine, thanks.", "edited": True}),
        ({"speaker": " Ann  Lee"}, "speaker", {"speaker": "Ann Lee", "edited": False}),
        ({"speaker": None}, "speaker", {"speaker": None, "speaker_confidence": None}),
        ({"speaker": ""}, "speaker", {"speaker": None}),
        ({"text": "谢谢 👍🏽", "speaker": TWO}, "text", {"text": "谢谢 👍🏽", "speaker": TWO}),
    ],
)
def test_a_segment_is_put_right(
    segment: Segment, data: dict[str, Any], kind: str, now_is: dict[str, Any]
) -> None:
    was = {name: getattr(segment, name) for name in data}
    status, done = send("PATCH", f"segments/{segment.pk}", {**data, "was": was})
    assert (status, list(done)) == (200, fields(serializers.Edited))
    assert list(done["edit"]) == fields(serializers.Edit)
    assert (done["edit"]["kind"], done["edit"]["done_by"]) == (kind, "127.0.0.1")
    assert (done["revision"], done["removed"]) == (1, [])
    [one] = done["segments"]
    assert {name: one[name] for name in now_is} == now_is
    assert one == send("GET", f"segments/{segment.pk}")[1]
    [change] = done["edit"]["changes"]
    assert {name: change["before"][name] for name in data} == was
    assert {name: change["after"][name] for name in data} == {name: one[name] for name in data}


def test_what_is_there_already_is_answered_without_an_edit(segment: Segment) -> None:
    status, done = send("PATCH", f"segments/{segment.pk}", {"text": "fine  thanks", **WAS})
    assert (status, done["edit"], done["revision"]) == (200, None, 0)
    assert [one["id"] for one in done["segments"]] == [segment.pk]


def test_segments_are_split_merged_removed_and_renamed(job: Job, segment: Segment) -> None:
    status, done = send("POST", f"segments/{segment.pk}/split", {"position": 4, **WAS})
    assert (status, [one["text"] for one in done["segments"]]) == (200, ["fine", "thanks"])
    right = done["segments"][1]["id"]
    status, done = send(
        "POST",
        f"segments/{segment.pk}/merge",
        {"next": {"id": right, "text": "thanks"}, "was": {"text": "fine"}},
    )
    assert (status, done["removed"]) == (200, [right])
    assert [one["text"] for one in done["segments"]] == ["fine thanks"]
    status, done = send("POST", f"speakers/{job.pk}", {"from": ONE, "to": "Ann"})
    assert (status, len(done["segments"]), done["edit"]["summary"]) == (200, 3, f"{ONE} → Ann")
    status, done = send("DELETE", f"segments/{segment.pk}?was=fine%20thanks")
    assert (status, done["segments"], done["removed"]) == (200, [], [segment.pk])
    assert done["edit"]["changes"][0]["after"] is None
    status, done = send("POST", f"edits/{job.pk}/{done['edit']['id']}/undo")
    assert (status, done["removed"], done["revision"]) == (200, [], 5)
    assert done["edit"]["undone_by"] == "127.0.0.1"
    assert [one["id"] for one in done["segments"]] == [segment.pk]


def test_a_name_of_an_older_time_with_odd_blanks_can_be_changed(job: Job) -> None:
    job.segments.update(speaker=" Ann  Lee")
    assert send("POST", f"speakers/{job.pk}", {"from": " Ann  Lee", "to": "Ann"})[0] == 200


# ---- What cannot be done


BAD_TEXTS = [5, 1.5, True, ["a"], {"a": 1}, "", "  \n", "a\x00b", "a\x07b", "\ud800", "x" * 5001]
BAD_SEEN = [5, True, ["fine thanks"], {"a": 1}, "a\x00b", "\ud800", None]
BAD_IDS: list[Any] = ["a", None, [], {}, 1.5, True]
BODIES = [None, [], [1], "text", 5, True]


@pytest.mark.parametrize("text", [*BAD_TEXTS, None])
def test_a_text_that_is_none_is_a_400(segment: Segment, text: Any) -> None:
    answer = send("PATCH", f"segments/{segment.pk}", {"text": text, **WAS})
    assert_refused(answer, 400, "text: ")


@pytest.mark.parametrize("name", [*(bad for bad in BAD_TEXTS if str(bad).strip()), "x" * 101])
def test_a_name_that_is_none_is_a_400(job: Job, segment: Segment, name: Any) -> None:
    data = {"speaker": name, "was": {"speaker": ONE}}
    assert_refused(send("PATCH", f"segments/{segment.pk}", data), 400, "speaker: ")
    data = {"from": ONE, "to": name}
    assert_refused(send("POST", f"speakers/{job.pk}", data), 400, "to: ")


@pytest.mark.parametrize("seen", BAD_SEEN)
def test_what_nobody_can_have_seen_is_a_400(job: Job, segment: Segment, seen: Any) -> None:
    was = {"was": {"text": seen}}
    before = editing_state(job)
    one = f"segments/{segment.pk}"
    assert_refused(send("PATCH", one, {"text": "x", **was}), 400, "was.text")
    assert_refused(send("POST", f"{one}/split", {"position": 4, **was}), 400, "was.text")
    next_segment = {"next": {"id": 3, "text": seen}}
    assert_refused(send("POST", f"{one}/merge", {**WAS, **next_segment}), 400, "next.text")
    assert_refused(send("POST", f"speakers/{job.pk}", {"from": seen, "to": "x"}), 400, "from")
    assert editing_state(job) == before


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_is_no_object_is_a_400(job: Job, segment: Segment, body: Any) -> None:
    one = f"segments/{segment.pk}"
    for method, path in (
        ("PATCH", one),
        ("POST", f"{one}/split"),
        ("POST", f"{one}/merge"),
        ("POST", f"speakers/{job.pk}"),
    ):
        assert_refused(send(method, path, body), 400)
        if body is not None:
            assert_refused(send(method, path, {"text": "x", "position": 4, "was": body}), 400)


@pytest.mark.parametrize(
    "data",
    [
        {},
        WAS,
        {"text": "x"},
        {"text": "x", "was": {}},
        {"text": "x", "was": {"speaker": ONE}},
        {"speaker": "x", **WAS},
        {"text": "x", "speaker": "x", **WAS},
    ],
)
def test_who_does_not_say_what_they_saw_changes_nothing(
    segment: Segment, data: dict[str, Any]
) -> None:
    assert_refused(send("PATCH", f"segments/{segment.pk}", data), 400)
    assert_refused(send("DELETE", f"segments/{segment.pk}"), 400, "was")


@pytest.mark.parametrize("number", [*BAD_IDS, -1])
def test_a_position_that_is_none_is_a_400(segment: Segment, number: Any) -> None:
    answer = send("POST", f"segments/{segment.pk}/split", {"position": number, **WAS})
    assert_refused(answer, 400, "position")


@pytest.mark.parametrize("number", BAD_IDS)
def test_a_next_segment_without_a_number_is_a_400(segment: Segment, number: Any) -> None:
    data = {"next": {"id": number, "text": "x"}, **WAS}
    assert_refused(send("POST", f"segments/{segment.pk}/merge", data), 400, "next.id")


def test_what_the_segments_forbid_is_a_409_that_says_what_to_do(job: Job) -> None:
    first, second, *_ = job.segments.all()
    long = "a" * (services.MAX_TEXT_LENGTH - 1)
    Segment.objects.filter(pk=first.pk).update(text=long)
    data = {"was": {"text": long}, "next": {"id": second.pk, "text": second.text}}
    answer = send("POST", f"segments/{first.pk}/merge", data)
    assert_refused(answer, 409, "5,000 characters", "Split one of the two")
    *_, last = job.segments.all()
    Segment.objects.filter(pk=last.pk).update(text="good")
    one = f"segments/{last.pk}"
    was = {"was": {"text": "good"}}
    answer = send("POST", f"{one}/split", {"position": 1, **was})
    assert_refused(answer, 409, "one word", "Edit its text")
    answer = send("POST", f"{one}/merge", {"next": {"id": 1, "text": ""}, **was})
    assert_refused(answer, 409, "last segment", "before it instead")


def test_a_speaker_that_nobody_is_called_is_a_400_that_says_who_there_are(job: Job) -> None:
    answer = send("POST", f"speakers/{job.pk}", {"from": "Nobody", "to": "Ann"})
    assert_refused(answer, 400, "Nobody", ONE)


@pytest.mark.parametrize("segment_id", [0, 999_999, 2**63 - 1, 2**63, 10**40])
def test_a_segment_that_is_not_there_is_a_404(job: Job, segment_id: int) -> None:
    one = f"segments/{segment_id}"
    for answer in (
        send("GET", one),
        send("PATCH", one, {"text": "x", **WAS}),
        send("DELETE", f"{one}?was=x"),
        send("POST", f"{one}/split", {"position": 1, **WAS}),
        send("POST", f"{one}/merge", {"next": {"id": 1, "text": "x"}, **WAS}),
        send("POST", f"edits/{job.pk}/{segment_id}/undo"),
    ):
        assert_refused(answer, 404, "not found")


@pytest.mark.parametrize("job_id", ["a", UNKNOWN_ID])
def test_a_job_that_is_not_there_is_a_404(job: Job, job_id: str) -> None:
    done = rename_speaker(job, ONE, "Ann")
    assert done.edit
    for answer in (
        send("POST", f"speakers/{job_id}", {"from": ONE, "to": "Ann"}),
        send("GET", f"edits/{job_id}"),
        send("POST", f"edits/{job_id}/{done.edit.pk}/undo"),
        send("POST", f"edits/{completed_job().pk}/{done.edit.pk}/undo"),
    ):
        assert_refused(answer, 404, "not found")


def test_who_saw_something_else_gets_a_409(job: Job, segment: Segment) -> None:
    change_segment(segment, text="Fine!")
    next_segment = {"next": {"id": ids(job)[2], "text": "good to hear"}}
    before = editing_state(job)
    one = f"segments/{segment.pk}"
    for answer in (
        send("PATCH", one, {"text": "Nine", **WAS}),
        send("PATCH", one, {"speaker": "x", "was": {"speaker": None}}),
        send("DELETE", f"{one}?was=fine%20thanks"),
        send("POST", f"{one}/split", {"position": 4, **WAS}),
        send("POST", f"{one}/merge", {**next_segment, **WAS}),
        send(
            "POST", f"{one}/merge", {"next": {"id": 2**70, "text": "x"}, "was": {"text": "Fine!"}}
        ),
    ):
        assert_refused(answer, 409, "changed meanwhile")
    assert editing_state(job) == before


def test_while_the_job_is_under_way_all_but_texts_is_a_409(job: Job, segment: Segment) -> None:
    Job.objects.filter(pk=job.pk).update(status=Job.Status.RUNNING)
    one = f"segments/{segment.pk}"
    for answer in (
        send("PATCH", one, {"speaker": "x", "was": {"speaker": ONE}}),
        send("DELETE", f"{one}?was=fine%20thanks"),
        send("POST", f"{one}/split", {"position": 4, **WAS}),
        send("POST", f"speakers/{job.pk}", {"from": ONE, "to": "Ann"}),
    ):
        assert_refused(answer, 409, "not finished")
    assert send("PATCH", one, {"text": "Fine!", **WAS})[0] == 200


# ---- The history


def test_edits_are_listed_newest_first_and_by_segment(job: Job) -> None:
    first, second, third = ids(job)
    left, right = split_segment(segment_with_text(job, "fine thanks"), 4).segments
    undone = change_segment(segment_with_text(job, "how are you"), text="How?")
    undo_edit(job, undone)
    merge_segments(left, right)
    remove_segment(segment_with_text(job, "good to hear"))
    status, found = send("GET", f"edits/{job.pk}")
    assert (status, list(found)) == (200, fields(serializers.Edits))
    assert (found["count"], found["revision"]) == (4, reload(job).revision)
    assert [one["kind"] for one in found["edits"]] == ["remove", "merge", "text", "split"]
    assert [one["undone_at"] is None for one in found["edits"]] == [True, True, False, True]
    assert [one["segment_ids"] for one in found["edits"]][1] == [left.pk, right.pk]
    assert all(list(one) == fields(serializers.Edit) for one in found["edits"])
    for segment_id, kinds in (
        (first, ["text"]),
        (second, ["merge", "split"]),
        (right.pk, ["merge", "split"]),
        (third, ["remove"]),
        (999_999, []),
    ):
        _, found = send("GET", f"edits/{job.pk}?segment_id={segment_id}")
        assert [one["kind"] for one in found["edits"]] == kinds
    assert send("GET", f"edits/{completed_job().pk}?segment_id={first}")[1]["edits"] == []


@pytest.mark.parametrize("written", ["a", "-1", "0", str(2**63), "1.5"])
def test_a_segment_that_no_history_can_have_is_a_400(job: Job, written: str) -> None:
    assert_refused(send("GET", f"edits/{job.pk}?segment_id={written}"), 400, "segment_id")


def test_a_long_history_costs_as_many_queries_as_a_short_one(job: Job) -> None:
    costs = []
    for n in (1, 210):
        for index in range(n):
            change_segment(job.segments.all()[index % 3], text=f"text {n} {index}")
        rename_speaker(job, str(job.segments.all()[0].speaker), f"Ann {n}")
        with CaptureQueriesContext(connection) as queries:
            _, found = send("GET", f"edits/{job.pk}")
        costs.append(len(queries))
    assert costs[0] == costs[1] < 6
    assert found["count"] == 200
    assert found["edits"][0]["segment_ids"] == ids(job)


def test_of_an_edit_of_many_segments_the_first_are_shown() -> None:
    job = completed_job(*["how are you"] * 25)
    _, done = send("POST", f"speakers/{job.pk}", {"from": ONE, "to": "Ann"})
    assert len(done["segments"]) == 25
    assert done["edit"]["segment_ids"] == ids(job)[:20]
    assert send("GET", f"edits/{job.pk}")[1]["edits"] == [done["edit"]]
