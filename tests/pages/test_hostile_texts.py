"""What somebody uploaded, said, or caused as an error is text on every page, whatever it looks like."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser import opened
from tests.pages import operator
from tests.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]

MARKUP = '"\'><img data-hostile src=x: onerror="document.body.dataset.hostile=1"><b data-hostile>bold</b>&amp;{{7*7}}'
SAID = f"Ask not {MARKUP} what your country can do for you."
HARMED = "document.querySelectorAll('[data-hostile]').length"
"""How much of it the page has taken for elements; the policy would keep their scripts from running in any case."""


@pytest.fixture(scope="module")
def job_id(service: Service, audio_dir: Path) -> str:
    """A job with a hostile name, message, text, speaker, history and summary, by whatever way each comes."""
    content = (audio_dir / "jfk.flac").read_bytes()
    files = {"file": (f"{MARKUP}.flac".replace("/", ""), content)}
    answer = service.client.post("/api/transcribe/", data={"diarize": "false"}, files=files)
    job_id = str(answer.json()["job_id"])
    assert service.finished(job_id, seconds=300)["status"] == "completed"
    [first, *_] = service.result(job_id)["segments"]
    edit = {"text": SAID, "speaker": MARKUP[:60], "was": {"text": first["text"], "speaker": None}}
    answer = service.client.patch(f"/api/transcribe/segments/{first['id']}", json=edit)
    assert answer.status_code == 200, answer.text
    stored = job_id.replace("-", "")
    message = "UPDATE transcription_job SET message = %s WHERE id = %s"
    service.query(message, f"It failed: {MARKUP}", stored)
    operator.create(service)
    return job_id


async def test_names_and_transcripts_are_text_on_every_page(service: Service, job_id: str) -> None:
    shown: set[str] = set()
    async with opened(service.url) as page:
        await operator.sign_in(page)
        paths = ["/admin/", f"/admin/transcription/job/{job_id}/change/"]
        paths += ["/app/?q=country", f"/app/jobs/{job_id}/"]
        async for name in operator.follow_links(page, paths):
            assert await page.evaluate(HARMED) == 0, name
            if "<b data-hostile>bold" in await page.locator("body").inner_text():
                shown.add(name)
    pages = {"app", "review", "transcription_job_changelist", "transcription_job_change"}
    assert pages | {"transcription_recording_changelist"} <= shown


async def test_it_stays_text_where_the_page_s_script_shows_it(
    service: Service, job_id: str
) -> None:
    async with opened(service.url) as page:
        await page.goto(f"/app/jobs/{job_id}/")
        await expect(page.locator("#segments .said").first).to_contain_text(MARKUP)
        await expect(page.locator("#legend")).to_contain_text("<img data-hostile")
        await page.get_by_role("tab", name="History").click()
        await expect(page.get_by_role("tabpanel", name="History")).to_contain_text("data-hostile")
        await page.get_by_role("tab", name="Summary").click()
        await page.get_by_role("button", name="Summarize").click()
        summary = page.locator("#summary-text")
        await expect(summary).to_contain_text("data-hostile", timeout=30_000)
        await page.get_by_role("tab", name="Chat").click()
        await page.get_by_role("textbox", name="Question").fill(
            f"What can your country do? {MARKUP}"
        )
        await page.keyboard.press("Enter")
        log = page.get_by_role("tabpanel", name="Chat")
        await expect(log).to_contain_text("what your country can do", timeout=30_000)
        assert await page.evaluate(HARMED) == 0


async def test_the_reason_of_a_refused_upload_is_text(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "<b data-hostile>name<b>.flac"
    path.write_bytes(b"no sound at all")
    async with opened(service.url, but="status of 400") as page:
        await page.goto("/app/")
        await page.locator("input[type=file]").set_input_files(path)
        await expect(page.locator("#uploads")).to_contain_text("<b data-hostile>name")
        await _wait_for_refusal(page)
        assert await page.evaluate(HARMED) == 0


async def _wait_for_refusal(page: Page) -> None:
    await expect(page.locator("#uploads .problem").first).not_to_be_empty()
