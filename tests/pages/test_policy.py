"""Every page in a real browser: nothing on it is forbidden by the policy that it comes with."""

from pathlib import Path

import pytest
from django.contrib import admin
from playwright.async_api import expect

from tests import UNKNOWN_ID
from tests.browser import opened
from tests.pages import operator
from tests.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]


@pytest.fixture(scope="module")
def job_id(service: Service, audio_dir: Path) -> str:
    job_id = service.upload(audio_dir / "jfk.flac")
    service.finished(job_id)
    operator.create(service)
    return job_id


async def test_no_page_does_what_its_policy_forbids(service: Service, job_id: str) -> None:
    async with opened(service.url) as page:
        await operator.sign_in(page)
        paths = ["/app/", "/admin/", f"/app/jobs/{job_id}/"]
        visited = {name async for name in operator.follow_links(page, paths)}
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
