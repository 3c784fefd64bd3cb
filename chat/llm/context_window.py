"""Fit a conversation and a transcript into the context window of a language model."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chat.llm import prompts, retrieval, text
from chat.llm.base import LanguageModelError, Message, Passage, Problem, Question, Transcript

OVERHEAD_TOKENS = 64
"""The tokens of the delimiters and the lines around them."""
# Gap marks and escaped characters take tokens that the selection does not count, so it gets a share of the budget,
# and a smaller one if the result is still too long.
_BUDGET_SHARES = (0.95, 0.8, 0.5, 0.25)


@dataclass(frozen=True)
class Prompt:
    messages: Sequence[Message]
    transcript: Transcript
    """The part of the transcript that the messages contain."""
    n_tokens: int
    """The estimated tokens of all messages."""


def build_prompt(question: Question, *, max_tokens: int) -> Prompt:
    """Build the prompt for a question: the last messages that fit, and the relevant passages of the transcript.

    Raises LanguageModelError if the question itself is too long.
    """
    transcript = question.transcript
    system = prompts.system_prompt(question.messages, transcript)
    messages = prompts.alternate_roles(question.messages)
    available = max_tokens - prompts.count_tokens([Message("system", system)]) - OVERHEAD_TOKENS
    messages = _last_messages(messages, available // 2)
    n_conversation = prompts.count_tokens(messages)
    passages = _select_passages(question, available - n_conversation)
    if n_conversation > available or (transcript.passages and not passages):
        n_tokens = n_conversation + max_tokens - available
        raise LanguageModelError(
            f"The question is too long: with its instructions it has about {n_tokens} tokens,"
            f" and the model accepts {max(0, max_tokens)}, transcript included. Ask a shorter question,"
            " lower max_tokens, or use a model with a larger context window.",
            problem=Problem.TOO_LONG,
        )
    prompt = prompts.chat_prompt(messages, system=system, passages=passages, transcript=transcript)
    return Prompt(prompt, replace(transcript, passages=passages), prompts.count_tokens(prompt))


def split(transcript: Transcript, *, max_tokens: int) -> list[Transcript]:
    """Split the transcript into parts of at most `max_tokens` tokens, between passages unless one is too long."""
    parts: list[Transcript] = []
    current: list[Passage] = []
    n_tokens = 0
    for passage in _split_long_passages(transcript.passages, max_tokens):
        n_added = passage_tokens(passage)
        if current and n_tokens + n_added > max_tokens:
            parts.append(replace(transcript, passages=tuple(current)))
            current, n_tokens = [], 0
        current.append(passage)
        n_tokens += n_added
    return [*parts, replace(transcript, passages=tuple(current))]


def halve(transcript: Transcript) -> list[Transcript]:
    """Split the transcript into two parts; one if it cannot be split further."""
    n_tokens = sum(passage_tokens(each) for each in transcript.passages)
    if len(transcript.passages) == 1:
        return split(transcript, max_tokens=math.ceil(n_tokens * 0.6))
    middle = len(transcript.passages) // 2
    first, second = transcript.passages[:middle], transcript.passages[middle:]
    return [replace(transcript, passages=first), replace(transcript, passages=second)]


def passage_tokens(passage: Passage) -> int:
    """The estimated tokens of a passage in a prompt, its line break included."""
    return text.count_tokens(prompts.escaped_line(passage)) + 1


def _last_messages(messages: Sequence[Message], max_tokens: int) -> list[Message]:
    """The last messages that fit; always at least the very last one."""
    kept = list(messages[-1:])
    for message in reversed(messages[:-1]):
        if prompts.count_tokens([message, *kept]) > max_tokens:
            break
        kept.insert(0, message)
    return kept


def _select_passages(question: Question, max_tokens: int) -> tuple[Passage, ...]:
    """Select all passages if they fit, else the relevant ones; empty if none fits."""
    passages = question.transcript.passages
    if sum(passage_tokens(each) for each in passages) <= max_tokens:
        return passages
    for share in _BUDGET_SHARES:
        budget = int(max_tokens * share)
        if budget < 1:
            break
        selected = retrieval.select(question.transcript, question.messages, max_tokens=budget)
        block = prompts.transcript_block(selected.passages, transcript=question.transcript)
        if selected.passages and text.count_tokens(block) <= max_tokens + OVERHEAD_TOKENS // 2:
            return selected.passages
    return ()


def _split_long_passages(passages: Sequence[Passage], max_tokens: int) -> Iterator[Passage]:
    """Yield the passages, those over `max_tokens` split at the ends of sentences."""
    for passage in passages:
        if passage_tokens(passage) <= max_tokens:
            yield passage
            continue
        n_prefix = passage_tokens(replace(passage, text=""))
        for part in _split_text(passage.text, max(1, max_tokens - n_prefix)):
            yield replace(passage, text=part)


def _split_text(content: str, max_tokens: int) -> Iterator[str]:
    current = ""
    for sentence in text.sentences(content):
        for part in _split_sentence(sentence, max_tokens):
            longer = f"{current} {part}".lstrip()
            if current and _text_tokens(longer) > max_tokens:
                yield current
                longer = part
            current = longer
    if current:
        yield current


def _split_sentence(sentence: str, max_tokens: int) -> Iterator[str]:
    """Halve the sentence until each part fits, between words if it has spaces."""
    if _text_tokens(sentence) <= max_tokens or len(sentence) < 2:
        yield sentence
        return
    middle = len(sentence) // 2
    space = sentence.rfind(" ", 1, middle + 1)
    at = space if space > 0 else middle
    yield from _split_sentence(sentence[:at].strip(), max_tokens)
    yield from _split_sentence(sentence[at:].strip(), max_tokens)


def _text_tokens(content: str) -> int:
    return passage_tokens(Passage(content))
