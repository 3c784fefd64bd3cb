"""The Summary API: documented answers, and refusals of invalid requests."""

import json
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from chat.llm.base import Passage
from summaries import api, services
from summaries.models import Summary
from tests import UNKNOWN_ID
from tests.servers import free_port
from tests.summaries.builders import make_summary
from tests.summaries.fake_provider import MODEL
from tests.transcription.builders import add_segment, make_job
from transcription.jobs import retry_and_delete
from transcription.models import Job, Leased

URL = "/api/summary/"
SEGMENTS = [
    {"start": 0.0, "end": 2.0, "text": "The budget was approved.", "speaker": "SPEAKER_1"},
    {"start": 72.5, "end": 75.0, "text": "We hired two engineers.", "speaker": "SPEAKER_2"},
]

pytestmark = pytest.mark.django_db


def post(client: Client, body: Any) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(URL, data, content_type="application/json")


# ---- Starting


def test_a_summary_is_started_with_the_documented_answer(client: Client) -> None:
    answer = post(
        client,
        {
            "transcript": SEGMENTS,
            "full_text": "The budget was approved. We hired two engineers.",
            "model_name": "gpt-3.5-turbo",
            "max_length": 120,
            "format": "key_points",
        },
    )
    assert answer.status_code == 200, answer.content
    summary = Summary.objects.get()
    assert answer.json() == {
        "job_id": str(summary.pk),
        "status": "processing",
        "message": services.WAITING,
    }
    assert (summary.style, summary.max_length) == ("key_points", 120)
    assert services.load_transcript(summary).passages == tuple(
        Passage(s["text"], s["start"], s["end"], s["speaker"])  # type: ignore[arg-type]
        for s in SEGMENTS
    )


def test_missing_options_take_their_defaults(client: Client) -> None:
    assert post(client, {"full_text": "One. Two."}).status_code == 200
    summary = Summary.objects.get()
    assert (summary.style, summary.max_length) == ("paragraph", 500)
    assert summary.model_name == "gpt-3.5-turbo"


def test_a_finished_transcription_is_summarized_by_its_id(client: Client) -> None:
    job = make_job(diarize=False)
    add_segment(job.chunks.get(), "Ask not.", start=3.0)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.COMPLETED, language="en")
    assert post(client, {"job_id": str(job.pk)}).status_code == 200
    summary = Summary.objects.get()
    assert summary.transcription_id == job.pk
    transcript = services.load_transcript(summary)
    assert [(p.text, p.start) for p in transcript.passages] == [("Ask not.", 3.0)]
    assert transcript.language == "en"


def test_an_unknown_transcription_is_not_found(client: Client) -> None:
    answer = post(client, {"job_id": str(uuid4())})
    assert answer.status_code == 404
    assert "not found" in answer.json()["detail"]


def test_a_transcription_deleted_during_the_request_is_not_found(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(diarize=False)
    add_segment(job.chunks.get(), "Ask not.", start=3.0)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.COMPLETED, language="en")
    monkeypatch.setattr(api, "_require_model", lambda _: retry_and_delete.delete_job(job_id=job.pk))
    answer = post(client, {"job_id": str(job.pk)})
    assert answer.status_code == 404
    assert not Summary.objects.exists()


def test_a_transcription_without_words_cannot_be_summarized(client: Client) -> None:
    job = make_job(diarize=False)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.COMPLETED)
    answer = post(client, {"job_id": str(job.pk)})
    assert answer.status_code == 409
    assert "no words" in answer.json()["detail"]


def test_a_transcription_under_way_cannot_be_summarized_yet(client: Client) -> None:
    answer = post(client, {"job_id": str(make_job(diarize=False).pk)})
    assert answer.status_code == 409
    assert "in progress" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "transcript"),
        ([], "dictionary"),
        ([SEGMENTS], "dictionary"),
        ("null", "No data"),
        ('"text"', "dictionary"),
        ("{", "JSON"),
        (b"\xff\xfe", "JSON"),
        ({"full_text": None}, "transcript"),
        ({"full_text": "  \n\t "}, "transcript"),
        ({"full_text": ["a"]}, "full_text"),
        ({"full_text": {"a": 1}}, "full_text"),
        ({"transcript": []}, "transcript"),
        ({"transcript": "words"}, "list"),
        ({"transcript": ["words"]}, "Segment 0"),
        ({"transcript": [{"start": 0, "end": 1, "text": None}]}, "Segment 0"),
        ({"transcript": [SEGMENTS[0], {"start": 0, "end": 1}]}, "Segment 1"),
        ({"transcript": [{"start": "0", "end": 1, "text": "a"}]}, "start"),
        ({"transcript": [{"start": -1, "end": 1, "text": "a"}]}, "start"),
        ({"transcript": [{"start": 2, "end": 1, "text": "a"}]}, "end must not be before start"),
        ({"transcript": [{"start": 0, "end": 10**400, "text": "a"}]}, "end"),
        ('{"full_text": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested"),
        ('{"transcript": [{"start": NaN, "end": 1, "text": "a"}]}', "JSON"),
        ('{"transcript": [{"start": 0, "end": 1e999, "text": "a"}]}', "end"),
        ({"transcript": [{"start": 0, "end": 1, "text": " "}]}, "words"),
        ({"transcript": SEGMENTS, "job_id": str(uuid4())}, "either"),
        ({"job_id": "garbage"}, "job_id"),
        ({"full_text": "a", "max_length": 0}, "max_length"),
        ({"full_text": "a", "max_length": 10_001}, "max_length"),
        ({"full_text": "a", "max_length": -5}, "max_length"),
        ({"full_text": "a", "max_length": 1.5}, "max_length"),
        ({"full_text": "a", "max_length": None}, "max_length"),
        ({"full_text": "a", "max_length": True}, "max_length"),
        ({"full_text": "a", "max_length": [5]}, "max_length"),
        ({"full_text": "a", "format": "poem"}, "format"),
        ({"full_text": "a", "format": None}, "format"),
        ({"full_text": "a", "format": ["paragraph"]}, "format"),
        ({"full_text": "a", "model_name": 5.5}, "model_name"),
        ({"full_text": "a", "model_name": None}, "model_name"),
        ({"full_text": "a", "model_name": "m" * 201}, "model_name"),
        ({"full_text": "a", "model_name": "gpt-99"}, "local-extractive"),
    ],
)
def test_an_invalid_request_is_refused_with_a_reason(
    client: Client, body: Any, expected: str
) -> None:
    answer = post(client, body)
    assert answer.status_code == 400, answer.content
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert detail
    assert expected in detail
    assert not Summary.objects.exists()


