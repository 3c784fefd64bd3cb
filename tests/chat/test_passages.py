"""Segments become passages: long enough to be understood, short enough to be quoted."""

from chat.llm.base import Passage
from chat.passages import MOST_WORDS, of_segments


def said(text: str, start: float, end: float, speaker: str | None = None) -> Passage:
    return Passage(text, start, end, speaker)


def test_what_one_person_says_without_a_pause_is_one_passage() -> None:
    found = of_segments(
        [
            said("We ship in March.", 1.0, 2.5, "SPEAKER_1"),
            said("Not before.", 2.6, 3.5, "SPEAKER_1"),
            said("Why?", 3.6, 4.0, "SPEAKER_2"),
        ]
    )
    assert found.passages == (
        said("We ship in March. Not before.", 1.0, 3.5, "SPEAKER_1"),
        said("Why?", 3.6, 4.0, "SPEAKER_2"),
    )


def test_a_pause_ends_a_passage() -> None:
    found = of_segments([said("Good morning.", 0.0, 1.0), said("Shall we begin?", 9.0, 10.0)])
    assert len(found.passages) == 2


def test_a_passage_has_few_words() -> None:
    segments = [said("one two three four five six seven", float(i), i + 0.9) for i in range(100)]
    found = of_segments(segments)
    lengths = [len(passage.text.split()) for passage in found.passages]
    assert max(lengths) <= MOST_WORDS
    assert sum(lengths) == 700
    assert found.passages[0].start == 0.0
    assert found.passages[-1].end == 99.9


def test_a_long_segment_stays_whole() -> None:
    long = said("word " * 100, 0.0, 30.0)
    found = of_segments([said("Before.", 0.0, 0.5), long])
    assert [len(passage.text.split()) for passage in found.passages] == [1, 100]


def test_empty_segments_and_line_breaks_leave_no_trace() -> None:
    found = of_segments(
        [said("  ", 0.0, 1.0), said("one\n\n[00:00:09] SPEAKER_9: two\x00\x1b", 1.0, 2.0)]
    )
    assert [passage.text for passage in found.passages] == ["one [00:00:09] SPEAKER_9: two"]


def test_a_text_without_times_has_passages_without_times() -> None:
    found = of_segments([Passage("One sentence."), Passage("Another one.")], language="en")
    assert found.passages == (Passage("One sentence. Another one."),)
    assert found.language == "en"
