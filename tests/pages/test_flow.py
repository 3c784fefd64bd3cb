"""What a person does from upload to download, in a real browser on the real service."""

import re
from pathlib import Path

import pytest
import webvtt
from playwright.async_api import Page, expect

from tests.browser import opened
from tests.running_jobs import processes_with
from tests.service import Service
from transcription.transcript.segments import display_time

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]

TRANSCRIBED_MS = 120_000
RETRANSLATED_MS = 120_000


async def test_from_upload_to_download(service: Service, audio_dir: Path) -> None:
    async with opened(service.url) as page:
        # Held, so that the job cannot end before the page is there, however slow the browser is.
        with service.suspended(processes_with(service, "speech")):
            await _upload(page, audio_dir / "conversation" / "sample.flac")
            await _open_job(page)
        await _watch(page)
        await _play(page)
        await _edit_and_undo(page)
        await _rename(page)
        await _retranslate(page)
        await _download(page)


async def _upload(page: Page, path: Path) -> None:
    await page.goto("/app/")
    await page.locator("input[type=file]").set_input_files(path)
    row = page.locator("[data-job]").first
    await expect(row).to_contain_text("sample.flac", timeout=30_000)
    await expect(row.get_by_role("progressbar")).to_be_visible()


async def _open_job(page: Page) -> None:
    """Opens the job's page, and notes from now on whether it shows segments before the job is completed."""
    await page.locator("[data-job]").first.get_by_role("link", name="sample.flac").click()
    await expect(page.locator("#state")).not_to_be_empty()
    assert await page.locator("#segments .segment").count() == 0
    await page.evaluate(NOTE_LIVE_SEGMENTS)


async def _watch(page: Page) -> None:
    """Segments come in while the job runs; then it is completed, with speakers."""
    await expect(page.locator("#state")).to_have_text("completed", timeout=TRANSCRIBED_MS)
    assert await page.evaluate("window.liveSegments") > 0
    await expect(page.locator("#legend")).to_contain_text("SPEAKER_2", timeout=30_000)


async def _play(page: Page) -> None:
    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator("#now")).to_have_text(re.compile(r"0:0[2-9]"), timeout=15_000)
    await page.keyboard.press("k")
    segment = page.locator("#segments .segment").nth(4)
    word = segment.locator(".said .word").first
    await page.evaluate(NOTE_LIT_WORDS)
    await word.click()
    await expect(segment).to_have_class(re.compile(r"\bspoken\b"))
    await page.wait_for_function(
        "word => window.litWords.has(word)", arg=await word.element_handle()
    )
    await page.keyboard.press("k")


async def _edit_and_undo(page: Page) -> None:
    said = page.locator("#segments .segment .said").first
    heard = await said.inner_text()
    await _edit(page, "Put right by hand.")
    await page.locator("#show-keys").focus()
    await page.keyboard.press("Control+z")
    await expect(said).to_have_text(heard)

    await _edit(page, "Put right once more.")
    await page.reload()
    await expect(said).to_have_text("Put right once more.")
    await page.get_by_role("tab", name="History").click()
    entry = page.locator("#history-list > li").first
    await expect(entry).to_contain_text("Put right once more.")
    await entry.get_by_role("button", name="Undo").click()
    await expect(said).to_have_text(heard)


async def _edit(page: Page, text: str) -> None:
    said = page.locator("#segments .segment .said").first
    await said.dblclick()
    field = page.get_by_label("Text of the segment")
    await field.fill(text)
    await field.press("Enter")
    await expect(said).to_have_text(text)


async def _rename(page: Page) -> None:
    speaker = page.locator("#segments .segment .speaker").first
    name = await speaker.inner_text()
    await speaker.click()
    await page.get_by_label("Another name").fill("Interviewer")
    await page.get_by_role("button", name=f"Rename {name} everywhere").click()
    await expect(speaker).to_have_text("Interviewer")
    await expect(page.locator("#segments .speaker", has_text=name)).to_have_count(0)
    await expect(page.locator("#legend")).to_contain_text("Interviewer")


async def _retranslate(page: Page) -> None:
    """What was typed is replaced by what is heard: the two differ, whatever a processor makes of the recording."""
    typed = "Nobody said anything like this."
    await _edit(page, typed)
    segment = page.locator("#segments .segment").first
    await segment.locator("[data-do=more]").click()
    await page.get_by_role("button", name="Transcribe again with another model").click()
    await page.locator("#retranslate-model").select_option("base")
    await page.locator("#retranslate-start").click()
    accept = page.get_by_role("button", name="Accept")
    await expect(accept).to_be_visible(timeout=RETRANSLATED_MS)
    await expect(page.locator("#retranslate-diff del").first).to_contain_text("Nobody")
    await accept.click()
    await expect(page.locator("#retranslate-dialog")).to_be_hidden(timeout=15_000)
    await expect(page.locator("#segments")).not_to_contain_text(typed)
    await page.get_by_role("tab", name="History").click()
    await expect(page.locator("#history-list")).to_contain_text("Transcribed again")
    await expect(page.locator("#history-list")).to_contain_text("Interviewer")


async def _download(page: Page) -> None:
    await page.locator("#download > summary").click()
    for suffix, beginning in (
        ("srt", b"1\r\n"),
        ("vtt", b"WEBVTT"),
        ("docx", b"PK"),
        ("json", b"{"),
    ):
        async with page.expect_download() as started:
            await page.locator(f"#download [data-format={suffix}]").click()
        download = await started.value
        assert download.suggested_filename == f"sample.{suffix}"
        content = Path(await download.path()).read_bytes()
        assert content.replace(b"1\n", b"1\r\n", 1).startswith(beginning)
        if suffix in ("srt", "vtt"):
            assert b"Interviewer" in content
        if suffix == "vtt":
            written = webvtt.from_string(content.decode()).captions
            cues = await page.evaluate(CUES, download.url)
            assert [(display_time(cue["start"]), display_time(cue["end"])) for cue in cues] == [
                (caption.start, caption.end) for caption in written
            ]


NOTE_LIVE_SEGMENTS = """() => {
  window.liveSegments = 0;
  const [segments, state] = [document.getElementById("segments"), document.getElementById("state")];
  new MutationObserver(() => {
    const shown = segments.querySelector(".segment")?.checkVisibility();
    if (shown && state.innerText === "running") window.liveSegments += 1;
  }).observe(document.body, { childList: true, characterData: true, subtree: true });
}"""

NOTE_LIT_WORDS = """() => {
  window.litWords = new Set();
  new MutationObserver((changes) => {
    for (const { target } of changes) if (target.classList.contains("lit")) window.litWords.add(target);
  }).observe(document.getElementById("segments"), { attributeFilter: ["class"], subtree: true });
}"""
"""A short word is lit for less time than passes between two looks at it."""

CUES = """url => new Promise((resolve, reject) => {
  const track = document.createElement("track");
  track.src = url;
  track.addEventListener("load", () => resolve(
    [...track.track.cues].map(({ startTime, endTime, text }) => ({ start: startTime, end: endTime, text }))
  ));
  track.addEventListener("error", () => reject(new Error("the browser cannot read it")));
  const video = document.createElement("video");
  video.append(track);
  document.body.append(video);
  track.track.mode = "hidden";
})"""
"""What the browser's own parser makes of a WebVTT file."""
