"""Subtitles: a transcript as cues of readable length.

At most two lines of 42 characters, and 7 seconds (as in Netflix's Timed Text Style Guide); cut between words,
preferably after punctuation, and where the speaker changes.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from transcription.models import Segment
from transcription.transcript.word_alignment import is_unspaced, shown_words

MOST_LETTERS = 42
MOST_MS = 7_000
LEAST_MS = 1_000
"""Shortest display time of a cue, if no other follows."""
BRIEFEST_MS = 500
"""Shortest display time even if it delays the next cue: words without duration, or speakers who interrupt."""
PAUSE_MS = 1_500
"""No cue spans a pause of this length."""
PUNCTUATION = tuple(".,;:!?…。、，！？；：،؟؛।")
CLOSING = "\"'”’»)]」』）"
"""May follow punctuation at the end of a word."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One or two lines, shown from `start` to `end`, in milliseconds."""

    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None


@dataclass(frozen=True, slots=True)
class _Word:
    """Text that no line break may split; times in milliseconds."""

    start: int
    end: int
    text: str
    """With the blank before it, if there is one."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, or a part of one that is too long for a line; times in milliseconds."""

    start: int
    end: int
    text: str
    width: int
    """Display width with the blank before it; summed rather than measured again at each try."""
    blank: int
    ends_clause: bool


def make_cues(segments: Iterable[Segment], *, with_names: bool = False) -> list[Cue]:
    """The cues, in order of time, none of which overlaps another or lasts no time.

    `with_names` puts "Name: " before what somebody else says, for formats that know no speakers.
    """
    cues: list[Cue] = []
    speaker: str | None = None
    for segment in segments:
        words = list(_words(segment))
        if with_names and segment.speaker and segment.speaker != speaker:
            words = _named(words, segment.speaker)
        if words:
            speaker = segment.speaker
        pieces = [piece for word in words for piece in _cut(word)]
        cues += [
            Cue(run[0].start, run[-1].end, _lines(run), segment.speaker) for run in _runs(pieces)
        ]
    return _in_time(cues)


def _words(segment: Segment) -> Iterator[_Word]:
    """Join words with what belongs to them: Whisper writes "well" and "-known", "10" and "%" as separate words."""
    whole: _Word | None = None
    for word in shown_words(segment):
        start, end = round(1000 * word["start"]), round(1000 * word["end"])
        text = _shown(word["text"])
        if whole is None:
            whole = _Word(start, max(start, end), text)
        elif _may_part(whole.text, text):
            yield whole
            whole = _Word(start, max(start, end), text)
        else:
            whole = _Word(whole.start, max(whole.end, end), whole.text + text)
    if whole is not None and _is_seen(whole.text):
        yield whole


def _shown(text: str) -> str:
    """Remove line breaks and control characters, which would end a cue or document; keep joiners and marks."""
    if text.isprintable():
        return text
    return "".join(
        " " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in text
    )


def _may_part(before: str, after: str) -> bool:
    if not _is_seen(before) or not _is_seen(after) or after.startswith(PUNCTUATION):
        return False
    return after[:1].isspace() or is_unspaced(before[-1:]) or is_unspaced(after[:1])


def _named(words: Sequence[_Word], name: str) -> list[_Word]:
    if not words:
        return []
    first = words[0]
    named = [_Word(first.start, first.start, f" {part}") for part in f"{name}:".split()]
    # The first word of an edited text has no blank before it.
    return [*named, _Word(first.start, first.end, f" {first.text.lstrip()}"), *words[1:]]


def _cut(word: _Word) -> Iterator[_Piece]:
    """Split a word into parts that fit in a line, each with its share of the time."""
    text = word.text.strip()
    blank = word.text[: len(word.text) - len(word.text.lstrip())][:1]
    done = 0
    for part in _parts(text):
        until = done + len(part)
        start, end = (word.start + (word.end - word.start) * n // len(text) for n in (done, until))
        ends_clause = part.rstrip(CLOSING).endswith(PUNCTUATION)
        width = _width(blank)
        yield _Piece(start, end, blank + part, width + _width(part), width, ends_clause)
        done, blank = until, ""


def _parts(text: str) -> Iterator[str]:
    if _width(text) <= MOST_LETTERS:
        if text:
            yield text
        return
    begin = width = 0
    for index, letter in enumerate(text):
        wide = _letter_width(letter)
        if width + wide > MOST_LETTERS:
            yield text[begin:index]
            begin, width = index, 0
        width += wide
    yield text[begin:]


def _runs(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Group pieces into cues."""
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
    return run[-1].end - run[0].start <= MOST_MS and _second_line(run) is not None


def _best_cut(run: Sequence[_Piece]) -> int:
    """Return where to break: after the last punctuation in the second half, else at the end."""
    width = _run_width(run)
    half = width / 2
    for cut in range(len(run), 0, -1):
        if width < half:
            break
        if run[cut - 1].ends_clause:
            return cut
        width -= run[cut - 1].width
    return len(run)


def _lines(run: Sequence[_Piece]) -> tuple[str, ...]:
    second = _second_line(run)
    assert second is not None, "only what fits becomes a cue"
    return tuple(_text(line) for line in (run[:second], run[second:]) if line)


def _second_line(run: Sequence[_Piece]) -> int | None:
    """Return the index of the piece that begins the second line, for two lines of similar length.

    The number of pieces if one line is enough, None if two are not.
    """
    whole = _run_width(run)
    if whole <= MOST_LETTERS:
        return len(run)
    best: tuple[float, int] | None = None
    first = -run[0].blank
    for cut in range(1, len(run)):
        first += run[cut - 1].width
        second = whole - first - run[cut].blank
        if max(first, second) > MOST_LETTERS:
            continue
        badness = abs(first - second) * (0.5 if run[cut - 1].ends_clause else 1.0)
        if best is None or badness < best[0]:
            best = badness, cut
    return best[1] if best else None


def _in_time(cues: Sequence[Cue]) -> list[Cue]:
    """Arrange cues in sequence: clip overlaps, and extend cues that are too short to read."""
    timed: list[Cue] = []
    until = 0
    for index, cue in enumerate(cues):
        start = max(cue.start, until)
        following = cues[index + 1].start if index + 1 < len(cues) else start + MOST_MS
        end = min(max(cue.end, start + LEAST_MS), max(following, start + BRIEFEST_MS))
        until = min(end, start + MOST_MS)
        timed.append(Cue(start, until, cue.lines, cue.speaker))
    return timed


def _run_width(run: Sequence[_Piece]) -> int:
    return sum(piece.width for piece in run) - run[0].blank


def _text(run: Sequence[_Piece]) -> str:
    return "".join(piece.text for piece in run).strip()


def _is_seen(text: str) -> bool:
    return _width(text.strip()) > 0


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_letter_width, text))


@lru_cache(maxsize=4096)
def _letter_width(letter: str) -> int:
    """Return the display width: wide East Asian letters count twice, combining marks and joiners not at all."""
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
