"""Every page in a real browser: nothing on it is forbidden by the policy that it comes with."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.urls import resolve, reverse
from playwright.async_api import Page, expect

from tests import UNKNOWN_ID
from tests.browser import opened
from tests.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]

PASSWORD = "not a common password"
CREATE_OPERATOR = f"""
from django.contrib.auth.models import User
User.objects.create_superuser("operator", password={PASSWORD!r})
"""
LEFT_OUT = ("logout", "schema")
"""What has no page of its own: it signs out, or is a file."""


@pytest.fixture(scope="module")
def job_id(service: Service, audio_dir: Path) -> str:
    job_id = service.upload(audio_dir / "jfk.flac")
    service.finished(job_id)
    service.run("django", "shell", "--command", CREATE_OPERATOR)
    return job_id


async def test_no_page_does_what_its_policy_forbids(service: Service, job_id: str) -> None:
    async with opened(service.url) as page:
        await _sign_in(page)
        visited = await _follow_links(page, ["/app/", "/admin/", f"/app/jobs/{job_id}/"])
    lists = {
        f"{model._meta.app_label}_{model._meta.model_name}_changelist"
        for model in admin.site._registry
    }
    own = {"app", "review", "docs", "index", "password_change"}
    of_a_job = {f"transcription_job_{page}" for page in ("change", "history", "delete")}
    assert lists | own | of_a_job <= visited


@pytest.mark.parametrize(
    ("script", "forbidden"),
    [
        ("document.body.setAttribute('style', 'color: red')", "inline style"),
        ("document.body.innerHTML = '<img src=x: onerror=1>'", "inline event handler"),
        (
            "document.body.append(Object.assign(document.createElement('script'), {text: '1'}))",
            "inline script",
        ),
    ],
)
async def test_a_violation_is_noticed(service: Service, script: str, forbidden: str) -> None:
    """Else the tests of pages would prove nothing."""

    async def violate() -> None:
        async with opened(service.url) as page:
            await page.goto("/app/")
            await page.evaluate(script)

    expected = f"{forbidden} violates the following Content Security Policy"
    with pytest.raises(AssertionError, match=expected):
        await violate()


async def test_pages_of_what_is_not_there_keep_to_it_too(service: Service) -> None:
    async with opened(service.url, but="status of 404") as page:
        await page.goto(f"/app/jobs/{UNKNOWN_ID}/")
        await expect(page.get_by_text("There is no such recording")).to_be_visible()


async def test_the_api_can_be_tried_on_its_documentation(service: Service) -> None:
    async with opened(service.url) as page:
        await page.goto("/api/docs")
        await (
            page.locator("#operations-service-health_retrieve").get_by_role("button").first.click()
        )
        await page.get_by_role("button", name="Try it out").click()
        await page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table .response-col_description pre").first
        await expect(answer).to_contain_text("healthy")


async def _sign_in(page: Page) -> None:
    await page.goto("/admin/login/?next=/admin/")
    await page.get_by_label("Username").fill("operator")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(re.compile(re.escape(reverse("admin:index")) + "$"))


async def _follow_links(page: Page, paths: list[str]) -> set[str]:
    """The names of all pages that links lead to, from these on; one of each kind is opened."""
    visited: set[str] = set()
    while paths:
        path = paths.pop()
        name = resolve(urlsplit(path).path).url_name or ""
        if name in visited or name in LEFT_OUT:
            continue
        visited.add(name)
        answer = await page.request.get(path)
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        assert answer.ok, path
        await page.goto(path)
        await page.wait_for_load_state("networkidle")
        links = "[...document.links].filter((a) => a.origin === location.origin).map((a) => a.href)"
        found: list[str] = json.loads(await page.evaluate(f"JSON.stringify({links})"))
        paths += [
            urlsplit(link)._replace(scheme="", netloc="", fragment="").geturl() for link in found
        ]
    return visited
