"""Share links: each shows one recording to whoever has it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID


def shown_recordings(cookies: Mapping[str, str], view: Any) -> frozenset[UUID]:
    """The recordings whose links a browser has opened, if links show this view."""
    return frozenset()
