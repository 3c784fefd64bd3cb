"""A language model on any OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp …"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from chat.llm import context_window, prompts, replies, text, topics
from chat.llm.base import (
    Answer,
    LanguageModelError,
    Message,
    Passage,
    Problem,
    Question,
    Style,
    Transcript,
)
from chat.llm.provider_client import Connection, Reply, Request
from chat.llm.provider_errors import ContextExceededError, UsedUpError

TEMPERATURE = 0.2
"""For summaries: close to the text."""
MAX_SHRINKS = 3
MAX_ROUNDS = 4
"""How often a transcript is condensed until a summary of it fits."""
MAX_ANSWER_TOKENS = 8192
TOPICS_TOKENS = 400
TOKENS_PER_WORD = 3
"""Of languages that tokenizers know less well; English has 1.3."""


class OpenAICompatible:
    def __init__(self, connection: Connection, *, model: str, context_tokens: int) -> None:
        self._connection = connection
        self._model = model
        self._context_tokens = context_tokens

    @property
    def name(self) -> str:
        return self._model

    async def answer(self, question: Question) -> Answer:
        limit = self._connection.time_limit()
        room = self._room(self._answer_tokens(question))
        for n_shrinks in range(MAX_SHRINKS + 1):
            # Searching hours of talk takes a while, in which others are to be served.
            plan = await asyncio.to_thread(context_window.plan, question, room=room)
            try:
                reply = await self._connection.complete(self._request(plan, question), limit)
            except ContextExceededError as error:
                if n_shrinks == MAX_SHRINKS:
                    raise
                room = self._smaller(plan, question, error)
            else:
                return await _answered(reply, plan)
        raise AssertionError("the last attempt returns or raises")

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        limit = self._connection.time_limit()
        room = self._room(self._answer_tokens(question))
        for n_shrinks in range(MAX_SHRINKS + 1):
            plan = await asyncio.to_thread(context_window.plan, question, room=room)
            has_begun = False
            pieces = self._connection.stream(self._request(plan, question), limit)
            try:
                async with aclosing(pieces):
                    async for piece in pieces:
                        has_begun = True
                        yield await _answered(piece, plan) if isinstance(piece, Reply) else piece
                return
            except ContextExceededError as error:
                if has_begun or n_shrinks == MAX_SHRINKS:
                    raise
                room = self._smaller(plan, question, error)

    async def parts(self, transcript: Transcript) -> Sequence[Transcript]:
        empty = Transcript((), transcript.language)
        around = max(
            prompts.count_tokens(prompts.condensing(empty, max_words=9999)),
            *(
                prompts.count_tokens(prompts.summarizing(empty, style=style, max_words=9999))
                for style in Style
            ),
        )
        room = max(context_window.FRAME_TOKENS, self._room(self._writing_tokens) - around)
        return await asyncio.to_thread(context_window.cut, transcript, room=room)

    async def condense(self, part: Transcript) -> Sequence[Passage]:
        n_words = sum(text.count_words(each.text) for each in part.passages)
        if not n_words:
            return []
        target = max(20, n_words // 5)
        messages = prompts.condensing(part, max_words=target)
        try:
            reply = await self._write(messages, max_words=target)
        except ContextExceededError as error:
            self._learn(error)
            halves = context_window.halves(part)
            if len(halves) == 1:
                raise
            return [passage for half in halves for passage in await self.condense(half)]
        # Some models write more than they were given. What is not shorter could be condensed forever.
        return replies.notes(text.cut_to_words(reply, max(30, n_words // 3)), part)

    async def summarize(self, transcript: Transcript, *, style: Style, max_words: int) -> str:
        for _ in range(MAX_ROUNDS):
            messages = prompts.summarizing(transcript, style=style, max_words=max_words)
            try:
                self._check_fits(messages, self._writing_tokens)
                reply = await self._write(messages, max_words=max_words)
            except ContextExceededError as error:
                self._learn(error)
                transcript = await self._condensed(transcript)
            else:
                written = replies.shaped(reply, style)
                if not written:
                    raise self._connection.nothing_said(self._model)
                return text.cut_to_words(written, max_words)
        raise LanguageModelError(
            f"The transcript is too long for {self._model}, which reads {self._context_tokens} tokens at once.",
            problem=Problem.TOO_LONG,
        )

    async def topics(self, transcript: Transcript, *, summary: str) -> Sequence[str]:
        summarized = Transcript(
            tuple(Passage(each) for each in text.sentences(summary)), transcript.language
        )
        try:
            messages = prompts.naming_topics(summarized, transcript=transcript)
            self._check_fits(messages, TOPICS_TOKENS)
            reply = await self._name_topics(messages)
        except ContextExceededError as error:
            self._learn(error)
            reply = await self._name_topics(prompts.naming_topics(summarized))
        found = topics.parse(reply)
        if len(found) < topics.FEWEST:
            from chat.llm.keyphrases import keyphrases

            more = await asyncio.to_thread(keyphrases, transcript, limit=topics.MOST)
            found = topics.tidy([*found, *more])
        return found

    async def _name_topics(self, messages: Sequence[Message]) -> str:
        try:
            return await self._write(messages, response_format=topics.RESPONSE_FORMAT)
        except LanguageModelError as error:
            # A server may refuse the schema without naming it.
            if error.problem is not Problem.REQUEST:
                raise
            return await self._write(messages)

    async def _condensed(self, transcript: Transcript) -> Transcript:
        noted: list[Passage] = []
        for part in await self.parts(transcript):
            noted.extend(await self.condense(part))
        return Transcript(tuple(noted), transcript.language)

    async def _write(
        self,
        messages: Sequence[Message],
        *,
        max_words: int = TOPICS_TOKENS // TOKENS_PER_WORD,
        response_format: Mapping[str, Any] | None = None,
    ) -> str:
        limit = self._connection.time_limit()
        max_tokens = min(self._writing_tokens, max_words * TOKENS_PER_WORD + 64)
        request = Request(self._model, messages, max_tokens, TEMPERATURE, response_format)
        try:
            return (await self._connection.complete(request, limit)).text
        except UsedUpError:
            # What a reasoning model thinks counts too.
            if max_tokens >= self._writing_tokens:
                raise
            more = Request(
                self._model, messages, self._writing_tokens, TEMPERATURE, response_format
            )
            return (await self._connection.complete(more, limit)).text

    @property
    def _writing_tokens(self) -> int:
        """What is kept free for what the model writes, when it summarizes."""
        return min(self._context_tokens // 3, MAX_ANSWER_TOKENS)

    def _answer_tokens(self, question: Question) -> int:
        """What is kept free for the answer; half of a small context belongs to the transcript."""
        return max(1, min(question.max_tokens, self._context_tokens // 2))

    def _room(self, answer_tokens: int) -> int:
        """For the prompt."""
        return self._context_tokens - answer_tokens - self._context_tokens // 50

    def _check_fits(self, messages: Sequence[Message], answer_tokens: int) -> None:
        n_prompt = prompts.count_tokens(messages)
        if n_prompt > self._room(answer_tokens):
            raise ContextExceededError(
                f"About {n_prompt} tokens are too many for {self._model}, which reads"
                f" {self._context_tokens} at once.",
                n_prompt=n_prompt,
                n_context=self._context_tokens,
            )

    def _request(self, plan: context_window.Plan, question: Question) -> Request:
        max_tokens = self._answer_tokens(question)
        return Request(self._model, plan.messages, max_tokens, question.temperature)

    def _smaller(
        self, plan: context_window.Plan, question: Question, error: ContextExceededError
    ) -> int:
        """How many tokens, as we estimate them, the prompt may have after one of `plan` was too long."""
        self._learn(error)
        share = 0.6
        if error.n_prompt and error.n_context:
            allowed = error.n_context - self._answer_tokens(question)
            share = min(0.9, 0.95 * allowed / error.n_prompt)
        return int(plan.n_tokens * share)

    def _learn(self, error: ContextExceededError) -> None:
        """The server knows better than what was set or listed."""
        if error.n_context:
            self._context_tokens = min(self._context_tokens, error.n_context)


async def _answered(reply: Reply, plan: context_window.Plan) -> Answer:
    cited = await asyncio.to_thread(replies.citations, reply.text, plan.sent)
    return Answer(reply.text, reply.model, reply.usage, cited, reply.finish_reason)
