"""Word alignment: the words of an edited text, joined, are the text, and their times are in order."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import pytest

from tests.effort import cpu_seconds
from transcription.models import Segment
from transcription.transcript.speaker_split import text_of
from transcription.transcript.word_alignment import Word, align_words, shown_words

SCRIPTS = {
    "English": ["the", "of", "and", "a", "to", "in", "is", "you", "that"],
    "German": ["Straße", "Äpfel,", "naïve", "E-Mail", "»ja«", "3,5", "…"],
    "Chinese": list("的一是不了人我在有他这中大来上，。！"),
    "Japanese": list("それはカタカナですー。々漢字"),
    "Thai": ["สวัสดี", "ครับ", "ทุกคน", "น้ำ", "ที่"],
    "Burmese": ["မင်္ဂလာပါ", "ကျေးဇူး"],
    "Korean": ["안녕하세요", "여러분"],
    "Arabic": ["مرحبا", "بكم،"],
    "emoji": ["👨‍👩‍👧", "👍🏽", "🇩🇪", "❤️"],
    "punctuation": [",", "—", "?!", "(", "...", "-"],
}
SPACES = [" ", "", "  ", "\n", "\t", "\u00a0", "\u3000"]
END = 20.0


def transcribed_words(*texts: str, start: float = 0.0, seconds: float = 1.0) -> list[Word]:
    return [
        {
            "start": start + n * seconds,
            "end": start + (n + 1) * seconds,
            "text": text,
            "probability": 0.5 + 0.01 * n,
        }
        for n, text in enumerate(texts)
    ]


def align(text: str, words: list[Word], end: float | None = None) -> list[Word]:
    return align_words(
        text=text, words=words, start=words[0]["start"] if words else 0.0, end=end or END
    )


def assert_valid(aligned: list[Word], text: str, start: float = 0.0, end: float = END) -> None:
    assert "".join(word["text"] for word in aligned) == text.rstrip()
    assert all(word["text"].strip() for word in aligned)
    times = [start, *(time for word in aligned for time in (word["start"], word["end"])), end]
    assert all(before <= after for before, after in pairwise(times)), times


def random_texts(seed: int, n: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(n):
        names = rng.sample(list(SCRIPTS), rng.randint(1, 3))
        pieces = [rng.choice(SCRIPTS[rng.choice(names)]) for _ in range(rng.randint(1, 25))]
        yield "".join(word + rng.choice(SPACES) for word in pieces).strip()


@pytest.mark.parametrize("seed", range(5))
def test_words_joined_are_the_text_and_their_times_are_in_order(seed: int) -> None:
    rng = random.Random(seed)
    for transcribed, text in zip(
        random_texts(seed, 100), random_texts(seed + 100, 100), strict=True
    ):
        words = transcribed_words(*transcribed.split(), seconds=END / len(transcribed.split()))
        assert_valid(align(text, words), text)
        assert_valid(align(transcribed, words), transcribed)
        edited = transcribed.replace(
            rng.choice(transcribed), rng.choice(["", "x", " ", "的"])
        ).strip()
        assert_valid(align(edited, words), edited)


@pytest.mark.parametrize("seed", range(3))
def test_transcribed_words_out_of_order_or_outside_the_segment_are_tolerated(seed: int) -> None:
    rng = random.Random(seed)
    for text in random_texts(seed, 50):
        words = transcribed_words(*text.split())
        for word in words:
            word["start"] = rng.uniform(-5, 25)
            word["end"] = word["start"] + rng.choice([0.0, 0.5, 8.0])
        aligned = align_words(text=f"{text} more", words=words, start=0.0, end=END)
        assert_valid(aligned, f"{text} more")


def test_unchanged_words_keep_their_times_and_probability() -> None:
    words = transcribed_words(" How", " are", " you", " to", " day")
    aligned = align("How are they today", words, end=5.0)
    assert aligned[:2] == [{**words[0], "text": "How"}, words[1]]
    assert [word["text"] for word in aligned[2:]] == [" they", " today"]
    assert [word["probability"] for word in aligned[2:]] == [None, None]
    assert (aligned[2]["start"], aligned[3]["end"]) == (2.0, 5.0)


def test_changed_words_share_the_time_between_unchanged_ones_by_length() -> None:
    words = transcribed_words(" one", " zwei", " drei", " four")
    aligned = align("one bb cccccccc four", words, end=4.0)
    assert [(word["start"], word["end"]) for word in aligned] == [
        (0, 1),
        (1, 1.5),
        (1.5, 3),
        (3, 4),
    ]


def test_a_word_inserted_without_a_gap_has_no_duration() -> None:
    words = transcribed_words(" Good", " morning")
    aligned = align("Good old morning", words, end=2.0)
    assert [(word["start"], word["end"]) for word in aligned] == [(0, 1), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    "written", ["Hello, World!", "hello world", "HELLO WORLD.", "“Hello” world"]
)
def test_case_and_punctuation_are_ignored(written: str) -> None:
    aligned = align(written, transcribed_words(" hello,", " world"), end=2.0)
    assert [word["probability"] for word in aligned] == [0.5, 0.51]


@pytest.mark.parametrize(
    ("transcribed", "text", "edited"),
    [
        (["今天", "天气", "好"], "今天天汽很好", ["汽", "很"]),
        (["สวัส", "ดี", "ครับ"], "สวัสดีค่ะ", ["ค่", "ะ"]),
        (["มา", "น้า"], "มาน้ำ", ["ำ"]),
        (["東", "京", "タワー"], "東京のタワー", ["の"]),
    ],
)
def test_in_unspaced_scripts_each_character_is_a_word(
    transcribed: list[str], text: str, edited: list[str]
) -> None:
    aligned = align(text, transcribed_words(*transcribed))
    assert_valid(aligned, text)
    assert [word["text"] for word in aligned if word["probability"] is None] == edited


def test_characters_of_a_transcribed_word_share_its_time() -> None:
    aligned = align("今天很好", transcribed_words("今天", "好"), end=2.0)
    assert [(word["start"], word["end"]) for word in aligned] == [
        (0, 0.5),
        (0.5, 1),
        (1, 1),
        (1, 2),
    ]


def test_a_text_without_transcribed_words_spans_the_segment() -> None:
    aligned = align("one two", [], end=7.0)
    assert_valid(aligned, "one two", end=7.0)
    assert (aligned[0]["start"], aligned[1]["end"]) == (0.0, 7.0)
    assert align("", transcribed_words(" gone")) == []


def test_an_unedited_segment_has_its_transcribed_words() -> None:
    words = transcribed_words(" How", " are you", " ?")
    segment = Segment(start=0.0, end=3.0, text=text_of(words), words=words)
    assert shown_words(segment) is words
    segment.text = "How is it?"
    assert [word["text"] for word in shown_words(segment)] == ["How", " is", " it?"]


def _same_character(rng: random.Random) -> str:
    return "的"


def _few_characters(rng: random.Random) -> str:
    return rng.choice("的一是不")


def _many_characters(rng: random.Random) -> str:
    return chr(rng.randint(0x4E00, 0x9FFF))


@pytest.mark.parametrize("character", [_same_character, _few_characters, _many_characters])
def test_alignment_of_ten_times_the_characters_takes_about_ten_times_as_long(
    character: Callable[[random.Random], str],
) -> None:
    rng = random.Random(1)
    seconds = []
    for n in (500, 5000):
        transcribed, text = ("".join(character(rng) for _ in range(n)) for _ in "ab")
        words = transcribed_words(*transcribed, seconds=0.01)
        seconds.append(cpu_seconds(partial(align, text, words, end=50.0)))
        assert len(align(text, words, end=50.0)) == n
    assert seconds[1] < 30 * seconds[0]
