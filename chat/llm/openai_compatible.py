"""A language model on any OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp …"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
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
from chat.llm.provider_errors import ContextExceededError, MaxTokensReachedError

TEMPERATURE = 0.2
"""Of summaries, notes and topics. Low, to stay close to the transcript."""
MAX_SHRINKS = 3
"""How often a prompt is shortened after the server rejected it as too long."""
MAX_CONDENSE_ROUNDS = 4
"""How often a transcript is condensed until it fits the context window."""
MAX_ANSWER_TOKENS = 8192
TOPICS_TOKENS = 400
TOKENS_PER_WORD = 3
"""For languages that tokenizers split finely; English has 1.3."""


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
        max_tokens = self._max_prompt_tokens(self._answer_tokens(question))
        for n_shrinks in range(MAX_SHRINKS + 1):
            prompt = await _build_prompt(question, max_tokens)
            try:
                reply = await self._connection.complete(self._request(prompt, question), limit)
            except ContextExceededError as error:
                if n_shrinks == MAX_SHRINKS:
                    raise
                max_tokens = self._shrink(prompt, question, error)
            else:
                return await _answer_with_citations(reply, prompt)
        raise AssertionError("the last attempt returns or raises")

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        limit = self._connection.time_limit()
        max_tokens = self._max_prompt_tokens(self._answer_tokens(question))
        for n_shrinks in range(MAX_SHRINKS + 1):
            prompt = await _build_prompt(question, max_tokens)
            has_started = False
            deltas = self._connection.stream(self._request(prompt, question), limit)
            try:
                async with aclosing(deltas):
                    async for delta in deltas:
                        has_started = True
                        if isinstance(delta, Reply):
                            yield await _answer_with_citations(delta, prompt)
                        else:
                            yield delta
                return
            except ContextExceededError as error:
                if has_started or n_shrinks == MAX_SHRINKS:
                    raise
                max_tokens = self._shrink(prompt, question, error)

    async def parts(self, transcript: Transcript) -> Sequence[Transcript]:
        empty = Transcript((), transcript.language)
        n_instructions = max(
            prompts.count_tokens(prompts.notes_prompt(empty, max_words=9999)),
            *(
                prompts.count_tokens(prompts.summary_prompt(empty, style=style, max_words=9999))
                for style in Style
            ),
        )
        available = self._max_prompt_tokens(self._output_tokens) - n_instructions
        max_tokens = max(context_window.OVERHEAD_TOKENS, available)
        return await asyncio.to_thread(context_window.split, transcript, max_tokens=max_tokens)

    async def condense(self, part: Transcript) -> Sequence[Passage]:
        n_words = sum(text.count_words(each.text) for each in part.passages)
        if not n_words:
            return []
        target = max(20, n_words // 5)
        messages = prompts.notes_prompt(part, max_words=target)
        try:
            reply = await self._complete(messages, max_words=target)
        except ContextExceededError as error:
            self._apply_context_limit(error)
            halves = context_window.halve(part)
            if len(halves) == 1:
                raise
            return [passage for half in halves for passage in await self.condense(half)]
        # Truncated, because some models write more than they read, and the reduction would not end.
        return replies.parse_notes(text.cut_to_words(reply, max(30, n_words // 3)), part)

    async def summarize(self, transcript: Transcript, *, style: Style, max_words: int) -> str:
        for _ in range(MAX_CONDENSE_ROUNDS):
            messages = prompts.summary_prompt(transcript, style=style, max_words=max_words)
            try:
                self._check_fits(messages, self._output_tokens)
                reply = await self._complete(messages, max_words=max_words)
            except ContextExceededError as error:
                self._apply_context_limit(error)
                transcript = await self._condense_all(transcript)
            else:
                summary = replies.format_summary(reply, style)
                if not summary:
                    raise self._connection.empty_answer_error(self._model)
                return text.cut_to_words(summary, max_words)
        raise LanguageModelError(
            f"The transcript is too long for {self._model}, whose context window has"
            f" {self._context_tokens} tokens.",
            problem=Problem.TOO_LONG,
        )

    async def topics(self, transcript: Transcript, *, summary: str) -> Sequence[str]:
        summarized = Transcript(
            tuple(Passage(each) for each in text.sentences(summary)), transcript.language
        )
        try:
            messages = prompts.topics_prompt(summarized, transcript=transcript)
            self._check_fits(messages, TOPICS_TOKENS)
            reply = await self._complete_topics(messages)
        except ContextExceededError as error:
            self._apply_context_limit(error)
            reply = await self._complete_topics(prompts.topics_prompt(summarized))
        names = topics.parse(reply)
        if len(names) < topics.MIN_TOPICS:
            from chat.llm.keyphrases import keyphrases

            more = await asyncio.to_thread(keyphrases, transcript, limit=topics.MAX_TOPICS)
            names = topics.clean([*names, *more])
        return names

    async def _complete_topics(self, messages: Sequence[Message]) -> str:
        try:
            return await self._complete(messages, response_format=topics.RESPONSE_FORMAT)
        except LanguageModelError as error:
            # Some servers reject the schema without naming the parameter, so retry without it.
            if error.problem is not Problem.REQUEST:
                raise
            return await self._complete(messages)

    async def _condense_all(self, transcript: Transcript) -> Transcript:
        notes: list[Passage] = []
        for part in await self.parts(transcript):
            notes.extend(await self.condense(part))
        return Transcript(tuple(notes), transcript.language)

    async def _complete(
        self,
        messages: Sequence[Message],
        *,
        max_words: int = TOPICS_TOKENS // TOKENS_PER_WORD,
        response_format: Mapping[str, Any] | None = None,
    ) -> str:
        limit = self._connection.time_limit()
        max_tokens = min(self._output_tokens, max_words * TOKENS_PER_WORD + 64)
        request = Request(self._model, messages, max_tokens, TEMPERATURE, response_format)
        try:
            return (await self._connection.complete(request, limit)).text
        except MaxTokensReachedError:
            # The reasoning counts as output, so retry with the largest limit.
            if max_tokens >= self._output_tokens:
                raise
            retry = replace(request, max_tokens=self._output_tokens)
            return (await self._connection.complete(retry, limit)).text

    @property
    def _output_tokens(self) -> int:
        """The tokens reserved for the output of summaries, notes and topics."""
        return min(self._context_tokens // 3, MAX_ANSWER_TOKENS)

    def _answer_tokens(self, question: Question) -> int:
        """The tokens reserved for an answer; at most half of the context window, the rest is for the transcript."""
        return max(1, min(question.max_tokens, self._context_tokens // 2))

    def _max_prompt_tokens(self, answer_tokens: int) -> int:
        """The tokens left for the prompt, less 2 % for errors of the estimate."""
        return self._context_tokens - answer_tokens - self._context_tokens // 50

    def _check_fits(self, messages: Sequence[Message], answer_tokens: int) -> None:
        n_prompt = prompts.count_tokens(messages)
        if n_prompt > self._max_prompt_tokens(answer_tokens):
            raise ContextExceededError(
                f"The prompt has about {n_prompt} tokens, and the context window of {self._model}"
                f" has {self._context_tokens}.",
                n_prompt=n_prompt,
                n_context=self._context_tokens,
            )

    def _request(self, prompt: context_window.Prompt, question: Question) -> Request:
        max_tokens = self._answer_tokens(question)
        return Request(self._model, prompt.messages, max_tokens, question.temperature)

    def _shrink(
        self, prompt: context_window.Prompt, question: Question, error: ContextExceededError
    ) -> int:
        """After `prompt` was too long: the estimated tokens that the next one may have."""
        self._apply_context_limit(error)
        share = 0.6
        if error.n_prompt and error.n_context:
            allowed = error.n_context - self._answer_tokens(question)
            share = min(0.9, 0.95 * allowed / error.n_prompt)
        return int(prompt.n_tokens * share)

    def _apply_context_limit(self, error: ContextExceededError) -> None:
        """Lower the context window to the one that the server reports."""
        if error.n_context:
            self._context_tokens = min(self._context_tokens, error.n_context)


async def _build_prompt(question: Question, max_tokens: int) -> context_window.Prompt:
    """Build the prompt in a thread: searching hours of transcript would block the event loop."""
    return await asyncio.to_thread(context_window.build_prompt, question, max_tokens=max_tokens)


async def _answer_with_citations(reply: Reply, prompt: context_window.Prompt) -> Answer:
    citations = await asyncio.to_thread(replies.find_citations, reply.text, prompt.transcript)
    return Answer(reply.text, reply.model, reply.usage, citations, reply.finish_reason)
