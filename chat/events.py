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
CONSUME_TIMEOUT_SECONDS = 5.0


class AnswerStream:
    """An answer's text deltas and then the Answer: started in one task, consumed in another.

    A stream that nobody consumes within CONSUME_TIMEOUT_SECONDS, because the client disconnected in between, is
    closed: the provider's connection must not stay open until garbage collection.
    """

    def __init__(self, deltas: AsyncGenerator[str | Answer, None]) -> None:
        self._deltas = deltas
        self._is_consumed = False
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the first delta. Raises LanguageModelError."""
        self._first = await anext(self._deltas)
        asyncio.get_running_loop().call_later(CONSUME_TIMEOUT_SECONDS, self._close_if_unconsumed)

    async def consume(self) -> AsyncGenerator[str | Answer, None]:
        self._is_consumed = True
        async with aclosing(self._deltas):
            yield self._first
            async for delta in self._deltas:
                yield delta

    def _close_if_unconsumed(self) -> None:
        if not self._is_consumed:
            self._closing = asyncio.ensure_future(self._deltas.aclose())


async def encode_events(answer: AnswerStream, *, model: str) -> AsyncIterator[str]:
    """Yield an event for each text delta, one with the finish reason, one with usage and citations, then [DONE].

    An answer that fails midway ends with an `error` object and without [DONE].
    """
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }
    try:
        async with aclosing(answer.consume()) as deltas:
            yield _event(head | _choice({"role": "assistant", "content": ""}))
            async for delta in deltas:
                if isinstance(delta, Answer):
                    yield _event(head | _choice({}, finish_reason=delta.finish_reason))
                    yield _event(head | {"model": delta.model} | _usage_and_citations(delta))
                    yield "data: [DONE]\n\n"
                else:
                    yield _event(head | _choice({"content": delta}))
    except LanguageModelError as error:
        _logger.warning("The answer stream of model %r failed: %s", model, error)
        yield _event({"error": {"message": str(error), "type": error.problem}})
    except Exception:
        _logger.exception("The answer stream of model %r failed.", model)
        reason = "Internal error. The service's log has the details."
        yield _event({"error": {"message": reason, "type": "internal"}})


def _choice(delta: dict[str, str], *, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _usage_and_citations(answer: Answer) -> dict[str, Any]:
    usage = answer.usage and {
        "prompt_tokens": answer.usage.prompt,
        "completion_tokens": answer.usage.completion,
        "total_tokens": answer.usage.total,
    }
    citations = [asdict(passage) for passage in answer.citations]
    return {"choices": [], "usage": usage, "citations": citations}


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document)}\n\n"
