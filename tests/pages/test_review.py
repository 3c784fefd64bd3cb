"""The review page: suspects are stepped through, segments are edited, split and merged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser import opened
from tests.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]


@pytest.fixture
def job_id(service: Service, audio_dir: Path) -> str:
    job_id = service.upload(audio_dir / "2412-153948-0000.flac")
    service.finished(job_id)
    return job_id


async def test_suspects_are_stepped_through(service: Service, job_id: str) -> None:
    service.query(
        "update transcription_segment set avg_logprob = -1.5 where job_id = %s",
        job_id.replace("-", ""),
    )
    suspects = service.client.get(f"/api/transcribe/suspects/{job_id}").json()["suspects"]
    assert suspects
    async with opened(service.url) as page:
        await page.goto(f"/app/jobs/{job_id}/")
        count = "1 passage" if len(suspects) == 1 else f"{len(suspects)} passages"
        await expect(page.locator("#suspects-count")).to_have_text(f"{count} to check")
        await page.keyboard.press("n")
        await expect(page.locator("#suspect-here")).to_contain_text("the model was unsure")
        here = page.locator(f".segment[data-id='{suspects[0]['segment_id']}']")
        await expect(here).to_be_focused()
        await page.keyboard.press("r")
        await expect(page.get_by_role("dialog", name="Transcribe again")).to_be_visible()


async def test_a_segment_is_split_and_merged(service: Service, job_id: str) -> None:
    async with opened(service.url) as page:
        await page.goto(f"/app/jobs/{job_id}/")
        said = page.locator("#segments .said")
        await said.first.wait_for()
        before = await said.all_inner_texts()
        await said.first.dblclick()
        field = page.get_by_label("Text of the segment")
        await field.press("Home")
        for _ in range(before[0].index(" ")):
            await field.press("ArrowRight")
        await field.press("Control+Enter")
        await expect(said).to_have_count(len(before) + 1)
        await expect(field).to_be_focused()  # of the second half
        await field.press("Escape")
        first, second = (await said.all_inner_texts())[:2]
        assert f"{first} {second}" == before[0]
        assert first == before[0].split()[0]

        await said.nth(1).dblclick()
        await field.press("Home")
        await field.press("Backspace")
        await expect(said).to_have_count(len(before))
        await expect(field).to_be_focused()  # of the whole
        await field.press("Escape")
        await expect(said).to_have_text(before)


@pytest.fixture
def conversation_id(service: Service, audio_dir: Path) -> str:
    job_id = service.upload(audio_dir / "conversation" / "sample.flac")
    service.finished(job_id)
    return job_id


@asynccontextmanager
async def held(page: Page, method: str, path: str, *, status: int = 0) -> AsyncIterator[None]:
    """Requests wait for the end of the block; with a `status` they are answered so, and never reach the service."""
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method != method:
            await route.fallback()
            return
        await released.wait()
        await (
            route.fulfill(status=status, json={"detail": "No."}) if status else route.continue_()
        )

    await page.route(path, hold)
    yield
    async with page.expect_response(lambda response: response.request.method == method):
        released.set()
    await page.unroute(path)


async def test_an_editor_that_was_left_while_saving_does_not_close_the_next(
    service: Service, conversation_id: str
) -> None:
    async with opened(service.url) as page:
        await page.goto(f"/app/jobs/{conversation_id}/")
        said = page.locator("#segments .said")
        field = page.get_by_label("Text of the segment")
        await said.first.dblclick()
        await field.fill("The first text.")
        async with held(page, "PATCH", "**/api/transcribe/segments/*"):
            await field.press("Enter")
            await field.press("Escape")
            await said.nth(1).dblclick()
            await field.fill("The second text.")
        await expect(said.first).to_have_text("The first text.")
        await expect(field).to_have_value("The second text.")
        await expect(field).to_be_focused()
        await field.press("Enter")
        await expect(said.nth(1)).to_have_text("The second text.")
        assert service.result(conversation_id)["text"].startswith(
            "The first text. The second text."
        )


async def test_text_that_is_rejected_after_its_editor_was_left_can_be_restored(
    service: Service, conversation_id: str
) -> None:
    async with opened(service.url, but="status of 503") as page:
        await page.goto(f"/app/jobs/{conversation_id}/")
        said = page.locator("#segments .said")
        field = page.get_by_label("Text of the segment")
        await said.first.dblclick()
        await field.fill("The first text.")
        async with held(page, "PATCH", "**/api/transcribe/segments/*", status=503):
            await field.press("Enter")
            await field.press("Escape")
            await said.nth(1).dblclick()
            await field.fill("The second text.")
        await expect(field).to_have_value("The second text.")
        notice = page.locator(".notice", has_text="Your text was not saved: No.")
        await notice.get_by_role("button", name="Restore").click()
        await expect(said.nth(1)).to_have_text("The second text.")
        await expect(field).to_have_value("The first text.")


async def test_a_segment_that_is_opened_while_another_is_being_saved_waits_for_it(
    service: Service, conversation_id: str
) -> None:
    async with opened(service.url) as page:
        await page.goto(f"/app/jobs/{conversation_id}/")
        said = page.locator("#segments .said")
        field = page.get_by_label("Text of the segment")
        second = await said.nth(1).inner_text()
        await said.first.dblclick()
        await field.fill("The first text.")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        async with held(page, "PATCH", "**/api/transcribe/segments/*"):
            await field.press("Enter")
            await said.nth(1).dblclick()
        await expect(field).to_have_value(second)
        assert sent.count("PATCH") == 1
        await expect(said.first).to_have_text("The first text.")


async def test_stepping_through_suspects_goes_on_where_the_user_was(
    service: Service, conversation_id: str
) -> None:
    without_speech = "update transcription_chunk set speech = '[]' where job_id = %s"
    service.query(without_speech, conversation_id.replace("-", ""))
    suspects = service.client.get(f"/api/transcribe/suspects/{conversation_id}").json()["suspects"]
    n = len(suspects)
    second, third = (f".segment[data-id='{suspect['segment_id']}']" for suspect in suspects[1:3])
    async with opened(service.url) as page:
        await page.goto(f"/app/jobs/{conversation_id}/")
        here = page.locator("#suspect-here")
        await expect(page.locator("#suspects-count")).to_have_text(f"{n} passages to check")
        await page.keyboard.press("n")
        await expect(here).to_contain_text(f"1 of {n}")
        await page.keyboard.press("n")
        await expect(page.locator(second)).to_be_focused()
        await page.keyboard.press("Enter")
        field = page.get_by_label("Text of the segment")
        await field.fill("Checked by a person.")
        await field.press("Enter")
        await expect(page.locator("#suspects-count")).to_have_text(f"{n - 1} passages to check")
        await expect(here).to_be_empty()  # the segment is no suspect any more
        await page.keyboard.press("n")
        await expect(page.locator(third)).to_be_focused()
        await expect(here).to_contain_text(f"2 of {n - 1}")

        await page.keyboard.press("Control+z")
        await expect(here).to_contain_text(f"3 of {n}")
        await page.keyboard.press("Shift+N")
        await expect(page.locator(second)).to_be_focused()
