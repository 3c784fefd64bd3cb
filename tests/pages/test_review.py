"""The review page: suspects are stepped through, segments are split and merged."""

from pathlib import Path

import pytest
from playwright.async_api import expect

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
