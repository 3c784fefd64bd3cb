"""Uploading, recording, finding and deleting in a real browser."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser import opened
from tests.media import two_at_once
from tests.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]

DONE_MS = 120_000


async def test_files_are_sent_and_what_is_refused_says_why(
    service: Service, audio_dir: Path, tmp_path: Path
) -> None:
    poem = tmp_path / "poem.mp3"
    poem.write_text("This is no sound at all. " * 50)
    refused = "the server responded with a status of 400"
    async with opened(service.url, but=refused) as page:
        await page.goto("/app/")
        await page.locator("#speakers").select_option("off")
        await page.locator("#files").set_input_files([audio_dir / "jfk.flac", poem])
        upload = page.locator(".upload", has_text="poem.mp3")
        await expect(upload.get_by_role("alert")).to_contain_text("Send audio or video")
        await expect(upload.get_by_role("button", name="Try again")).to_be_visible()

        job = page.locator("[data-job]", has_text="jfk.flac").first
        await expect(job.locator(".tag")).to_have_text("completed", timeout=DONE_MS)

        await page.locator("#q").fill("fellow Ameri")
        await expect(job.locator("mark").first).to_have_text("fellow")
        await job.locator(".excerpts a").first.click()
        await expect(page.locator(".segment.selected .said")).to_contain_text("fellow Americans")
        await page.go_back()
        await expect(page.locator("#q")).to_have_value("fellow Ameri")


async def test_a_call_with_a_speaker_on_each_channel_has_both_complete(
    service: Service, audio_dir: Path, tmp_path: Path
) -> None:
    async with opened(service.url) as page:
        await page.goto("/app/")
        await page.locator("#speakers").select_option("channels")
        await page.locator("#files").set_input_files(two_at_once(audio_dir, tmp_path / "call.wav"))
        await expect(page.locator(".upload .options")).to_contain_text("a speaker on each channel")
        job = page.locator("[data-job]", has_text="call.wav").first
        await expect(job.locator(".tag")).to_have_text("completed", timeout=DONE_MS)
        result = service.result(str(await job.get_attribute("data-job")))
    said = {segment["speaker"]: segment["text"] for segment in result["segments"]}
    assert set(said) == {"SPEAKER_1", "SPEAKER_2"}


async def test_a_recording_of_the_microphone_is_transcribed_and_deleted(service: Service) -> None:
    recordings = service.data_dir / "files" / "recordings"
    before = set(recordings.glob("*"))
    async with opened(service.url, permissions=["microphone"]) as page:
        await page.goto("/app/")
        await page.get_by_role("button", name="Record with the microphone").click()
        await expect(page.get_by_role("timer")).to_have_text("0:02")
        await page.get_by_role("button", name="Stop").click()
        await page.locator("#recorded-name").fill("Dictation")
        await page.get_by_role("button", name="Upload", exact=True).click()

        job = page.locator("[data-job]", has_text="Dictation").first
        await expect(job.locator(".tag")).to_have_text("completed", timeout=DONE_MS)
        job_id = await job.get_attribute("data-job")
        assert len(set(recordings.glob("*")) - before) == 1
        await job.get_by_role("button", name="Delete").click()
        question = page.get_by_role("dialog")
        await expect(question).to_contain_text("Dictation")
        await question.locator("#confirm-no").click()
        await expect(job).to_be_visible()
        await job.get_by_role("button", name="Delete").click()
        await question.locator("#confirm-yes").click()
        await expect(page.locator(f"#job-{job_id}")).to_have_count(0)
    assert service.status(str(job_id))["status"] == "not_found"
    assert set(recordings.glob("*")) == before


async def test_an_upload_that_broke_off_is_sent_again(service: Service, audio_dir: Path) -> None:
    async with opened(service.url, but="ERR_INTERNET_DISCONNECTED") as page:
        await page.goto("/app/")
        jobs = page.locator("[data-job]", has_text="2412-153948-0000.flac")
        n_before = await jobs.count()  # others may have sent it too
        await page.context.set_offline(True)
        await page.locator("#files").set_input_files(audio_dir / "2412-153948-0000.flac")
        upload = page.locator(".upload", has_text="2412-153948-0000.flac")
        await expect(upload.get_by_role("alert")).to_be_visible()
        await page.context.set_offline(False)
        await upload.get_by_role("button", name="Try again").click()
        await expect(jobs).to_have_count(n_before + 1)
