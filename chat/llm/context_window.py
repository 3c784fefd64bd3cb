"""Making a talk or a transcript fit into what a language model reads at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chat.llm import prompts, retrieval, text
from chat.llm.base import LanguageModelError, Message, Passage, Problem, Question, Transcript

FRAME_TOKENS = 64
"""The delimiters and the lines around them."""
# Gaps and defused signs take room that the selection does not know of: it is given a little less, then less.
_SHARES = (0.95, 0.8, 0.5, 0.25)


@dataclass(frozen=True)
class Plan:
    messages: Sequence[Message]
    sent: Transcript
    """What of the transcript is in them."""
    n_tokens: int
    """Of all messages, by our estimate."""


def plan(question: Question, *, room: int) -> Plan:
    """
    The prompt for a question, of at most `room` tokens: the latest of the talk, and as much of the transcript as
    matters. Raises LanguageModelError when the question itself is too long.
    """
    transcript = question.transcript
    system = prompts.instructions(question.messages, transcript)
    turns = prompts.talk(question.messages)
    left = room - prompts.count_tokens([Message("system", system)]) - FRAME_TOKENS
    turns = _latest(turns, left // 2)
    n_talk = prompts.count_tokens(turns)
    passages = _chosen(question, left - n_talk)
    if n_talk > left or (transcript.passages and not passages):
        raise LanguageModelError(
            f"The question is too long: with its instructions it has about {n_talk + room - left} tokens,"
            f" and the model has room for {max(0, room)} with the transcript. Ask in fewer words,"
            " for a shorter answer (max_tokens), or use a model that reads more at once.",
            problem=Problem.TOO_LONG,
        )
    messages = prompts.about(turns, system=system, passages=passages, of=transcript)
    return Plan(messages, replace(transcript, passages=passages), prompts.count_tokens(messages))


def cut(transcript: Transcript, *, room: int) -> list[Transcript]:
    """The transcript in pieces of at most `room` tokens each, cut between passages if those are short enough."""
    pieces: list[Transcript] = []
    kept: list[Passage] = []
    n_tokens = 0
    for passage in _short_passages(transcript.passages, room):
        cost = passage_tokens(passage)
        if kept and n_tokens + cost > room:
            pieces.append(replace(transcript, passages=tuple(kept)))
            kept, n_tokens = [], 0
        kept.append(passage)
        n_tokens += cost
    return [*pieces, replace(transcript, passages=tuple(kept))]


def halves(transcript: Transcript) -> list[Transcript]:
    """The transcript in two, or one that cannot be divided."""
    n_tokens = sum(passage_tokens(each) for each in transcript.passages)
    if len(transcript.passages) == 1:
        return cut(transcript, room=math.ceil(n_tokens * 0.6))
    middle = len(transcript.passages) // 2
    first, second = transcript.passages[:middle], transcript.passages[middle:]
    return [replace(transcript, passages=first), replace(transcript, passages=second)]


def passage_tokens(passage: Passage) -> int:
    """What a passage takes in a prompt, with its line break."""
    return text.count_tokens(prompts.defused_line(passage)) + 1


def _latest(turns: Sequence[Message], room: int) -> list[Message]:
    """As many of the last messages as fit, the very last in any case."""
    kept = list(turns[-1:])
    for turn in reversed(turns[:-1]):
        if prompts.count_tokens([turn, *kept]) > room:
            break
        kept.insert(0, turn)
    return kept


def _chosen(question: Question, room: int) -> tuple[Passage, ...]:
    """The passages that are sent; none where nothing fits."""
    passages = question.transcript.passages
    if sum(passage_tokens(each) for each in passages) <= room:
        return passages
    for share in _SHARES:
        max_tokens = int(room * share)
        if max_tokens < 1:
            break
        found = retrieval.select(question.transcript, question.messages, max_tokens=max_tokens)
        block = prompts.transcript_block(found.passages, of=question.transcript)
        if found.passages and text.count_tokens(block) <= room + FRAME_TOKENS // 2:
            return found.passages
    return ()


def _short_passages(passages: Sequence[Passage], room: int) -> Iterator[Passage]:
    """The passages; one with more tokens than there is room for in several, which end where sentences do."""
    for passage in passages:
        if passage_tokens(passage) <= room:
            yield passage
            continue
        around = passage_tokens(replace(passage, text=""))
        for chunk in _chunks(passage.text, max(1, room - around)):
            yield replace(passage, text=chunk)


def _chunks(content: str, room: int) -> Iterator[str]:
    kept = ""
    for sentence in text.sentences(content):
        for piece in _divided(sentence, room):
            longer = f"{kept} {piece}".lstrip()
            if kept and _n_tokens(longer) > room:
                yield kept
                longer = piece
            kept = longer
    if kept:
        yield kept


def _divided(sentence: str, room: int) -> Iterator[str]:
    """The sentence, in halves of halves until each has room; between words where there are any."""
    if _n_tokens(sentence) <= room or len(sentence) < 2:
        yield sentence
        return
    middle = len(sentence) // 2
    blank = sentence.rfind(" ", 1, middle + 1)
    at = blank if blank > 0 else middle
    yield from _divided(sentence[:at].strip(), room)
    yield from _divided(sentence[at:].strip(), room)


def _n_tokens(content: str) -> int:
    return passage_tokens(Passage(content))
