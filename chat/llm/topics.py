"""Parse topics from the replies of language models: JSON, or lists in any format."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from chat.llm import text

MIN_TOPICS, MAX_TOPICS = 3, 8
MAX_LENGTH, MAX_WORDS = 60, 6
MAX_ATTEMPTS = 20
"""How many brackets are tried as the start of JSON: a reply may consist of brackets alone."""

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
                    "minItems": MIN_TOPICS,
                    "maxItems": MAX_TOPICS,
                }
            },
            "required": ["topics"],
            "additionalProperties": False,
        },
    },
}

_BULLET = re.compile(r"^\s*(?:[-*•‣◦–]|\d{1,2}[.):])\s*(?=\S)")
_JSON_START = re.compile(r"[\[{]")
_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
_SEPARATOR = re.compile(r"[,;、，；]")
_SURROUNDING = " \t\"'`*_“”„«»‘’「」.。,;:、-–"


def parse(reply: str) -> list[str]:
    """Parse up to 8 distinct short phrases from JSON (also within prose), a list, or a comma-separated line."""
    return clean(_from_json(reply) or _from_lines(reply))


def clean(phrases: Sequence[str]) -> list[str]:
    """Strip quotes and punctuation, and drop long phrases and duplicates."""
    kept: dict[str, str] = {}
    for phrase in phrases:
        stripped = text.one_line(phrase).strip(_SURROUNDING)
        if stripped and len(stripped) <= MAX_LENGTH and len(stripped.split()) <= MAX_WORDS:
            kept.setdefault(stripped.casefold(), stripped)
    return list(kept.values())[:MAX_TOPICS]


def _from_json(reply: str) -> list[str]:
    """The topics in the first JSON value of the reply that contains any."""
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(MAX_ATTEMPTS):
        match = _JSON_START.search(reply, position)
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
    """Yield the topics of a list of strings or objects, or of an object that contains such a list."""
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
    separated = [line for line in lines if len(_SEPARATOR.findall(line)) >= MIN_TOPICS - 1]
    if separated:
        return _SEPARATOR.split(separated[0].split(":")[-1])
    return lines if len(lines) >= MIN_TOPICS else []