def test_a_body_of_ten_megabytes_is_too_large(client: Client) -> None:
    answer = post(client, {"full_text": "word " * (2 * 1024**2)})
    assert answer.status_code == 413
    assert answer.json()["detail"]


def test_characters_that_no_database_takes_are_removed(client: Client) -> None:
    assert post(client, r'{"full_text": "Some\u0000thing \ud800 was said."}').status_code == 200
    stored = json.dumps(Summary.objects.get().transcript)
    assert "\\u0000" not in stored
    assert "\\ud800" not in stored


@pytest.mark.usefixtures("provider")
def test_an_unknown_model_is_refused_with_the_names_of_known_ones(client: Client) -> None:
    answer = post(client, {"full_text": "Words.", "model_name": "gpt-99"})
    assert answer.status_code == 400
    assert "gpt-99" in answer.json()["detail"]
    assert MODEL in answer.json()["detail"]
    assert post(client, {"full_text": "Words.", "model_name": MODEL}).status_code == 200


def test_a_summary_is_accepted_while_the_provider_is_down(
    client: Client, settings: LazySettings
) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    answer = post(client, {"full_text": "Words.", "model_name": "gpt-4"})
    assert answer.status_code == 200, answer.content
    assert Summary.objects.get().model_name == "gpt-4"


# ---- Status and result


def test_a_running_summary_shows_its_progress(client: Client) -> None:
    summary = make_summary(
        state=Leased.State.DOING, message="Summarizing part 3/8 (21%)", progress=21
    )
    expected = {
        "job_id": str(summary.pk),
        "status": "processing",
        "message": "Summarizing part 3/8 (21%)",
        "progress": 21,
        "updated_at": summary.updated_at.timestamp(),
    }
    status = client.get(f"{URL}status/{summary.pk}")
    assert (status.status_code, status.json()) == (200, expected)
    result = client.get(f"{URL}{summary.pk}")
    assert (result.status_code, result.json()) == (202, expected)


def test_a_completed_summary_has_the_documented_shape(client: Client) -> None:
    summary = make_summary(
        state=Leased.State.DONE,
        summary="Short.",
        topics=["budget"],
        length=1,
        model_used=MODEL,
        progress=100,
        message=services.COMPLETED,
    )
    assert client.get(f"{URL}status/{summary.pk}").json()["status"] == "completed"
    answer = client.get(f"{URL}{summary.pk}")
    assert answer.status_code == 200
    assert answer.json() == {
        "summary": "Short.",
        "topics": ["budget"],
        "length": 1,
        "model_used": MODEL,
    }


def test_a_failed_summary_says_why(client: Client) -> None:
    summary = make_summary(state=Leased.State.FAILED, message="The provider refuses the key.")
    status = client.get(f"{URL}status/{summary.pk}").json()
    assert (status["status"], status["message"]) == ("failed", "The provider refuses the key.")
    answer = client.get(f"{URL}{summary.pk}")
    assert answer.status_code == 409
    assert "The provider refuses the key." in answer.json()["detail"]


@pytest.mark.parametrize("summary_id", [UNKNOWN_ID, "garbage", "1", "%00", "a" * 500])
@pytest.mark.parametrize("path", ["", "status/"])
def test_an_unknown_summary_is_not_found(client: Client, path: str, summary_id: str) -> None:
    answer = client.get(f"{URL}{path}{summary_id}")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Summary not found"}


def test_head_is_answered_like_get(client: Client) -> None:
    summary = make_summary()
    for path, status in ((f"status/{summary.pk}", 200), (str(summary.pk), 202), ("status/x", 404)):
        answer = client.head(URL + path)
        assert (answer.status_code, answer.content) == (status, b"")


def test_other_methods_are_not_allowed(client: Client) -> None:
    summary = make_summary()
    assert client.get(URL).status_code == 405
    assert client.delete(f"{URL}{summary.pk}").status_code == 405
    assert client.post(f"{URL}status/{summary.pk}").status_code == 405


def test_the_status_does_not_read_the_transcript(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    summary = make_summary()
    with django_assert_num_queries(1) as queries:
        assert client.get(f"{URL}status/{summary.pk}").status_code == 200
    assert "partials" not in queries[0]["sql"]
    assert '"transcript"' not in queries[0]["sql"]


def test_the_schema_describes_it_without_a_warning() -> None:
    written = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=written)
    assert "/api/summary/status/{job_id}" in written.getvalue()
    assert "SummaryResult" in written.getvalue()
