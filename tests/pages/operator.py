"""An operator who opens every page that links lead to, pages and admin alike."""

import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from django.urls import resolve, reverse
from playwright.async_api import Page, expect

from tests.service import Service

PASSWORD = "not a common password"
CREATE = f"""
from django.contrib.auth.models import User
User.objects.filter(username="operator").exists() or User.objects.create_superuser("operator", password={PASSWORD!r})
"""
LEFT_OUT = ("logout", "schema")
"""What has no page of its own: it signs out, or is a file."""
LINKS = "JSON.stringify([...document.links].filter((a) => a.origin === location.origin).map((a) => a.href))"


def create(service: Service) -> None:
    service.run("django", "shell", "--command", CREATE)


async def sign_in(page: Page) -> None:
    await page.goto("/admin/login/?next=/admin/")
    await page.get_by_label("Username").fill("operator")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(re.compile(re.escape(reverse("admin:index")) + "$"))


async def follow_links(page: Page, paths: list[str]) -> AsyncIterator[str]:
    """The name of each page that links lead to from these on, while it is open; one of each kind."""
    visited: set[str] = set()
    while paths:
        path = paths.pop(0)  # first those given: what tests look for is on them
        name = resolve(urlsplit(path).path).url_name or ""
        if name in visited or name in LEFT_OUT:
            continue
        visited.add(name)
        answer = await page.request.get(path)
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        assert answer.ok, path
        await page.goto(path)
        if not path.startswith("/admin/"):
            await page.wait_for_load_state("networkidle")  # what its scripts fetch is shown
        yield name
        found: list[str] = json.loads(await page.evaluate(LINKS))
        paths += [
            urlsplit(link)._replace(scheme="", netloc="", fragment="").geturl() for link in found
        ]
