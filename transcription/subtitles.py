"""Subtitles: a transcript as cues that can be read while somebody speaks.

At most two lines of 42 letters, and 7 seconds (as in Netflix's Timed Text Style Guide); cut between words, best after
punctuation, and where the speaker changes.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from transcription.alignment import shown_words
from transcription.models import Segment

MOST_LETTERS = 42
MOST_MS = 7_000
LEAST_MS = 1_000
"""So long a cue is shown if nothing comes after it."""
PAUSE_MS = 1_500
"""A pause that no cue runs across."""
PUNCTUATION = tuple(".,;:!?…。、，！？；：")


@dataclass(frozen=True, slots=True)
class Cue:
    """One or two lines, shown from `start` to `end`, in milliseconds."""

    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, or a part of one that is too long for a line; times in milliseconds."""

    start: int
    end: int
    text: str
    """With the blank before it, if there is one."""


def make_cues(segments: Iterable[Segment], *, with_names: bool = False) -> list[Cue]:
    """The cues, in order of time, none of which overlaps another or lasts no time.

    `with_names` puts "Name: " before what somebody else says, for formats that know no speakers.
    """
    cues: list[Cue] = []
    speaker: str | None = None
    for segment in segments:
        pieces = list(_pieces(segment))
        if with_names and segment.speaker and segment.speaker != speaker:
            pieces = [*_name(segment.speaker, at=pieces[0].start), *pieces] if pieces else []
        if pieces:
            speaker = segment.speaker
        cues += [
            Cue(run[0].start, run[-1].end, _lines(run), segment.speaker) for run in _runs(pieces)
        ]
    return _in_time(cues)


def _pieces(segment: Segment) -> Iterator[_Piece]:
    for word in shown_words(segment):
        start, end = round(1000 * word["start"]), round(1000 * word["end"])
        yield from _cut(word["text"], start, max(start, end))


def _name(name: str, *, at: int) -> Iterator[_Piece]:
    for word in f"{name}:".split():
        yield from _cut(f" {word}", at, at)


def _cut(text: str, start: int, end: int) -> Iterator[_Piece]:
    """A word in parts that fit in a line, each with its share of the time."""
    # Line breaks and control characters would end a cue, or a document.
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    blank, word = text[: len(text) - len(text.lstrip())][:1], text.strip()
    done = 0
    if _width(word) <= MOST_LETTERS:
        if word:
            yield _Piece(start, end, blank + word)
        return
    while done < len(word):
        until = done + 1
        while until < len(word) and _width(word[done : until + 1]) <= MOST_LETTERS:
            until += 1
        begin, stop = (start + (end - start) * n // len(word) for n in (done, until))
        yield _Piece(begin, stop, (blank if not done else "") + word[done:until])
        done = until


def _runs(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """The pieces of each cue."""
    run: list[_Piece] = []
    for piece in pieces:
        if run and piece.start - run[-1].end >= PAUSE_MS:
            yield run
            run = []
        while run and not _fits([*run, piece]):
            cut = _best_cut(run)
            yield run[:cut]
            run = run[cut:]
        run.append(piece)
    if run:
        yield run


def _fits(run: Sequence[_Piece]) -> bool:
    return run[-1].end - run[0].start <= MOST_MS and bool(_wrapped(run))


def _best_cut(run: Sequence[_Piece]) -> int:
    """After the last punctuation in the second half, if there is any; else at the end."""
    half = _width(_text(run)) / 2
    for cut in range(len(run), 0, -1):
        if _width(_text(run[:cut])) < half:
            break
        if run[cut - 1].text.endswith(PUNCTUATION):
            return cut
    return len(run)


def _lines(run: Sequence[_Piece]) -> tuple[str, ...]:
    return _wrapped(run) or (_text(run),)


def _wrapped(run: Sequence[_Piece]) -> tuple[str, ...]:
    """One line if it fits, else two of about the same length; () if they do not fit."""
    whole = _text(run)
    if _width(whole) <= MOST_LETTERS:
        return (whole,)
    if _width(whole) > 2 * MOST_LETTERS + 1:
        return ()
    best: tuple[float, tuple[str, ...]] | None = None
    for cut in range(1, len(run)):
        first, second = _text(run[:cut]), _text(run[cut:])
        if max(_width(first), _width(second)) > MOST_LETTERS:
            continue
        ends_a_clause = run[cut - 1].text.endswith(PUNCTUATION)
        badness = abs(_width(first) - _width(second)) * (0.5 if ends_a_clause else 1.0)
        if best is None or badness < best[0]:
            best = badness, (first, second)
    return best[1] if best else ()


def _in_time(cues: Sequence[Cue]) -> list[Cue]:
    """Cues that follow one another: what overlaps is clipped, what is too short to be read lasts a little."""
    timed: list[Cue] = []
    until = 0
    for index, cue in enumerate(cues):
        start = max(cue.start, until)
        following = cues[index + 1].start if index + 1 < len(cues) else start + MOST_MS
        end = min(max(cue.end, start + LEAST_MS), max(following, start + 1), start + MOST_MS)
        timed.append(Cue(start, end, cue.lines, cue.speaker))
        until = end
    return timed


def _text(run: Sequence[_Piece]) -> str:
    return "".join(piece.text for piece in run).strip()


def _width(text: str) -> int:
    """Letters, of which wide East Asian ones take the room of two and combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(letter)
        else 2
        if unicodedata.east_asian_width(letter) in "WF"
        else 1
        for letter in text
    )
