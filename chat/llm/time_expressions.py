"""Find the time expressions in a question: "minute 170", "at 1:23:45", "in the last ten minutes"."""

import re
from dataclasses import dataclass

from chat.llm.tokenize import SMALL_NUMBERS, fold


@dataclass(frozen=True)
class Span:
    """A time span of a recording, in seconds."""

    start: float
    end: float
    point: float | None = None
    """The point in time that the span surrounds, if the question names a point."""


_SECONDS_BEFORE, _SECONDS_AFTER = 15.0, 45.0
"""The span around a point in time."""
_EDGE_SHARE, _MIN_EDGE, _MAX_EDGE = 0.03, 60.0, 300.0
"""How much of a recording is its beginning or its end: a share of it, within limits in seconds."""
_NUMBER_WORDS = {
    **{word: n for n, word in enumerate(SMALL_NUMBERS, 1)},
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "few": 5,
    "couple of": 3,
    "couple": 3,
    "half": 30,
    "funf": 5,
    "zehn": 10,
    "dix": 10,
    "cinq": 5,
    "diez": 10,
    "cinco": 5,
    "dieci": 10,
    "cinque": 5,
    "dez": 10,
}
_NUMBER = rf"(\d{{1,4}}|{'|'.join(sorted(_NUMBER_WORDS, key=len, reverse=True))})"
_MINUTES = r"(?:minut\w*|mins?\b)"
_HOURS = r"(?:h\b|hours?|hrs?\b|stunden?|heures?|horas?|ore\b|ora\b|uur\b)"

_LONG_CLOCK = re.compile(r"(?<![\d:])(\d{1,2}):([0-5]\d):([0-5]\d)(?![\d:])")
_SHORT_CLOCK = re.compile(
    r"(?<![\d:])(\d{1,3}):([0-5]\d)(?![\d:])(?!\s*(?:[ap]\.?m\b|uhr\b|o'clock))"
)
_HOUR_AND_MINUTE = re.compile(
    rf"\b(\d{{1,2}})\s*{_HOURS[:-1]}|h(?=\d))\s*(?:and|und|et|y|e)?\s*(\d{{1,2}})\b"
)
_MINUTE = re.compile(
    rf"\b{_MINUTES}\s+(\d{{1,4}})\b|\b(\d{{1,4}})(?:st|nd|rd|th|\.|e|eme|o)\s+minut\w*"
    rf"|\b(\d{{1,4}})\s+{_MINUTES}\s+(?:in|into|mark)\b|(?<!\d)(\d{{1,4}})分"
)
_SECONDS = r"(?:seconds?|secs?|s|sekunden?|secondes?|segundos?|secondi)"
_SECOND = re.compile(
    rf"\b(?:at|after|around|about|bei|nach|a|apres|vers|dopo)\s+(\d{{1,5}})\s*{_SECONDS}\b"
    rf"|\bseconds?\s+(\d{{1,5}})\b"
)
_FIRST = re.compile(
    rf"\b(?:first|opening|erste[nr]?|premieres?|primer[oa]s|primi|primeiros)\s+(?:{_NUMBER}\s*)?{_MINUTES}"
)
_LAST = re.compile(
    rf"\b(?:last|final|closing|letzte[nr]?|dernieres?|ultim[oai]s?)\s+(?:{_NUMBER}\s*)?{_MINUTES}"
    rf"|\b{_NUMBER}\s+(?:dernieres?|ultim[oai]s?)\s+{_MINUTES}"
)
# "at the end of the week" is no time of the recording; "at the end of the meeting" is.
_NOT_OF_SOMETHING_ELSE = (
    r"(?!\s+(?:of|von|de|del|du|des)\s+(?!(?:the\s+|this\s+|der\s+|des\s+|la\s+|el\s+|l')?"
    r"(?:meeting|call|recording|interview|talk|conversation|discussion|transcript|session|lecture"
    r"|video|audio|podcast|gesprach\w*|sitzung|aufnahme|besprechung|reunion|conversa\w*|entre\w*"
    r"|enregistrement|grabacion)\b))"
)
_HOW_DID_THE_RECORDING = (
    r"how\s+d(?:id|oes)\s+(?:the|this)\s+(?:meeting|call|talk|conversation|interview|recording)"
)
_BEGINNING = re.compile(
    rf"\b(?:(?:at|in)\s+the\s+(?:very\s+)?(?:beginning|start|outset)|am\s+anfang|zu\s+beginn|au\s+debut"
    rf"|al\s+(?:principio|inicio|comienzo)|all'inizio|no\s+(?:inicio|comeco)"
    rf"|{_HOW_DID_THE_RECORDING}\s+(?:start|begin|open))\b{_NOT_OF_SOMETHING_ELSE}"
)
_END = re.compile(
    rf"\b(?:at\s+the\s+(?:very\s+)?end|am\s+ende|am\s+schluss|zum\s+schluss|a\s+la\s+fin"
    rf"|al\s+final|alla\s+fine|no\s+final"
    rf"|{_HOW_DID_THE_RECORDING}\s+(?:end|finish|close))\b{_NOT_OF_SOMETHING_ELSE}"
)


