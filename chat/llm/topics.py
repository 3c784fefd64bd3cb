"""Topics as language models give them: JSON if they are asked well, lists of all kinds if not."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from chat.llm import text

FEWEST, MOST = 3, 8
MAX_LENGTH, MAX_WORDS = 60, 6
MAX_ATTEMPTS = 20
"""How many brackets are tried for the beginning of JSON: a model may write nothing else."""

RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "topics",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "topics": {
                    "type": "array",
                    "items": {"type": "string", "maxLength": MAX_LENGTH},
                    "minItems": FEWEST,
                    "maxItems": MOST,
                }
            },
            "required": ["topics"],
            "additionalProperties": False,
        },
    },
}

_BULLET = re.compile(r"^\s*(?:[-*•‣◦–]|\d{1,2}[.):])\s*(?=\S)")
_JSON_BEGIN = re.compile(r"[\[{]")
_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
_SEPARATOR = re.compile(r"[,;、，；]")
_AROUND = " \t\"'`*_“”„«»‘’「」.。,;:、-–"


def parse(reply: str) -> list[str]:
    """Up to 8 short phrases, no two the same, from JSON, alone or in prose, from a list, or from a line with commas."""
    return tidy(_from_json(reply) or _from_lines(reply))


def tidy(phrases: Sequence[str]) -> list[str]:
    """Those that are short phrases, without quotes and full stops, each once."""
    kept: dict[str, str] = {}
    for phrase in phrases:
        clean = text.one_line(phrase).strip(_AROUND)
        if clean and len(clean) <= MAX_LENGTH and len(clean.split()) <= MAX_WORDS:
            kept.setdefault(clean.casefold(), clean)
    return list(kept.values())[:MOST]


def _from_json(reply: str) -> list[str]:
    """The strings of the first JSON in the reply that holds any."""
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(MAX_ATTEMPTS):
        match = _JSON_BEGIN.search(reply, position)
        if match is None:
            break
        try:
            value, position = decoder.raw_decode(reply, match.start())
        except (ValueError, RecursionError):
            position = match.end()
            continue
        if found := list(_strings(value)):
            return found
    return []


def _strings(value: object) -> Iterator[str]:
    """The topics in a list of strings or objects, or in an object that holds one."""
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list)]
        for each in lists[:1]:
            yield from _strings(each)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield item
            elif isinstance(item, dict):
                # {"topic": "Budget", "relevance": 0.9}: the first string is its name.
                yield from [each for each in item.values() if isinstance(each, str)][:1]


def _from_lines(reply: str) -> list[str]:
    lines = [line.strip() for line in _FENCE.sub("", reply).splitlines() if line.strip()]
    points = [_BULLET.sub("", line) for line in lines if _BULLET.match(line)]
    if points:
        # "Budget: how much was spent": the label is the topic.
        return [point.split(":")[0] if len(point) > MAX_LENGTH else point for point in points]
    separated = [line for line in lines if len(_SEPARATOR.findall(line)) >= FEWEST - 1]
    if separated:
        return _SEPARATOR.split(separated[0].split(":")[-1])
    return lines if len(lines) >= FEWEST else []
