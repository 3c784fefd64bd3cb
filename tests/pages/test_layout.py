"""The pages at every size, in both colour schemes, for those who see and those who do not."""

from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from tests.browser import opened
from tests.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]

SMALL, LARGE = {"width": 360, "height": 740}, {"width": 1920, "height": 1080}


@pytest.fixture(scope="module")
def job_id(service: Service, audio_dir: Path) -> str:
    job_id = service.upload(audio_dir / "conversation" / "sample.flac", diarize="true")
    service.finished(job_id)
    return job_id


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["360", "1920"])
async def test_all_fits_and_can_be_read(
    service: Service, job_id: str, size: dict[str, int], scheme: str
) -> None:
    async with opened(service.url, viewport=size, color_scheme=scheme) as page:
        await page.goto("/app/?q=jersey")
        await expect(page.locator("[data-job]").first).to_contain_text("New Jersey")
        await _check(page)

        await page.goto(f"/app/jobs/{job_id}/")
        await expect(page.locator("#segments .segment").first).to_be_visible()
        await expect(page.locator("#play")).to_be_enabled()
        await _check(page)
        for name in ("Chat", "History", "Summary"):
            await page.get_by_role("tab", name=name).click()
            await expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
            await _check(page)
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        await _check(page)


async def _check(page: Page) -> None:
    """Nothing is wider than the window, and axe finds nothing that keeps somebody out."""
    wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wider <= 0
    found = await Axe().run(page)
    violations = [
        f"{one['id']}: {one['nodes'][0]['html']}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert violations == []


async def test_a_recording_is_reviewed_with_the_keyboard_alone(
    service: Service, job_id: str
) -> None:
    async with opened(service.url) as page:
        await page.goto("/app/")
        link = page.locator("[data-job]").get_by_role("link", name="sample.flac").first
        await _tab_to(page, link)
        await page.keyboard.press("Enter")
        await expect(page.locator("#play")).to_be_enabled()
        await page.keyboard.press(" ")
        await expect(page.locator("#now")).to_have_text("0:01")
        await page.keyboard.press("k")

        await page.keyboard.press("ArrowDown")
        selected = page.locator("#segments .segment.selected")
        await expect(selected).to_be_focused()
        said = await selected.locator(".said").inner_text()
        await page.keyboard.press("Enter")
        field = page.get_by_label("Text of the segment")
        await expect(field).to_be_focused()
        await page.keyboard.press("ControlOrMeta+a")
        await page.keyboard.type("Jackals like to play.")
        await expect(page.locator("#play")).to_have_accessible_name("Play")
        await page.keyboard.press("Enter")
        await expect(selected.locator(".said")).to_have_text("Jackals like to play.")
        await expect(selected).to_be_focused()
        await page.keyboard.press("Control+z")
        await expect(selected.locator(".said")).to_have_text(said)

        await page.keyboard.press("s")
        dialog = page.get_by_role("dialog", name="Who speaks here?")
        await expect(dialog).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(selected).to_be_focused()


async def _tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("It cannot be reached with the Tab key.")


async def test_two_tabs_do_not_overwrite_each_other(service: Service, job_id: str) -> None:
    conflict = "the server responded with a status of 409"
    async with opened(service.url, but=conflict) as mine, opened(service.url) as theirs:
        for page in (mine, theirs):
            await page.goto(f"/app/jobs/{job_id}/")
            await page.locator("#segments .said").nth(2).dblclick()
        field = theirs.get_by_label("Text of the segment")
        await field.fill("Theirs.")
        await field.press("Enter")
        await expect(theirs.locator("#segments .said").nth(2)).to_have_text("Theirs.")

        field = mine.get_by_label("Text of the segment")
        await field.fill("Mine.")
        await field.press("Enter")
        await expect(mine.locator(".conflict-theirs")).to_contain_text("Theirs.")
        await mine.get_by_role("button", name="Keep mine").click()
        await expect(mine.locator("#segments .said").nth(2)).to_have_text("Mine.")
