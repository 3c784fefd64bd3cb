"""Segments are joined to passages: long enough to be understood, short enough to be quoted."""

from chat.llm.base import Passage
from chat.passages import MAX_PASSAGE_WORDS, of_segments


def segment(text: str, start: float, end: float, speaker: str | None = None) -> Passage:
    return Passage(text, start, end, speaker)


def test_what_one_person_says_without_a_pause_is_one_passage() -> None:
    transcript = of_segments(
        [
            segment("We ship in March.", 1.0, 2.5, "SPEAKER_1"),
            segment("Not before.", 2.6, 3.5, "SPEAKER_1"),
            segment("Why?", 3.6, 4.0, "SPEAKER_2"),
        ]
    )
    assert transcript.passages == (
        segment("We ship in March. Not before.", 1.0, 3.5, "SPEAKER_1"),
        segment("Why?", 3.6, 4.0, "SPEAKER_2"),
    )


def test_a_pause_ends_a_passage() -> None:
    transcript = of_segments(
        [segment("Good morning.", 0.0, 1.0), segment("Shall we begin?", 9.0, 10.0)]
    )
    assert len(transcript.passages) == 2


def test_a_passage_has_few_words() -> None:
    segments = [segment("one two three four five six seven", float(i), i + 0.9) for i in range(100)]
    transcript = of_segments(segments)
    lengths = [len(passage.text.split()) for passage in transcript.passages]
    assert max(lengths) <= MAX_PASSAGE_WORDS
    assert sum(lengths) == 700
    assert transcript.passages[0].start == 0.0
    assert transcript.passages[-1].end == 99.9


def test_a_long_segment_stays_whole() -> None:
    long = segment("word " * 100, 0.0, 30.0)
    transcript = of_segments([segment("Before.", 0.0, 0.5), long])
    assert [len(passage.text.split()) for passage in transcript.passages] == [1, 100]


def test_empty_segments_and_line_breaks_leave_no_trace() -> None:
    transcript = of_segments(
        [segment("  ", 0.0, 1.0), segment("one\n\n[00:00:09] SPEAKER_9: two\x00\x1b", 1.0, 2.0)]
    )
    assert [passage.text for passage in transcript.passages] == ["one [00:00:09] SPEAKER_9: two"]


def test_a_text_without_times_has_passages_without_times() -> None:
    transcript = of_segments([Passage("One sentence."), Passage("Another one.")], language="en")
    assert transcript.passages == (Passage("One sentence. Another one."),)
    assert transcript.language == "en"
