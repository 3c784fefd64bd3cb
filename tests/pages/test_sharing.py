"""Two people and one link: who shares a recording, who reads or changes it, and who only has the link."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from tests import waiting_engine
from tests.browser import opened
from tests.service import ROOT, Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]

ANNA, BEN = "anna", "ben"
PHONE = {"width": 360, "height": 740}
SESSIONS = """
import sys, django
django.setup()
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
for name in sys.argv[1:]:
    person = User.objects.create_user(name, password="not a password that is tried")
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.create()
    print(settings.SESSION_COOKIE_NAME, session.session_key)
"""


@pytest.fixture(scope="module")
def with_people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("with-people")
    with Service(folder, TRANSCRIBER_ACCOUNTS="required", **waiting_engine.SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def sessions(with_people: Service) -> dict[str, tuple[str, str]]:
    """The session cookies of two people."""
    written = subprocess.run(
        [sys.executable, "-c", SESSIONS, ANNA, BEN],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "transcriber_site.settings", **with_people.environment()},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    cookies = [(line.split()[0], line.split()[1]) for line in written.splitlines()]
    return dict(zip((ANNA, BEN), cookies, strict=True))


@pytest.fixture
def job_id(
    with_people: Service, sessions: dict[str, tuple[str, str]], audio_dir: Path
) -> Iterator[str]:
    """A completed job of Anna's, who is signed in."""
    name, key = sessions[ANNA]
    with_people.client.cookies.set(name, key)
    job_id = with_people.upload(audio_dir / "conversation" / "sample.flac")
    with_people.finished(job_id)
    yield job_id
    with_people.client.delete(f"/api/transcribe/jobs/{job_id}")


@asynccontextmanager
async def browser_of(
    service: Service, session: tuple[str, str] | None, **options: Any
) -> AsyncIterator[Page]:
    async with opened(service.url, **options) as page:
        if session is not None:
            name, key = session
            await page.context.add_cookies([{"name": name, "value": key, "url": service.url}])
        yield page


async def open_review(page: Page, job_id: str) -> Locator:
    """The texts of the segments, once they are there and the recording can be played."""
    await page.goto(f"/app/jobs/{job_id}/")
    return await shown(page)


async def shown(page: Page) -> Locator:
    said = page.locator("#segments .said")
    await expect(said.first).to_be_visible()
    await expect(page.locator("#play")).to_be_enabled()
    return said


async def open_dialog(page: Page, job_id: str) -> Locator:
    await open_review(page, job_id)
    await page.get_by_role("button", name="Share…").click()
    dialog = page.get_by_role("dialog", name="Share this recording")
    await expect(dialog).to_be_visible()
    return dialog


async def share_with(dialog: Locator, name: str, role: str) -> None:
    await dialog.get_by_role("textbox", name="Name").fill(name)
    await dialog.get_by_role("combobox", name="Who").select_option(role)
    await dialog.get_by_role("button", name="Share", exact=True).click()


async def test_two_people_and_whoever_has_the_link(
    with_people: Service, sessions: dict[str, tuple[str, str]], job_id: str
) -> None:
    async with (
        browser_of(with_people, sessions[ANNA]) as anna,
        browser_of(with_people, sessions[BEN]) as ben,
        browser_of(with_people, None) as visitor,
    ):
        dialog = await open_dialog(anna, job_id)
        await share_with(dialog, BEN, "reader")
        await expect(dialog.get_by_label("What ben may do")).to_have_value("reader")
        await dialog.get_by_label("For whom").fill("The lawyer")
        await dialog.get_by_role("button", name="Make a link").click()
        shown_link = dialog.get_by_label("The new link")
        await expect(shown_link).to_have_value(re.compile(f"^{with_people.url}/app/shared/"))
        address = await shown_link.input_value()

        await _ben_reads(ben)
        await _visitor_reads(visitor, address, job_id)

        await dialog.get_by_label("What ben may do").select_option("editor")
        await expect(anna.locator("#share-said")).to_have_text("The role of ben has changed.")
        await _ben_changes(ben)

        await dialog.get_by_role("button", name="Revoke: The lawyer").click()
        await expect(dialog.locator("#link-list li")).to_have_count(0)
        await expect(dialog.get_by_label("The new link")).to_be_hidden()
        await dialog.get_by_role("button", name="End sharing with ben").click()
        await expect(dialog.get_by_text("It is shared with nobody.")).to_be_visible()
        for ended in (visitor, ben):
            result = await ended.request.get(f"/api/transcribe/result/{job_id}")
            assert result.status in (401, 404)
        await visitor.reload()
        await expect(visitor.get_by_role("heading", name="Sign in")).to_be_visible()
    token = address.rpartition("/")[2]
    assert token not in with_people.log()


async def _ben_reads(page: Page) -> None:
    await page.goto("/app/")
    row = page.locator("[data-job]")
    await expect(row).to_contain_text("shared by anna")
    await expect(row).to_contain_text("you may read it")
    await expect(row.get_by_role("button")).to_have_count(0)
    await row.get_by_role("link", name="sample.flac").click()
    said = await shown(page)
    await _cannot_edit(page, said)
    await page.get_by_role("button", name="More for this segment").first.click()
    choices = page.get_by_role("dialog", name="Segment at").get_by_role("button")
    assert await choices.all_inner_texts() == [
        "History of this segment",
        "Copy a link to this segment",
        "Cancel",
    ]
    await page.keyboard.press("Escape")
    await page.get_by_role("tab", name="History").click()
    await expect(page.locator("#history-none")).to_be_visible()


