"""The built-in language model: it quotes relevant passages, and needs neither a provider nor weights."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from chat.llm import retrieval
from chat.llm.base import Answer, ModelCard, Passage, Question, Style, Transcript, Usage
from chat.llm.text import clock, count_tokens, cut_to_tokens, line, one_line

NAME = "local-extractive"
CARD = ModelCard(
    id=NAME,
    name="Built-in",
    description=(
        "Finds and quotes passages of the transcript, with their times and speakers. Summarizes by quoting its"
        " central sentences. It does not understand what it quotes. Needs no provider."
    ),
)
QUOTES_INTRO = "I find and quote passages; I do not understand them. Closest to your question:"
SHORT_INTRO = "I only quote:"
NOTHING_FOUND = (
    "I find and quote passages; I do not understand them. No passage of the transcript contains the words of your"
    " question. Try words that were spoken, a time such as 00:12:30, or ask for a summary: POST /api/summary/."
)
EMPTY = "The transcript is empty: there is nothing to quote."
_MAX_QUOTES = 4
_MIN_SCORE_SHARE = 0.5
"""A passage is quoted from this share of the best one's score."""
_QUOTE_TOKENS = 120
_MIN_QUOTE_TOKENS = 12


class Extractive:
    @property
    def name(self) -> str:
        return NAME

    async def answer(self, question: Question) -> Answer:
        return await asyncio.to_thread(_answer, question)

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        answer = await self.answer(question)
        for text_line in answer.text.splitlines(keepends=True):
            yield text_line
        yield answer

    async def parts(self, transcript: Transcript) -> Sequence[Transcript]:
        from chat.llm import lexrank

        return await asyncio.to_thread(lexrank.parts, transcript)

    async def condense(self, part: Transcript) -> Sequence[Passage]:
        from chat.llm import lexrank

        return await asyncio.to_thread(lexrank.condense, part)

    async def summarize(self, transcript: Transcript, *, style: Style, max_words: int) -> str:
        from chat.llm import lexrank

        return await asyncio.to_thread(
            lexrank.summarize, transcript, style=style, max_words=max_words
        )

    async def topics(self, transcript: Transcript, *, summary: str) -> Sequence[str]:
        from chat.llm.keyphrases import keyphrases

        return await asyncio.to_thread(keyphrases, transcript)


def _answer(question: Question) -> Answer:
    # Not the assistant's messages: they quote the transcript, and would match the same passages again.
    texts = [m.content for m in reversed(question.messages) if m.role == "user"]
    text, citations, is_cut = _quote_passages(question.transcript, texts, question.max_tokens)
    n_prompt = sum(count_tokens(message.content) for message in question.messages)
    n_prompt += sum(count_tokens(line(passage)) + 1 for passage in question.transcript.passages)
    return Answer(
        text=text,
        model=NAME,
        usage=Usage(prompt=n_prompt, completion=count_tokens(text)),
        citations=citations,
        finish_reason="length" if is_cut else "stop",
    )


def _quote_passages(
    transcript: Transcript, texts: Sequence[str], max_tokens: int
) -> tuple[str, tuple[Passage, ...], bool]:
    """The answer's text, the passages that it quotes, and whether max_tokens cut it."""
    indices = _passages_to_quote(transcript, texts)
    if not indices:
        has_words = any(passage.text.strip() for passage in transcript.passages)
        whole = f"{NOTHING_FOUND} {_overview(transcript)}".strip() if has_words else EMPTY
        text = cut_to_tokens(whole, max_tokens)
        return text, (), text != whole
    intro = QUOTES_INTRO if count_tokens(QUOTES_INTRO) * 3 <= max_tokens else SHORT_INTRO
    left = max_tokens - count_tokens(intro)
    quotes: dict[int, str] = {}
    is_cut = False
    for index in indices:
        passage = transcript.passages[index]
        quote = _quote(transcript, passage, texts, _QUOTE_TOKENS)
        if count_tokens(quote) + 1 > left:
            is_cut = True
            has_room = left > _MIN_QUOTE_TOKENS
            quote = _quote(transcript, passage, texts, left - 1) if has_room else ""
        if quote:
            quotes[index] = quote
            left -= count_tokens(quote) + 1
    if not quotes:
        return cut_to_tokens(intro, max_tokens), (), True
    order = sorted(quotes)
    text = "\n".join([intro, *(quotes[index] for index in order)])
    return text, tuple(transcript.passages[index] for index in order), is_cut


def _overview(transcript: Transcript) -> str:
    """Describe the transcript: its speakers and its duration."""
    speakers = list(dict.fromkeys(p.speaker for p in transcript.passages if p.speaker))
    ends = [p.end for p in transcript.passages if p.end is not None]
    who = f"{len(speakers)} speakers: {', '.join(speakers)}." if len(speakers) > 1 else ""
    end = f"The last words are at {clock(max(ends))}." if ends else ""
    return " ".join(part for part in (who, end) if part)


def _passages_to_quote(transcript: Transcript, texts: Sequence[str]) -> list[int]:
    """Indices of the passages to quote, best first."""
    hits = retrieval.rank(transcript, texts)
    best = [
        hit.index for hit in hits[:_MAX_QUOTES] if hit.score >= _MIN_SCORE_SHARE * hits[0].score
    ]
    found = dict.fromkeys(best)
    for index in best[:1]:
        # If the best match is itself a question, the answer follows it.
        if one_line(transcript.passages[index].text).endswith(("?", "？")) and index + 1 < len(
            transcript.passages
        ):
            found.setdefault(index + 1)
    return [index for index in found if transcript.passages[index].text.strip()]


def _quote(transcript: Transcript, passage: Passage, texts: Sequence[str], max_tokens: int) -> str:
    """Quote a passage as `[00:01:12] SPEAKER_2: "text"`, a long one shortened; empty if it does not fit."""
    quote = _quoted_line(passage)
    if count_tokens(quote) <= max_tokens:
        return quote
    max_tokens -= 2  # the quotation marks
    short = retrieval.shorten(passage, texts, language=transcript.language, max_tokens=max_tokens)
    return _quoted_line(short) if short else ""


def _quoted_line(passage: Passage) -> str:
    return line(replace(passage, text=f'"{one_line(passage.text)}"'))
