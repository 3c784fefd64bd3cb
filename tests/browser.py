"""A real browser on the service's pages; `python -m tests.browser` says whether there is one."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright
from playwright.sync_api import sync_playwright

LONGEST_MS = 10_000
"""What a person would wait for a click to do something."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",  # needs rights that containers do not have
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


def executable() -> str | None:
    """Chromium on the path; None leaves it to Playwright's own."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@asynccontextmanager
async def browser(*arguments: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=executable(), args=[*ARGUMENTS, *arguments]
        )
        try:
            yield running
        finally:
            await running.close()


_shared: dict[asyncio.AbstractEventLoop, Browser] = {}


@asynccontextmanager
async def shared_browser() -> AsyncIterator[None]:
    """One browser for all pages that are opened in this event loop meanwhile: to start one takes seconds."""
    loop = asyncio.get_running_loop()
    async with browser() as _shared[loop]:
        try:
            yield
        finally:
            del _shared[loop]


@asynccontextmanager
async def _browser_at_hand() -> AsyncIterator[Browser]:
    if running := _shared.get(asyncio.get_running_loop()):
        yield running
    else:
        async with browser() as started:
            yield started


class Watched:
    """A page whose errors, and requests to other hosts, are noted."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._host = urlsplit(url).netloc
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._note_request)

    def _note_console(self, message: ConsoleMessage) -> None:
        """What a page's Content-Security-Policy forbids is an error there too."""
        if message.type in ("error", "warning"):
            where = message.location["url"]
            self.complaints.append(f"{message.type}: {message.text} ({where})")

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != self._host:
            self.complaints.append(f"request to {request.url}")


@asynccontextmanager
async def opened(url: str, *, but: str = "", **context: Any) -> AsyncIterator[Page]:
    """A page of the service at `url`. At the end: nothing was complained about, nobody else was asked.

    `but` is in complaints that are expected; `context` are Playwright's options of a browser context, such as
    viewport and color_scheme.
    """
    async with _browser_at_hand() as running:
        profile = await running.new_context(base_url=url, **context)
        try:
            page = await profile.new_page()
            page.set_default_timeout(LONGEST_MS)
            watched = Watched(page, url)
            yield page
            unexpected = [text for text in watched.complaints if not (but and but in text)]
            assert unexpected == [], unexpected
        finally:
            await profile.close()


def is_there() -> bool:
    if executable():
        return True
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


if __name__ == "__main__":
    sys.exit(not is_there())
