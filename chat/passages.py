"""Transcripts for language models: consecutive segments of one speaker, joined to passages of a few sentences."""

from collections.abc import Iterable
from dataclasses import replace

from chat.llm.base import Passage, Transcript
from chat.llm.text import count_words, one_line
from transcription.models import Job

MAX_PASSAGE_WORDS = 40
"""Long enough to be understood without its context, short enough to be retrieved and quoted."""
MAX_PAUSE_SECONDS = 2.0


def of_job(job: Job) -> Transcript:
    """Load a job's segments as a transcript."""
    rows = job.segments.order_by("start", "id").values_list("text", "start", "end", "speaker")
    return of_segments((Passage(*row) for row in rows.iterator()), language=job.language)


def of_segments(segments: Iterable[Passage], *, language: str = "") -> Transcript:
    """Join segments to passages: one speaker, no pause over MAX_PAUSE_SECONDS, at most MAX_PASSAGE_WORDS words.

    A longer segment is a passage of its own.
    """
    passages: list[Passage] = []
    n_words = 0
    for segment in segments:
        text = one_line(segment.text)
        if not text:
            continue
        n_added = count_words(text)
        if (
            passages
            and n_words + n_added <= MAX_PASSAGE_WORDS
            and _continues(passages[-1], segment)
        ):
            joined = f"{passages[-1].text} {text}"
            passages[-1] = replace(passages[-1], text=joined, end=segment.end)
            n_words += n_added
        else:
            passages.append(replace(segment, text=text))
            n_words = n_added
    return Transcript(tuple(passages), language)


def _continues(passage: Passage, segment: Passage) -> bool:
    """Whether the segment has the passage's speaker and follows it without a pause."""
    if passage.speaker != segment.speaker:
        return False
    if passage.end is None or segment.start is None:
        return passage.end is None and segment.start is None
    return segment.start - passage.end <= MAX_PAUSE_SECONDS
