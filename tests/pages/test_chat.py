"""The chat panel while the language-model provider fails: no question is lost, shown twice or sent twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import opened
from tests.chat import fault_server as faults
from tests.chat.fault_server import FaultServer
from tests.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("one_browser"),
]

ANSWERED_MS = 20_000


@pytest.fixture(scope="module")
def provider() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture(scope="module")
def llm_service(
    provider: FaultServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-a-secret"}
    with Service(tmp_path_factory.mktemp("llm-service"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def job_id(llm_service: Service, audio_dir: Path) -> str:
    job_id = llm_service.upload(audio_dir / "2412-153948-0000.flac")
    llm_service.finished(job_id)
    return job_id


async def _open_chat(page: Page, job_id: str) -> Locator:
    """The field for questions of the chat panel, which is opened."""
    await page.goto(f"/app/jobs/{job_id}/")
    await page.get_by_role("tab", name="Chat").click()
    await expect(page.locator("#chat-form option")).not_to_have_count(0)
    return page.get_by_label("Question", exact=True)


async def test_a_question_without_an_answer_is_asked_again_once(
    llm_service: Service, provider: FaultServer, job_id: str
) -> None:
    provider.requests.clear()
    provider.behave(faults.refuse(401), faults.reply())
    async with opened(llm_service.url, but="status of 503") as page:
        question = await _open_chat(page, job_id)
        log = page.locator("#chat-log")
        await question.fill("Who was it?")
        await question.press("Enter")
        await expect(log.locator(".problem")).to_be_visible(timeout=ANSWERED_MS)
        await expect(question).to_have_value("Who was it?")
        await expect(log.locator(".chat-question")).to_have_count(0)

        await question.press("Enter")
        await expect(log).to_contain_text(faults.REPLY, timeout=ANSWERED_MS)
        await expect(log.locator(".chat-question")).to_have_text(["Who was it?"])
        await expect(log.locator(".problem")).to_have_count(0)
        assert str(provider.requests[-1]["messages"]).count("Who was it?") == 1


async def test_a_question_without_an_answer_is_not_sent_with_the_next(
    llm_service: Service, provider: FaultServer, job_id: str
) -> None:
    provider.requests.clear()
    provider.behave(faults.slow(2, faults.refuse(401)), faults.reply())
    async with opened(llm_service.url, but="status of 503") as page:
        question = await _open_chat(page, job_id)
        log = page.locator("#chat-log")
        await question.fill("Who was it?")
        await question.press("Enter")
        await expect(question).to_have_value("")
        await question.fill("When was it?")
        await expect(log.locator(".problem")).to_be_visible(timeout=ANSWERED_MS)
        await expect(question).to_have_value("When was it?")
        await expect(log.locator(".chat-question")).to_have_text(["Who was it?"])

        await question.press("Enter")
        await expect(log).to_contain_text(faults.REPLY, timeout=ANSWERED_MS)
        await expect(log.locator(".chat-question")).to_have_text(["Who was it?", "When was it?"])
        sent = str(provider.requests[-1]["messages"])
        assert ("Who was it?" in sent, sent.count("When was it?")) == (False, 1)
