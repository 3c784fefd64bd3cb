"""Subtitles: splits a transcript into cues of readable length.

A cue has at most two lines of 42 characters and lasts at most 7 seconds (Netflix Timed Text Style Guide). Cues break
between words, preferably after punctuation, and where the speaker changes.
"""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from transcription.models import Segment
from transcription.transcript.bidi import is_right_to_left
from transcription.transcript.word_alignment import is_unspaced, shown_words

MAX_LINE_WIDTH = 42
MAX_CUE_MS = 7_000
PREFERRED_MIN_CUE_MS = 1_000
"""Minimum display time, unless the next cue starts before."""
MIN_CUE_MS = 500
"""Minimum display time even if it delays the next cue, as with words of no duration or overlapping speakers."""
MIN_PAUSE_MS = 1_500
"""A pause of this length ends the cue."""
MIN_OVERLAP_MS = 1_000
"""Speakers who overlap for longer take turns in the cues."""
PUNCTUATION = tuple(".,;:!?…。、，！？；：،؟؛।")
CLOSING_MARKS = "\"'”’»)]」』）"
"""These may follow the punctuation at the end of a clause."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One or two lines, shown from `start` to `end`, in milliseconds."""

    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None
    is_right_to_left: bool
    """The direction of the segment's text."""


@dataclass(frozen=True, slots=True)
class _Word:
    """Text without a possible line break; times in milliseconds."""

    start: int
    end: int
    text: str
    """With the space before it, if any."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, or a part of one that is too long for a line; times in milliseconds."""

    start: int
    end: int
    text: str
    width: int
    """Display width with the space before it; precomputed, because breaking lines sums it often."""
    space: int
    """Width of the space before it."""
    ends_clause: bool


def make_cues(segments: Iterable[Segment], *, with_names: bool = False) -> list[Cue]:
    """Split segments into cues, ordered by time, that neither overlap nor are empty.

    With `with_names` a cue begins with "Name: " where the speaker changes, for formats without speakers.
    """
    cues: list[Cue] = []
    speaker: str | None = None
    for segment, words in _runs(list(segments)):
        if with_names and segment.speaker and segment.speaker != speaker:
            words = _prepend_name(words, segment.speaker)
        if words:
            speaker = segment.speaker
        pieces = [piece for word in words for piece in _pieces(word)]
        right_to_left = is_right_to_left(segment.text + (segment.speaker or ""))
        cues += [
            Cue(group[0].start, group[-1].end, _lines(group), segment.speaker, right_to_left)
            for group in _group_into_cues(pieces)
        ]
    return _schedule(cues)


def _runs(segments: Sequence[Segment]) -> list[tuple[Segment, list[_Word]]]:
    """The segments' words in order of time: a segment is cut where another one starts well before its end."""
    starts = sorted(round(1000 * segment.start) for segment in segments)
    runs: list[tuple[Segment, list[_Word]]] = []
    for segment in segments:
        words = list(_words(segment))
        if not words:
            continue
        first = bisect_right(starts, words[0].start)
        end = bisect_left(starts, words[-1].end - MIN_OVERLAP_MS)
        for cut in starts[first:end]:
            n_before = sum(word.start < cut for word in words)
            if 0 < n_before < len(words):
                runs.append((segment, words[:n_before]))
                words = words[n_before:]
        runs.append((segment, words))
    # At the same moment, who starts to speak comes before who goes on.
    return sorted(runs, key=lambda run: (run[1][0].start, -round(1000 * run[0].start)))


def _words(segment: Segment) -> Iterator[_Word]:
    """Join words that no line break may separate, such as Whisper's "well" and "-known", or "10" and "%"."""
    whole: _Word | None = None
    for word in shown_words(segment):
        start, end = round(1000 * word["start"]), round(1000 * word["end"])
        text = _remove_control_characters(word["text"])
        if whole is None:
            whole = _Word(start, max(start, end), text)
        elif _can_break(whole.text, text):
            yield whole
            whole = _Word(start, max(start, end), text)
        else:
            whole = _Word(whole.start, max(whole.end, end), whole.text + text)
    if whole is not None and _is_visible(whole.text):
        yield whole


def _remove_control_characters(text: str) -> str:
    """Replace line breaks and control characters, which would end a cue or file, with spaces. Keeps joiners."""
    if text.isprintable():
        return text
    return "".join(
        " " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character
        for character in text
    )


def _can_break(before: str, after: str) -> bool:
    """Whether a line may end between these texts."""
    if not _is_visible(before) or not _is_visible(after) or after.startswith(PUNCTUATION):
        return False
    return after[:1].isspace() or is_unspaced(before[-1:]) or is_unspaced(after[:1])


