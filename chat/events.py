"""An answer as server-sent events, in the shape of OpenAI's `chat.completion.chunk`."""

import asyncio
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
TAKEN_SECONDS = 5.0


class Pieces:
    """An answer's pieces, begun in one task and gone on with in another.

    If nobody goes on with them, because the client went away in between, they are closed: whoever makes them
    is not kept at it until the garbage collector comes by.
    """

    def __init__(self, pieces: AsyncGenerator[str | Answer, None]) -> None:
        self._pieces = pieces
        self._is_taken = False
        self._closing: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Wait for the first piece."""
        self._first = await anext(self._pieces)
        asyncio.get_running_loop().call_later(TAKEN_SECONDS, self._close_unless_taken)

    async def all(self) -> AsyncGenerator[str | Answer, None]:
        self._is_taken = True
        async with aclosing(self._pieces):
            yield self._first
            async for piece in self._pieces:
                yield piece

    def _close_unless_taken(self) -> None:
        if not self._is_taken:
            self._closing = asyncio.ensure_future(self._pieces.aclose())


async def events(answer: Pieces, *, model: str) -> AsyncIterator[str]:
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
        async with aclosing(answer.all()) as pieces:
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
    except Exception:
        _logger.exception("An answer by %s broke off.", model)
        reason = "Something went wrong here. Whoever runs the service finds the reason in its log."
        yield _event({"error": {"message": reason, "type": "internal"}})


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
    return f"data: {json.dumps(document)}\n\n"
