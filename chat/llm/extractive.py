"""The built-in language model: it finds and quotes what was said, and needs neither a provider nor weights."""

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
        "Finds and quotes passages of the transcript, with their times and speakers, and picks its central"
        " sentences for a summary. It does not understand what it quotes. Needs no provider."
    ),
)
FOUND = "I find and quote passages; I do not understand them. Closest to your question:"
FOUND_SHORT = "I only quote:"
NOTHING_FOUND = (
    "I find and quote passages; I do not understand them. Nothing in the transcript has the words of your"
    " question. Try words that were spoken, a time such as 00:12:30, or ask for a summary: POST /api/summary/."
)
EMPTY = "The transcript is empty: there is nothing to quote."
_MOST_QUOTES = 4
_MUCH_WEAKER = 0.5
_QUOTE_TOKENS = 120
_LEAST_QUOTE_TOKENS = 12


class Extractive:
    @property
    def name(self) -> str:
        return NAME

    async def answer(self, question: Question) -> Answer:
        return await asyncio.to_thread(_answer, question)

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        answer = await self.answer(question)
        for piece in answer.text.splitlines(keepends=True):
            yield piece
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
    # Not what was answered before: that quotes the transcript, and would only find its quotes again.
    texts = [m.content for m in reversed(question.messages) if m.role == "user"]
    text, citations, is_cut = _quoted(question.transcript, texts, question.max_tokens)
    read = sum(count_tokens(message.content) for message in question.messages)
    read += sum(count_tokens(line(passage)) + 1 for passage in question.transcript.passages)
    return Answer(
        text=text,
        model=NAME,
        usage=Usage(prompt=read, completion=count_tokens(text)),
        citations=citations,
        finish_reason="length" if is_cut else "stop",
    )


def _quoted(
    transcript: Transcript, texts: Sequence[str], max_tokens: int
) -> tuple[str, tuple[Passage, ...], bool]:
    """The answer, the passages that it quotes, and whether it ends before all is said."""
    indices = _worth_quoting(transcript, texts)
    if not indices:
        has_words = any(passage.text.strip() for passage in transcript.passages)
        whole = f"{NOTHING_FOUND} {_overview(transcript)}".strip() if has_words else EMPTY
        text = cut_to_tokens(whole, max_tokens)
        return text, (), text != whole
    intro = FOUND if count_tokens(FOUND) * 3 <= max_tokens else FOUND_SHORT
    left = max_tokens - count_tokens(intro)
    quotes: dict[int, str] = {}
    is_cut = False
    for index in indices:
        passage = transcript.passages[index]
        quote = _quote(transcript, passage, texts, _QUOTE_TOKENS)
        if count_tokens(quote) + 1 > left:
            is_cut = True
            is_room = left > _LEAST_QUOTE_TOKENS
            quote = _quote(transcript, passage, texts, left - 1) if is_room else ""
        if quote:
            quotes[index] = quote
            left -= count_tokens(quote) + 1
    if not quotes:
        return cut_to_tokens(intro, max_tokens), (), True
    order = sorted(quotes)
    text = "\n".join([intro, *(quotes[index] for index in order)])
    return text, tuple(transcript.passages[index] for index in order), is_cut


def _overview(transcript: Transcript) -> str:
    """Who speaks, and how long: what a transcript tells of itself without a word being searched for."""
    speakers = list(dict.fromkeys(p.speaker for p in transcript.passages if p.speaker))
    ends = [p.end for p in transcript.passages if p.end is not None]
    who = f"{len(speakers)} speakers: {', '.join(speakers)}." if len(speakers) > 1 else ""
    until = f"The last words are at {clock(max(ends))}." if ends else ""
    return " ".join(part for part in (who, until) if part)


def _worth_quoting(transcript: Transcript, texts: Sequence[str]) -> list[int]:
    """Indices of the few passages to quote, best first."""
    hits = retrieval.ranked(transcript, texts)
    best = [hit.index for hit in hits[:_MOST_QUOTES] if hit.score >= _MUCH_WEAKER * hits[0].score]
    found = dict.fromkeys(best)
    for index in best[:1]:
        # Who asks what somebody in the recording asked wants to hear the answer to it.
        if one_line(transcript.passages[index].text).endswith(("?", "？")) and index + 1 < len(
            transcript.passages
        ):
            found.setdefault(index + 1)
    return [index for index in found if transcript.passages[index].text.strip()]


def _quote(transcript: Transcript, passage: Passage, texts: Sequence[str], tokens: int) -> str:
    """`[00:01:12] SPEAKER_2: "text"`; of a long passage, the sentences that matter. Empty if it does not fit."""
    said = replace(passage, text=f'"{one_line(passage.text)}"')
    if count_tokens(line(said)) <= tokens:
        return line(said)
    short = retrieval.shortened(passage, texts, language=transcript.language, max_tokens=tokens - 2)
    return line(replace(short, text=f'"{one_line(short.text)}"')) if short else ""
