"""Transcripts as language models read them: what one person says without a break, a few sentences at once."""

from collections.abc import Iterable
from dataclasses import replace

from chat.llm.base import Passage, Transcript
from chat.llm.text import count_words, one_line
from transcription.models import Job

MOST_WORDS = 40
"""Long enough to be understood by itself, short enough to be found and quoted."""
PAUSE_SECONDS = 2.0


def of_job(job: Job) -> Transcript:
    rows = job.segments.order_by("start", "id").values_list("text", "start", "end", "speaker")
    return of_segments((Passage(*row) for row in rows.iterator()), language=job.language)


def of_segments(segments: Iterable[Passage], *, language: str = "") -> Transcript:
    """Segments joined to passages: the same speaker, no pause between, not too long."""
    passages: list[Passage] = []
    n_words = 0
    for segment in segments:
        text = one_line(segment.text)
        if not text:
            continue
        n_added = count_words(text)
        if passages and n_words + n_added <= MOST_WORDS and _goes_on(passages[-1], segment):
            joined = f"{passages[-1].text} {text}"
            passages[-1] = replace(passages[-1], text=joined, end=segment.end)
            n_words += n_added
        else:
            passages.append(replace(segment, text=text))
            n_words = n_added
    return Transcript(tuple(passages), language)


def _goes_on(passage: Passage, segment: Passage) -> bool:
    if passage.speaker != segment.speaker:
        return False
    if passage.end is None or segment.start is None:
        return passage.end is None and segment.start is None
    return segment.start - passage.end <= PAUSE_SECONDS