def _prepend_name(words: Sequence[_Word], name: str) -> list[_Word]:
    if not words:
        return []
    first = words[0]
    name_words = [_Word(first.start, first.start, f" {part}") for part in f"{name}:".split()]
    # The first word of an edited text has no space before it.
    return [*name_words, _Word(first.start, first.end, f" {first.text.lstrip()}"), *words[1:]]


def _pieces(word: _Word) -> Iterator[_Piece]:
    """Split a word into pieces that fit in a line, and its time among them."""
    text = word.text.strip()
    space = word.text[: len(word.text) - len(word.text.lstrip())][:1]
    n_done = 0
    for part in _split_to_width(text):
        n_next = n_done + len(part)
        start, end = (
            word.start + (word.end - word.start) * n // len(text) for n in (n_done, n_next)
        )
        ends_clause = part.rstrip(CLOSING_MARKS).endswith(PUNCTUATION)
        space_width = _width(space)
        width = space_width + _width(part)
        yield _Piece(start, end, space + part, width, space_width, ends_clause)
        n_done, space = n_next, ""


def _split_to_width(text: str) -> Iterator[str]:
    if _width(text) <= MAX_LINE_WIDTH:
        if text:
            yield text
        return
    begin = width = 0
    for index, character in enumerate(text):
        character_width = _character_width(character)
        if width + character_width > MAX_LINE_WIDTH:
            yield text[begin:index]
            begin, width = index, 0
        width += character_width
    yield text[begin:]


def _group_into_cues(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    for piece in pieces:
        if group and piece.start - group[-1].end >= MIN_PAUSE_MS:
            yield group
            group = []
        while group and not _fits([*group, piece]):
            cut = _best_cut(group)
            yield group[:cut]
            group = group[cut:]
        group.append(piece)
    if group:
        yield group


def _fits(group: Sequence[_Piece]) -> bool:
    return group[-1].end - group[0].start <= MAX_CUE_MS and _second_line(group) is not None


def _best_cut(group: Sequence[_Piece]) -> int:
    """The number of pieces up to the last punctuation in the second half; all if there is none."""
    width = _group_width(group)
    half = width / 2
    for cut in range(len(group), 0, -1):
        if width < half:
            break
        if group[cut - 1].ends_clause:
            return cut
        width -= group[cut - 1].width
    return len(group)


def _lines(group: Sequence[_Piece]) -> tuple[str, ...]:
    second = _second_line(group)
    assert second is not None, "a group that does not fit was not split"
    return tuple(_text(line) for line in (group[:second], group[second:]) if line)


def _second_line(group: Sequence[_Piece]) -> int | None:
    """The index of the piece that begins the second line, chosen for two lines of similar width.

    The number of pieces if they fit in one line, None if they do not fit in two.
    """
    total = _group_width(group)
    if total <= MAX_LINE_WIDTH:
        return len(group)
    best: tuple[float, int] | None = None
    first = -group[0].space
    for cut in range(1, len(group)):
        first += group[cut - 1].width
        second = total - first - group[cut].space
        if max(first, second) > MAX_LINE_WIDTH:
            continue
        cost = abs(first - second) * (0.5 if group[cut - 1].ends_clause else 1.0)
        if best is None or cost < best[0]:
            best = cost, cut
    return best[1] if best else None


def _schedule(cues: Sequence[Cue]) -> list[Cue]:
    """Clip overlapping cues, and extend those that are too short to read."""
    scheduled: list[Cue] = []
    end = 0
    for index, cue in enumerate(cues):
        start = max(cue.start, end)
        next_start = cues[index + 1].start if index + 1 < len(cues) else start + MAX_CUE_MS
        end = min(
            max(cue.end, start + PREFERRED_MIN_CUE_MS),
            max(next_start, start + MIN_CUE_MS),
            start + MAX_CUE_MS,
        )
        scheduled.append(replace(cue, start=start, end=end))
    return scheduled


def _group_width(group: Sequence[_Piece]) -> int:
    return sum(piece.width for piece in group) - group[0].space


def _text(line: Sequence[_Piece]) -> str:
    return "".join(piece.text for piece in line).strip()


def _is_visible(text: str) -> bool:
    return _width(text.strip()) > 0


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_character_width, text))


@lru_cache(maxsize=4096)
def _character_width(character: str) -> int:
    """The display width in columns: 2 for wide East Asian characters, 0 for combining marks and joiners, else 1."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
