"""Words of texts that people put right: whatever they wrote, joined they are the text, and their times are in order."""

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
BLANKS = [" ", "", "  ", "\n", "\t", "\u00a0", "\u3000"]
END = 20.0


def heard_words(*texts: str, start: float = 0.0, seconds: float = 1.0) -> list[Word]:
    return [
        {
            "start": start + n * seconds,
            "end": start + (n + 1) * seconds,
            "text": text,
            "probability": 0.5 + 0.01 * n,
        }
        for n, text in enumerate(texts)
    ]


def aligned(text: str, words: list[Word], end: float | None = None) -> list[Word]:
    return align_words(
        text=text, words=words, start=words[0]["start"] if words else 0.0, end=end or END
    )


def assert_sound(found: list[Word], text: str, start: float = 0.0, end: float = END) -> None:
    assert "".join(word["text"] for word in found) == text.rstrip()
    assert all(word["text"].strip() for word in found)
    times = [start, *(time for word in found for time in (word["start"], word["end"])), end]
    assert all(before <= after for before, after in pairwise(times)), times


def random_texts(seed: int, n: int) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(n):
        names = chance.sample(list(SCRIPTS), chance.randint(1, 3))
        said = [chance.choice(SCRIPTS[chance.choice(names)]) for _ in range(chance.randint(1, 25))]
        yield "".join(word + chance.choice(BLANKS) for word in said).strip()


@pytest.mark.parametrize("seed", range(5))
def test_words_joined_are_the_text_and_their_times_are_in_order(seed: int) -> None:
    chance = random.Random(seed)
    for heard, text in zip(random_texts(seed, 100), random_texts(seed + 100, 100), strict=True):
        words = heard_words(*heard.split(), seconds=END / len(heard.split()))
        assert_sound(aligned(text, words), text)
        assert_sound(aligned(heard, words), heard)
        edited = heard.replace(chance.choice(heard), chance.choice(["", "x", " ", "的"])).strip()
        assert_sound(aligned(edited, words), edited)


@pytest.mark.parametrize("seed", range(3))
def test_words_heard_out_of_order_or_outside_of_the_segment_do_no_harm(seed: int) -> None:
    chance = random.Random(seed)
    for text in random_texts(seed, 50):
        words = heard_words(*text.split())
        for word in words:
            word["start"] = chance.uniform(-5, 25)
            word["end"] = word["start"] + chance.choice([0.0, 0.5, 8.0])
        found = align_words(text=f"{text} more", words=words, start=0.0, end=END)
        assert_sound(found, f"{text} more")


def test_words_that_stay_keep_their_times_and_probability() -> None:
    words = heard_words(" How", " are", " you", " to", " day")
    found = aligned("How are they today", words, end=5.0)
    assert found[:2] == [{**words[0], "text": "How"}, words[1]]
    assert [word["text"] for word in found[2:]] == [" they", " today"]
    assert [word["probability"] for word in found[2:]] == [None, None]
    assert (found[2]["start"], found[3]["end"]) == (2.0, 5.0)


def test_words_between_two_that_stay_share_the_time_between_by_their_letters() -> None:
    words = heard_words(" one", " zwei", " drei", " four")
    found = aligned("one bb cccccccc four", words, end=4.0)
    assert [(word["start"], word["end"]) for word in found] == [
        (0, 1),
        (1, 1.5),
        (1.5, 3),
        (3, 4),
    ]


def test_a_word_put_where_no_time_was_takes_none_from_the_others() -> None:
    words = heard_words(" Good", " morning")
    found = aligned("Good old morning", words, end=2.0)
    assert [(word["start"], word["end"]) for word in found] == [(0, 1), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    "written", ["Hello, World!", "hello world", "HELLO WORLD.", "“Hello” world"]
)
def test_capitals_and_punctuation_make_no_other_word(written: str) -> None:
    found = aligned(written, heard_words(" hello,", " world"), end=2.0)
    assert [word["probability"] for word in found] == [0.5, 0.51]


@pytest.mark.parametrize(
    ("heard", "text", "unheard"),
    [
        (["今天", "天气", "好"], "今天天汽很好", ["汽", "很"]),
        (["สวัส", "ดี", "ครับ"], "สวัสดีค่ะ", ["ค่", "ะ"]),
        (["มา", "น้า"], "มาน้ำ", ["ำ"]),
        (["東", "京", "タワー"], "東京のタワー", ["の"]),
    ],
)
def test_where_there_are_no_blanks_each_letter_is_a_word(
    heard: list[str], text: str, unheard: list[str]
) -> None:
    found = aligned(text, heard_words(*heard))
    assert_sound(found, text)
    assert [word["text"] for word in found if word["probability"] is None] == unheard


def test_letters_of_one_heard_word_share_its_time() -> None:
    found = aligned("今天很好", heard_words("今天", "好"), end=2.0)
    assert [(word["start"], word["end"]) for word in found] == [(0, 0.5), (0.5, 1), (1, 1), (1, 2)]


def test_a_text_of_which_nothing_was_heard_is_spread_over_the_segment() -> None:
    found = aligned("one two", [], end=7.0)
    assert_sound(found, "one two", end=7.0)
    assert (found[0]["start"], found[1]["end"]) == (0.0, 7.0)
    assert aligned("", heard_words(" gone")) == []


def test_words_of_a_segment_as_heard_are_those_that_were_heard() -> None:
    words = heard_words(" How", " are you", " ?")
    segment = Segment(start=0.0, end=3.0, text=text_of(words), words=words)
    assert shown_words(segment) is words
    segment.text = "How is it?"
    assert [word["text"] for word in shown_words(segment)] == ["How", " is", " it?"]


def _same_letter(chance: random.Random) -> str:
    return "的"


def _few_letters(chance: random.Random) -> str:
    return chance.choice("的一是不")


def _many_letters(chance: random.Random) -> str:
    return chr(chance.randint(0x4E00, 0x9FFF))


@pytest.mark.parametrize("letter", [_same_letter, _few_letters, _many_letters])
def test_ten_times_the_letters_are_aligned_with_little_more_than_ten_times_the_work(
    letter: Callable[[random.Random], str],
) -> None:
    chance = random.Random(1)
    seconds = []
    for n in (500, 5000):
        heard, text = ("".join(letter(chance) for _ in range(n)) for _ in "ab")
        words = heard_words(*heard, seconds=0.01)
        seconds.append(cpu_seconds(partial(aligned, text, words, end=50.0)))
        assert len(aligned(text, words, end=50.0)) == n
    assert seconds[1] < 30 * seconds[0]