def find_spans(question: str, *, duration: float) -> list[Span]:
    """Find the time spans that `question` names, within a recording of `duration` seconds."""
    text = fold(question)
    found = [*_clock_spans(text, duration), *_minute_spans(text), *_edge_spans(text, duration)]
    return [span for span in dict.fromkeys(found) if span.start < duration and span.end > 0]


def remove(question: str) -> str:
    """Remove the time expressions: nobody speaks them, so they would match the wrong passages."""
    rest = fold(question)
    for pattern in (
        _LONG_CLOCK,
        _HOUR_AND_MINUTE,
        _MINUTE,
        _SECOND,
        _FIRST,
        _LAST,
        _BEGINNING,
        _END,
    ):
        rest = pattern.sub(" ", rest)
    return _SHORT_CLOCK.sub(" ", rest)


def _clock_spans(text: str, duration: float) -> list[Span]:
    """Spans around "1:23:45", "2:50", "at 18 seconds"; and the minute after "2 h 50"."""
    points = [float("".join(groups)) for groups in _SECOND.findall(text)]
    points += [3600.0 * int(h) + 60 * int(m) + int(s) for h, m, s in _LONG_CLOCK.findall(text)]
    for first, second in _SHORT_CLOCK.findall(text):
        # 2:50 is ambiguous: 2 min 50, or 2 h 50 if the recording is long enough.
        points += [60.0 * int(first) + int(second), 3600.0 * int(first) + 60 * int(second)]
    around = [Span(at - _SECONDS_BEFORE, at + _SECONDS_AFTER, at) for at in points if at < duration]
    return around + [
        Span(3600.0 * int(h) + 60 * int(m), 3600.0 * int(h) + 60 * int(m) + 60)
        for h, m in _HOUR_AND_MINUTE.findall(text)
    ]


def _minute_spans(text: str) -> list[Span]:
    """The minute that "minute 170", "the 42nd minute" or "90 minutes in" names."""
    numbers = [int("".join(groups)) for groups in _MINUTE.findall(text)]
    return [Span(60.0 * number, 60.0 * number + 60) for number in numbers]


def _edge_spans(text: str, duration: float) -> list[Span]:
    """Spans for "the first 5 minutes", "the last minute", "at the beginning", "at the end"."""
    min_edge = min(_MIN_EDGE, duration / 4)
    edge = min(_MAX_EDGE, max(min_edge, _EDGE_SHARE * duration))
    found = [Span(0.0, 60.0 * _parse_number(word)) for word in _FIRST.findall(text)]
    found += [
        Span(duration - 60.0 * _parse_number("".join(words)), duration)
        for words in _LAST.findall(text)
    ]
    if _BEGINNING.search(text):
        found.append(Span(0.0, edge))
    if _END.search(text):
        found.append(Span(duration - edge, duration))
    return found


def _parse_number(word: str) -> int:
    """Parse a number in digits or words; 1 if there is none, as in "the last minute"."""
    return int(word) if word.isdigit() else _NUMBER_WORDS.get(word, 1)