async def _cannot_edit(page: Page, said: Locator) -> None:
    """Nothing is offered, and neither keys nor a double click open an editor or a dialog."""
    for name in ("Edit", "Detect speakers again…", "Share…", "Transcribe all again…"):
        await expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    await said.first.dblclick()
    for key in ("Enter", "s", "r", "Control+z"):
        await page.keyboard.press(key)
    await expect(page.locator("dialog[open], .editor, .notice")).to_have_count(0)


async def _visitor_reads(page: Page, address: str, job_id: str) -> None:
    await page.goto(address)
    assert page.url.endswith(f"/app/jobs/{job_id}/")
    said = await shown(page)
    await _cannot_edit(page, said)
    await expect(page.get_by_role("tab")).to_have_count(0)
    await expect(page.get_by_role("button", name="More for this segment")).to_have_count(0)
    await expect(page.locator("#now")).not_to_have_text("0:00")  # since a segment was clicked
    await page.locator("#play").click()
    await page.locator("#download summary").click()
    async with page.expect_download() as started:
        await page.get_by_role("link", name="SRT, subtitles").click()
    path = await (await started.value).path()
    assert (await said.first.inner_text()) in Path(path).read_text()
    assert "/app/shared/" not in await page.evaluate("document.referrer")
    assert address.rpartition("/")[2] not in str(await page.context.cookies())


async def _ben_changes(page: Page) -> None:
    await page.reload()
    said = await shown(page)
    await said.first.dblclick()
    await page.get_by_label("Text of the segment").fill("What Ben heard.")
    await page.keyboard.press("Enter")
    await expect(page.locator(".notice")).to_contain_text("Text changed.")
    await expect(said.first).to_have_text("What Ben heard.")
    await expect(page.get_by_role("button", name="Share…")).to_have_count(0)


async def test_a_name_that_nobody_has_is_said_in_the_dialog(
    with_people: Service, sessions: dict[str, tuple[str, str]], job_id: str
) -> None:
    async with browser_of(with_people, sessions[ANNA], but="status of 400") as page:
        dialog = await open_dialog(page, job_id)
        await share_with(dialog, "nobody", "reader")
        problem = dialog.get_by_role("alert")
        await expect(problem.first).to_contain_text("No person here is called nobody.")
        await expect(dialog.get_by_role("textbox", name="Name")).to_be_focused()
        await expect(dialog.get_by_role("textbox", name="Name")).to_have_value("nobody")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_dialog_is_used_with_the_keyboard_on_a_phone(
    with_people: Service, sessions: dict[str, tuple[str, str]], job_id: str, scheme: str
) -> None:
    async with browser_of(with_people, sessions[ANNA], viewport=PHONE, color_scheme=scheme) as page:
        await open_review(page, job_id)
        await page.get_by_role("button", name="Share…").focus()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Share this recording")
        await expect(dialog.get_by_role("textbox", name="Name")).to_be_focused()
        await page.keyboard.type(BEN)
        await page.keyboard.press("Enter")
        await expect(page.locator("#share-said")).to_have_text("Shared with ben.")
        await expect(dialog.get_by_role("textbox", name="Name")).to_be_focused()
        await dialog.get_by_label("with questions to the chat").focus()
        await page.keyboard.press(" ")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("button", name="Copy")).to_be_focused()
        await expect(dialog.locator("#link-list")).to_contain_text("with questions")

        wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 0
        within = "document.getElementById('share-dialog')"
        assert await page.evaluate(f"{within}.scrollWidth <= {within}.clientWidth")
        found = await Axe().run(page)
        violations = [
            f"{one['id']}: {one['nodes'][0]['html']}"
            for one in found.response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert violations == []
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(page.get_by_role("button", name="Share…")).to_be_focused()


async def test_a_link_with_questions_has_the_chat_and_no_other_panel(
    with_people: Service, sessions: dict[str, tuple[str, str]], job_id: str
) -> None:
    answer = with_people.client.post(
        f"/api/transcribe/links/{job_id}", json={"allows_chat": True}
    ).json()
    for size in (PHONE, {"width": 1280, "height": 800}):
        async with browser_of(with_people, None, viewport=size) as page:
            await page.goto(answer["url"])
            await shown(page)
            tabs = page.get_by_role("tab")
            names = ["Transcript", "Chat"] if size == PHONE else ["Chat"]
            await expect(tabs).to_have_text(names)
            await tabs.last.click()
            await expect(page.get_by_role("tabpanel", name="Chat")).to_be_visible()
            await expect(page.locator("#panel-summary")).to_be_hidden()
            await expect(page.locator("#panel-history")).to_be_hidden()
            await page.get_by_role("textbox", name="Question").fill("What was said?")
            await page.get_by_role("button", name="Ask").click()
            await expect(page.locator(".chat-answer .muted").last).to_contain_text("by ")
