"""The direction of text, by rules of the Unicode bidirectional algorithm (UAX #9)."""

import re
import unicodedata
from collections.abc import Iterator

RIGHT_TO_LEFT_EMBEDDING, LEFT_TO_RIGHT_EMBEDDING, END_OF_EMBEDDING = "\u202b\u202a\u202c"
_STRONG = {"L": False, "R": True, "AL": True}
_NUMBERS = ("EN", "AN")
_ISOLATES = ("LRI", "RLI", "FSI")
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
"""The blocks that hold all right-to-left letters: to tell at once that a text has none."""


def is_right_to_left(text: str) -> bool:
    """Whether the first strong character, outside isolates, is right-to-left (rules P2 and P3)."""
    if not _RIGHT_TO_LEFT.search(text):
        return False
    depth = 0
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in _ISOLATES:
            depth += 1
        elif kind == "PDI":
            depth = max(0, depth - 1)
        elif depth == 0 and kind in _STRONG:
            return _STRONG[kind]
    return False


def embed(line: str, *, right_to_left: bool) -> str:
    """Mark the line so that it is laid out in this direction, if that could be in doubt.

    By itself a line has the direction of its first strong character in browsers and editors, and is left-to-right in
    players built on libass (mpv) or VSFilter. An embedding gives the same order in all of them. A mark such as RLM
    does so only in the former, and isolates are newer: not all players know them.
    """
    if not _RIGHT_TO_LEFT.search(line):
        return line
    start = RIGHT_TO_LEFT_EMBEDDING if right_to_left else LEFT_TO_RIGHT_EMBEDDING
    return f"{start}{line}{END_OF_EMBEDDING}"


def directions(text: str, *, right_to_left: bool) -> Iterator[bool]:
    """Yield of each character whether it is right-to-left, in a paragraph of this direction.

    A number belongs to the letter before it (W7), and what is neutral to its neighbours if they agree, else to the
    paragraph (N1, N2).
    """
    if not right_to_left and not _RIGHT_TO_LEFT.search(text):
        yield from [False] * len(text)
        return
    before, n_neutral = right_to_left, 0
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in _STRONG:
            direction = _STRONG[kind]
        elif kind in _NUMBERS:
            direction = before
        else:
            n_neutral += 1
            continue
        yield from [direction if direction == before else right_to_left] * n_neutral
        yield direction
        before, n_neutral = direction, 0
    yield from [right_to_left] * n_neutral
