"""An answer as server-sent events, in the shape of OpenAI's `chat.completion.chunk`."""

import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from chat.llm.base import Answer, LanguageModelError

_logger = logging.getLogger(__name__)
Pieces = AsyncGenerator[str | Answer, None]


async def events(first: str | Answer, rest: Pieces, *, model: str) -> AsyncIterator[str]:
    """A chunk for each piece of text, one that says why it ended, one with usage and citations, then [DONE].

    An answer that breaks off ends with an object `error`, and without [DONE].
    """
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }
    try:
        async with aclosing(_with_first(first, rest)) as pieces:
            yield _event(head | _choice({"role": "assistant", "content": ""}))
            async for piece in pieces:
                if isinstance(piece, Answer):
                    yield _event(head | _choice({}, finish_reason=piece.finish_reason))
                    yield _event(head | {"model": piece.model} | _ending(piece))
                    yield "data: [DONE]\n\n"
                else:
                    yield _event(head | _choice({"content": piece}))
    except LanguageModelError as error:
        _logger.warning("An answer by %s broke off: %s", model, error)
        yield _event({"error": {"message": str(error), "type": error.problem}})


async def _with_first(first: str | Answer, rest: Pieces) -> Pieces:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


def _choice(delta: dict[str, str], *, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _ending(answer: Answer) -> dict[str, Any]:
    usage = answer.usage and {
        "prompt_tokens": answer.usage.prompt,
        "completion_tokens": answer.usage.completion,
        "total_tokens": answer.usage.total,
    }
    citations = [asdict(passage) for passage in answer.citations]
    return {"choices": [], "usage": usage, "citations": citations}


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"
