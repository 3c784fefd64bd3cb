"""The admin as an operator uses it: addresses, actions on rows of a list, and forms filled in."""

from html.parser import HTMLParser
from typing import Any

from django.test import Client
from django.urls import reverse


def changelist(model: str, query: str = "") -> str:
    return reverse(f"admin:transcription_{model}_changelist") + query


def page_of(row: Any) -> str:
    return reverse(f"admin:transcription_{row._meta.model_name}_change", args=[row.pk])


def act(client: Client, action: str, *rows: Any, **data: str) -> list[str]:
    """Run an action on rows of the list; returns the messages it left."""
    names = rows[0]._meta
    answer: Any = client.post(
        reverse(f"admin:{names.app_label}_{names.model_name}_changelist"),
        {"action": action, "_selected_action": [str(row.pk) for row in rows], **data},
        follow=True,
    )
    assert answer.redirect_chain, answer.content
    return [str(message) for message in answer.context["messages"]]


class Form(HTMLParser):
    """The fields of a page's forms with what a browser would send of them, hidden ones too."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._textarea = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name = found.get("name") or ""
        if tag == "input" and name and found.get("type") != "submit":
            self.values[name] = found.get("value") or ""
        elif tag == "textarea" and name:
            self._textarea, self.values[name] = name, ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            # What follows the tag is a line's end that is no part of the text.
            self.values[self._textarea] = self.values[self._textarea].removeprefix("\n")
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.values[self._textarea] += data


def submit(client: Client, row: Any, *, page: str | None = None, **values: str) -> list[str]:
    """Fill in a row's form, as it was loaded (now, unless `page` is given), and send it; returns the messages."""
    page = client.get(page_of(row)).content.decode() if page is None else page
    answer: Any = client.post(page_of(row), {**Form(page).values, **values}, follow=True)
    assert answer.redirect_chain, answer.context["errors"]
    return [str(message) for message in answer.context["messages"]]
