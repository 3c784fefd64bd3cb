"""Requests that the Chat API accepts and rejects, with the built-in model."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from tests.chat.fault_server import FaultServer
from tests.transcription.builders import add_segment, make_job
from transcription.models import Job

CHAT = "/api/chat/"
TRANSCRIPT = [
    {"start": 0.0, "end": 2.0, "text": "The budget was approved in March.", "speaker": "SPEAKER_1"},
    {"start": 72.5, "end": 75.0, "text": "We hired two engineers.", "speaker": "SPEAKER_2"},
]
QUESTION = [{"role": "user", "content": "When was the budget approved?"}]

pytestmark = pytest.mark.django_db


def ask(client: Client, **changes: Any) -> Any:
    body = {"transcript": TRANSCRIPT, "messages": QUESTION, **changes}
    body = {name: value for name, value in body.items() if value is not ...}
    return client.post(CHAT, body, content_type="application/json")


def completed_job(*texts: str) -> Job:
    job = make_job(diarize=False)
    for index, text in enumerate(texts):
        add_segment(job.chunks.get(), text, start=10.0 * index)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.COMPLETED, language="en")
    return job


# ---- Answers


def test_a_question_is_answered_in_the_documented_shape(client: Client) -> None:
    answer = ask(client)
    assert answer.status_code == 200, answer.content
    document = answer.json()
    assert set(document) == {"message", "model_used", "usage", "citations", "finish_reason"}
    assert document["message"]["role"] == "assistant"
    assert "[00:00:00] SPEAKER_1" in document["message"]["content"]
    assert "approved in March" in document["message"]["content"]
    assert document["model_used"] == "local-extractive"
    usage = document["usage"]
    assert usage["prompt"] > 0
    assert usage["completion"] > 0
    assert usage["total"] == usage["prompt"] + usage["completion"]
    assert document["citations"] == [TRANSCRIPT[0]]


@pytest.mark.parametrize("name", ["gpt-3.5-turbo", "local-extractive", "", ...])
def test_without_a_provider_the_documented_default_is_served_by_the_built_in_model(
    client: Client, name: Any
) -> None:
    assert ask(client, model_name=name).json()["model_used"] == "local-extractive"


def test_a_text_without_times_is_quoted_without_times(client: Client) -> None:
    text = "The budget was approved in March. Nobody spoke of holidays."
    document = ask(client, transcript=..., full_text=text).json()
    [citation] = document["citations"]
    assert citation["start"] is citation["end"] is citation["speaker"] is None
    assert "approved in March" in citation["text"]


def test_segments_may_come_in_any_order_with_more_than_is_needed(client: Client) -> None:
    more = [{**segment, "id": 7, "start_display": "x", "words": []} for segment in TRANSCRIPT]
    document = ask(
        client, transcript=more[::-1], full_text="The budget was approved in May."
    ).json()
    assert document["citations"] == [TRANSCRIPT[0]]


def test_a_completed_job_is_asked_about_by_its_id(client: Client) -> None:
    job = completed_job("The budget was approved in March.", "We hired two engineers.")
    document = ask(client, transcript=..., job_id=str(job.pk)).json()
    assert [citation["text"] for citation in document["citations"]] == [
        "The budget was approved in March."
    ]


def test_nul_and_lone_surrogates_do_no_harm(client: Client) -> None:
    odd = [{"start": 0, "end": 1, "text": "The budget\x00 was \ud800 approved.", "speaker": None}]
    body = json.dumps({"transcript": odd, "messages": QUESTION})
    answer = client.post(CHAT, body, content_type="application/json")
    assert answer.status_code == 200, answer.content
    assert "approved" in answer.json()["message"]["content"]


# ---- Rejected requests


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"transcript": ...}, "Send a transcript"),
        ({"transcript": [], "full_text": "  "}, "Send a transcript"),
        ({"transcript": None}, "Send a transcript"),
        ({"job_id": str(uuid4())}, "either a transcript or a job_id"),
        ({"transcript": ..., "job_id": "17"}, "job_id: "),
        ({"transcript": [{"start": 0, "end": 1, "text": "  "}]}, "no words"),
        ({"transcript": "text"}, "transcript: Send a list"),
        ({"transcript": ["text"]}, "Segment 0: "),
        ({"transcript": [*TRANSCRIPT, {"start": 0, "end": 1}]}, "Segment 2: "),
        ({"transcript": [{"start": "0", "end": 1, "text": "a"}]}, "start must be a number"),
        ({"transcript": [{"start": True, "end": 1, "text": "a"}]}, "start must be a number"),
        ({"transcript": [{"start": -1, "end": 1, "text": "a"}]}, "start must be a number"),
        ({"transcript": [{"start": 2, "end": 1, "text": "a"}]}, "end must not be before start"),
        ({"transcript": [{"start": 0, "end": 1, "text": "a", "speaker": 2}]}, "speaker must be"),
        ({"messages": ...}, "messages: This field is required"),
        ({"messages": []}, "messages: "),
        ({"messages": "hello"}, "messages: "),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content: "),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages[0].content: "),
        ({"messages": [{"role": "user"}]}, "messages[0].content: "),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role: "),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "a"}]}, "last message"),
        ({"temperature": 2.1}, "temperature: "),
        ({"temperature": -0.1}, "temperature: "),
        ({"temperature": "nan"}, "temperature: "),
        ({"temperature": "warm"}, "temperature: "),
        ({"max_tokens": 0}, "max_tokens: "),
        ({"max_tokens": 1.5}, "max_tokens: "),
        ({"max_tokens": 10**9}, "max_tokens: "),
        ({"stream": "perhaps"}, "stream: "),
        ({"model_name": "gpt-9"}, "local-extractive"),
        ({"model_name": "x" * 1000}, "model_name: "),
    ],
)
def test_an_invalid_request_is_rejected_with_the_reason(
    client: Client, changes: dict[str, Any], expected: str
) -> None:
    answer = ask(client, **changes)
    assert answer.status_code == 400, answer.content
    assert list(answer.json()) == ["detail"]
    assert expected in answer.json()["detail"]


@pytest.mark.parametrize(
    "body", ['["a"]', '"a"', "null", "{", "", '{"transcript": [{"start": NaN, "text": "a"}]}']
)
def test_a_body_that_is_no_json_object_is_rejected(client: Client, body: str) -> None:
    answer = client.post(CHAT, body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_a_body_of_ten_megabytes_is_too_large(client: Client) -> None:
    answer = ask(client, transcript=..., full_text="word " * 2_000_000)
    assert answer.status_code == 413
    assert "8,388,608 bytes" in answer.json()["detail"]


def test_an_unknown_job_is_not_found(client: Client) -> None:
    answer = ask(client, transcript=..., job_id=str(uuid4()))
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Transcription job not found or expired"}


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled"])
def test_a_job_without_a_full_transcript_is_a_conflict(client: Client, status: str) -> None:
    job = completed_job("Half of it.")
    Job.objects.filter(pk=job.pk).update(status=status)
    answer = ask(client, transcript=..., job_id=str(job.pk))
    assert answer.status_code == 409
    assert ("in progress" if status in Job.ACTIVE else status) in answer.json()["detail"]


def test_a_job_in_which_nobody_spoke_is_a_conflict(client: Client) -> None:
    answer = ask(client, transcript=..., job_id=str(completed_job().pk))
    assert answer.status_code == 409
    assert "no words" in answer.json()["detail"]


# ---- The list of models


def test_without_a_provider_the_built_in_model_is_listed(client: Client) -> None:
    [model] = client.get("/api/chat/models").json()["models"]
    assert set(model) == {"id", "name", "description"}
    assert model["id"] == "local-extractive"
    assert "quotes" in model["description"]


# ---- The provider's address


@pytest.mark.parametrize("field", ["base_url", "api_base", "api_key"])
@pytest.mark.parametrize("path", [CHAT, "/api/summary/"])
def test_a_request_cannot_choose_the_provider(client: Client, field: str, path: str) -> None:
    """Else whoever may ask could have this machine call any address of its network."""
    with FaultServer() as server:
        body = {"transcript": TRANSCRIPT, "messages": QUESTION, field: server.url}
        answer = client.post(path, body, content_type="application/json")
        assert answer.status_code == 400
        assert f"{field}: Requests cannot choose the provider" in answer.json()["detail"]
        assert (server.requests, server.n_listings) == ([], 0)
