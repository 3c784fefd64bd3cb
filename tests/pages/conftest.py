"""The browser that the tests of the pages share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.browser import shared_browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_browser() -> AsyncIterator[None]:
    """For tests that run in the event loop of the session; each of their pages has a profile of its own."""
    async with shared_browser():
        yield
