"""A share link shows one recording to whoever has it, and nothing else."""

import logging
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.http import SimpleCookie
from django.test import Client
from django.utils import timezone

from tests import UNKNOWN_ID
from tests.transcription.builders import make_ended_job
from tests.transcription.sharing.conftest import give
from transcriber_site.logs import LineFormatter
from transcription.models import Job, ShareLink
from transcription.sharing import links

pytestmark = pytest.mark.django_db

JSON = "application/json"


def make(client: Client, job: Job, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/api/transcribe/links/{job.pk}", body, content_type=JSON)
    assert answer.status_code == 200, answer.content
    link: dict[str, Any] = answer.json()
    return link


def open_link(link: dict[str, Any], client: Client | None = None) -> Client:
    """A browser that has opened a link."""
    visitor = client or Client()
    assert visitor.get(link["url"]).status_code == 302
    return visitor


def result_of(visitor: Client, job: Job) -> int:
    return visitor.get(f"/api/transcribe/result/{job.pk}").status_code


SHOWN = [
    "/app/jobs/{job}/",
    "/app/jobs/{job}/playable",
    "/api/transcribe/status/{job}",
    "/api/transcribe/result/{job}?words=true",
    "/api/transcribe/export/{job}?format=srt",
]
NOT_SHOWN = [
    "/app/",
    "/app/jobs/{job}/row",
    "/api/transcribe/jobs",
    "/api/transcribe/debug/{job}",
    "/api/transcribe/edits/{job}",
    "/api/transcribe/suspects/{job}",
    "/api/transcribe/segments/{segment}",
    "/api/transcribe/shares/{job}",
    "/api/transcribe/links/{job}",
    "/api/retranslate/?job_id={job}",
    "/api/chat/models",
]


def paths(job: Job, templates: list[str]) -> list[str]:
    segment = job.segments.first()
    assert segment is not None
    return [template.format(job=job.pk, segment=segment.pk) for template in templates]


def test_a_link_shows_the_review_page_and_what_it_loads_and_nothing_else(
    as_anna: Client, job: Job
) -> None:
    visitor = open_link(make(as_anna, job))
    # Where pages lead to the sign-in, htmx gets a plain 401.
    headers = {"HX-Request": "true"}
    assert {path: visitor.get(path).status_code for path in paths(job, SHOWN)} == dict.fromkeys(
        paths(job, SHOWN), 200
    )
    for path in paths(job, NOT_SHOWN):
        answer = visitor.get(path, headers=headers)
        assert answer.status_code == 401, path
        assert b"trawberry" not in answer.content


def test_audio_and_peaks_are_shown_too(as_anna: Client, job: Job) -> None:
    """The recording of these rows has no files: what a link does not show is a 401, what is not there a 404."""
    visitor = open_link(make(as_anna, job))
    for name in ("audio", "peaks"):
        path = f"/app/jobs/{job.pk}/{name}"
        assert visitor.get(path).status_code == 404
        assert Client().get(path, headers={"HX-Request": "true"}).status_code == 401


def test_a_link_changes_nothing(as_anna: Client, job: Job) -> None:
    visitor = open_link(make(as_anna, job, allows_chat=True))
    segment = job.segments.first()
    assert segment is not None
    for answer in (
        visitor.delete(f"/api/transcribe/jobs/{job.pk}"),
        visitor.post(f"/api/transcribe/cancel/{job.pk}"),
        visitor.post(f"/api/transcribe/diarize/{job.pk}"),
        visitor.post(f"/app/jobs/{job.pk}/delete"),
        visitor.patch(f"/api/transcribe/segments/{segment.pk}", {"text": "No."}, content_type=JSON),
        visitor.post("/api/summary/", {"job_id": str(job.pk)}, content_type=JSON),
        visitor.post(f"/api/transcribe/links/{job.pk}", {}, content_type=JSON),
        visitor.post(f"/api/transcribe/result/{job.pk}"),
    ):
        assert answer.status_code in (401, 405)
    segment.refresh_from_db()
    assert segment.text == "Strawberry fields."
    assert Job.objects.filter(pk=job.pk).exists()


def test_a_link_shows_no_other_recording(as_anna: Client, anna: User, job: Job) -> None:
    other = give(make_ended_job("Penny lane."), anna)
    visitor = open_link(make(as_anna, job))
    shown, unknown = (
        visitor.get(f"/api/transcribe/result/{each}") for each in (other.pk, UNKNOWN_ID)
    )
    assert shown.status_code == unknown.status_code == 404
    assert shown.content == unknown.content


def test_a_browser_may_open_several_links(as_anna: Client, anna: User, job: Job) -> None:
    other = give(make_ended_job("Penny lane."), anna)
    visitor = open_link(make(as_anna, other), open_link(make(as_anna, job)))
    assert result_of(visitor, job) == result_of(visitor, other) == 200


def test_who_is_signed_in_sees_their_own_and_what_a_link_shows(
    as_anna: Client, as_ben: Client, ben: User, job: Job
) -> None:
    own = give(make_ended_job("Mine."), ben)
    open_link(make(as_anna, job), as_ben)
    assert result_of(as_ben, job) == result_of(as_ben, own) == 200
    listed = as_ben.get("/api/transcribe/jobs").json()["jobs"]
    assert [each["job_id"] for each in listed] == [str(own.pk)]
    segment = job.segments.first()
    assert segment is not None
    path = f"/api/transcribe/segments/{segment.pk}"
    answer = as_ben.patch(path, {"text": "No.", "was": {"text": ""}}, content_type=JSON)
    assert answer.status_code == 404


# ---- Tokens and cookies


def test_the_token_is_stored_hashed_and_shown_once(as_anna: Client, job: Job) -> None:
    link = make(as_anna, job, note="For the lawyer")
    token = link["url"].rpartition("/")[2]
    assert len(token) >= 22  # 128 bits in base64
    row = ShareLink.objects.get()
    assert row.token_hash == links.hash_token(token)
    assert token not in str([getattr(row, field.attname) for field in row._meta.fields])
    listed = as_anna.get(f"/api/transcribe/links/{job.pk}")
    assert listed.json()["links"] == [{name: link[name] for name in link if name != "url"}]
    assert token not in listed.content.decode()
    assert make(as_anna, job)["url"] != link["url"]


def test_the_first_visit_exchanges_the_token_for_a_cookie(as_anna: Client, job: Job) -> None:
    link = make(as_anna, job)
    answer = Client().get(link["url"])
    assert answer.status_code == 302
    assert answer["Location"] == f"/app/jobs/{job.pk}/"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer["Cache-Control"]
    (cookie,) = answer.cookies.values()
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert not cookie["secure"]
    assert 29 * 86400 < cookie["max-age"] <= 30 * 86400
    assert link["url"].rpartition("/")[2] not in cookie.OutputString()


def test_the_cookie_is_sent_over_https_alone_if_it_came_so(as_anna: Client, job: Job) -> None:
    answer = Client().get(make(as_anna, job)["url"], secure=True)
    (cookie,) = answer.cookies.values()
    assert cookie["secure"]


def test_a_cookie_that_was_not_signed_here_shows_nothing(as_anna: Client, job: Job) -> None:
    visitor = open_link(make(as_anna, job))
    (name,) = (name for name in visitor.cookies if name.startswith(links.COOKIE))
    signed = visitor.cookies[name].value
    other = uuid4().hex
    for forged in (
        ShareLink.objects.get().pk.hex,
        re.sub(r"^.{32}", other, signed),
        signed[:-1],
        "a.b:c",
        "",
    ):
        visitor.cookies = SimpleCookie({name: forged})
        assert result_of(visitor, job) == 401
    visitor.cookies = SimpleCookie({name: signed})
    assert result_of(visitor, job) == 200


def test_a_browser_keeps_the_cookies_of_the_latest_links(
    as_anna: Client, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MAX_COOKIES", 3)
    visitor, now = Client(), timezone.now()
    jobs = [give(make_ended_job(f"Number {number}."), anna) for number in range(5)]
    for number, each in enumerate(jobs):
        later = now + timedelta(seconds=number)
        monkeypatch.setattr(timezone, "now", lambda later=later: later)
        open_link(make(as_anna, each), visitor)
    assert [result_of(visitor, each) for each in jobs] == [404, 404, 200, 200, 200]


@pytest.mark.parametrize("token", ["x", "a" * 43, "%00", "ü"])
def test_a_link_that_never_was_leads_nowhere(client: Client, token: str) -> None:
    answer = client.get(f"/app/shared/{token}")
    assert answer.status_code == 404
    assert "This link does not work" in answer.content.decode()
    assert answer["Referrer-Policy"] == "no-referrer"
    assert not [name for name in answer.cookies if name.startswith(links.COOKIE)]


# ---- The end of a link


def test_a_revoked_link_shows_nothing_not_even_where_it_was_opened(
    as_anna: Client, job: Job
) -> None:
    link = make(as_anna, job)
    visitor = open_link(link)
    path = f"/api/transcribe/links/{job.pk}/{link['id']}"
    assert as_anna.delete(path).status_code == 204
    assert result_of(visitor, job) == 401
    assert Client().get(link["url"]).status_code == 404
    assert as_anna.get(f"/api/transcribe/links/{job.pk}").json() == {"links": [], "count": 0}
    again = as_anna.delete(path)
    assert again.status_code == 404
    assert again.json() == {"detail": "There is no such link, or it was revoked before."}


def test_a_link_ends_with_its_days(as_anna: Client, job: Job) -> None:
    link = make(as_anna, job, days=1)
    visitor = open_link(link)
    assert result_of(visitor, job) == 200
    ShareLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert result_of(visitor, job) == 401
    assert Client().get(link["url"]).status_code == 404


def test_the_links_of_a_person_who_may_not_sign_in_show_nothing(
    as_anna: Client, anna: User, job: Job
) -> None:
    link = make(as_anna, job)
    visitor = open_link(link)
    User.objects.filter(pk=anna.pk).update(is_active=False)
    assert result_of(visitor, job) == 401
    assert Client().get(link["url"]).status_code == 404


@pytest.mark.parametrize("days", [0, -1, 366, "x"])
def test_a_link_lasts_from_a_day_to_a_year(as_anna: Client, job: Job, days: object) -> None:
    path = f"/api/transcribe/links/{job.pk}"
    answer = as_anna.post(path, {"days": days}, content_type=JSON)
    assert answer.status_code == 400
    assert "days: " in answer.json()["detail"]
    assert not ShareLink.objects.exists()


def test_a_link_is_asked_for_with_a_form_too(as_anna: Client, job: Job) -> None:
    answer = as_anna.post(f"/api/transcribe/links/{job.pk}", {"days": "7", "note": "For curl"})
    assert answer.status_code == 200
    link = ShareLink.objects.get()
    assert link.note == "For curl"
    assert not link.allows_chat
    assert timedelta(days=6) < link.expires_at - timezone.now() <= timedelta(days=7)


def test_only_the_owner_makes_and_revokes_links(
    as_anna: Client, as_ben: Client, ben: User, job: Job
) -> None:
    link = make(as_anna, job)
    path = f"/api/transcribe/links/{job.pk}"
    assert as_ben.post(path, {}, content_type=JSON).status_code == 404
    assert as_ben.delete(f"{path}/{link['id']}").status_code == 404
    shares = f"/api/transcribe/shares/{job.pk}"
    as_anna.post(shares, {"user": "ben", "role": "editor"}, content_type=JSON)
    assert as_ben.get(path).status_code == 403
    assert as_ben.post(path, {}, content_type=JSON).status_code == 403
    assert as_ben.delete(f"{path}/{link['id']}").status_code == 403
    other = give(make_ended_job("Mine."), ben)
    assert as_ben.delete(f"/api/transcribe/links/{other.pk}/{link['id']}").status_code == 404
    assert ShareLink.objects.get().revoked_at is None


# ---- Questions


def ask(visitor: Client, **about: str) -> Any:
    body = {"messages": [{"role": "user", "content": "Which fields?"}], **about}
    return visitor.post("/api/chat/", body, content_type=JSON)


def test_questions_may_be_asked_if_the_link_allows_it(as_anna: Client, job: Job) -> None:
    without = open_link(make(as_anna, job))
    assert ask(without, job_id=str(job.pk)).status_code == 401
    facts = without.get(f"/app/jobs/{job.pk}/").context["facts"]
    assert not facts["can_chat"]
    allowed = open_link(make(as_anna, job, allows_chat=True))
    assert allowed.get("/api/chat/models").status_code == 200
    answer = ask(allowed, job_id=str(job.pk))
    assert answer.status_code == 200, answer.content
    assert allowed.get(f"/app/jobs/{job.pk}/").context["facts"]["can_chat"]


def test_a_link_asks_about_its_recording_alone(as_anna: Client, anna: User, job: Job) -> None:
    other = give(make_ended_job("Penny lane."), anna)
    visitor = open_link(make(as_anna, job, allows_chat=True))
    assert ask(visitor, job_id=str(other.pk)).status_code == 404
    refused = ask(visitor, full_text="Whatever a stranger wants to have read by the model.")
    assert refused.status_code == 403
    assert "send its job_id" in refused.json()["detail"]


# ---- The page


def test_the_page_of_a_link_offers_nothing_that_would_be_refused(as_anna: Client, job: Job) -> None:
    page = open_link(make(as_anna, job)).get(f"/app/jobs/{job.pk}/")
    facts = page.context["facts"]
    names = ("can_change", "can_share", "can_chat", "is_owner")
    assert {name: facts[name] for name in names} == dict.fromkeys(names, False)
    assert facts["is_link"]
    html = page.content.decode()
    for absent in (
        'id="diarize"',
        'id="share"',
        'data-do="edit"',
        'data-do="more"',
        'value="remove"',
    ):
        assert absent not in html


# ---- Nothing keeps the token


def test_no_line_of_the_log_holds_a_token(
    as_anna: Client, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the level DEBUG, and whatever goes wrong with the request."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.setFormatter(LineFormatter())
    monkeypatch.setattr(handler, "emit", lambda record: lines.append(handler.format(record)))
    loggers = [logging.getLogger(name) for name in ("", "django", "django.request")]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        link = make(as_anna, job)
        path = link["url"].partition("testserver")[2]
        visitor = Client(raise_request_exception=False)
        visitor.get(path)
        visitor.get(f"{path}/")
        visitor.post(path)
        beside = visitor.get(f"{path}/beside")
        with monkeypatch.context() as broken:
            broken.setattr(links, "hash_token", None)
            assert visitor.get(path).status_code == 500
        logging.getLogger("daphne").error("HTTP request for %s", path)
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    token = path.rpartition("/")[2]
    assert sum("/app/shared/…" in line for line in lines) == 3
    assert not [line for line in lines if token in line]
    assert token not in beside.content.decode()
