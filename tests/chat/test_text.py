"""Count, truncate, split and format text."""

import time

import pytest

from chat.llm import prompts
from chat.llm.base import Message, Passage, Question, Transcript
from chat.llm.extractive import Extractive
from chat.llm.keyphrases import keyphrases
from chat.llm.text import (
    clock,
    count_tokens,
    count_words,
    cut_to_tokens,
    cut_to_words,
    detect_language,
    line,
    one_line,
    sentences,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \n ", 0),
        ("Ask what you can do.", 5),
        ("- [00:01:12] SPEAKER_2: yes", 4),
        ("don't  stop", 2),
        ("サーバー室を。", 6),
        ("我们用 Python 写", 5),
        ("สวัสดี", 4),  # its vowel signs are no words
        ("안녕 하세요", 2),
    ],
)
def test_words_are_counted_between_blanks_or_by_letters_without_them(text: str, words: int) -> None:
    assert count_words(text) == words


def test_tokens_are_rather_too_many_than_too_few() -> None:
    assert count_tokens("") == 0
    assert count_tokens("a") == 1
    assert count_tokens("2026") == 4
    assert count_tokens("transcription") == 4
    assert count_tokens("yes, no") == 3
    assert count_tokens("日本") >= 2
    assert count_tokens("one\ntwo") == 3
    assert count_tokens("🎉") >= 3
    assert count_tokens("Überprüfung") > count_tokens("checking it")


def test_plain_english_is_counted_like_any_text() -> None:
    text = "Dr. Smith paid 1,250 euros\n\tto SPEAKER_2 (why?)"
    assert count_tokens(text + "é") == count_tokens(text) + 1


def test_a_text_that_fits_stays_as_it_is() -> None:
    assert cut_to_words(" One. Two\n", 2) == " One. Two\n"


def test_a_text_is_cut_after_the_last_sentence_or_line_that_fits() -> None:
    assert cut_to_words("One two. Three four. Five six.", 5) == "One two. Three four."
    assert cut_to_words("- one two\n- three four\n- five", 6) == "- one two\n- three four"
    assert cut_to_words("今日は晴れ。明日は雨です。", 8) == "今日は晴れ。"


def test_only_a_first_sentence_that_does_not_fit_is_cut_in_its_middle() -> None:
    assert cut_to_words("One two, three four five.", 2) == "One two…"
    assert cut_to_words("明日は雨です。", 3) == "明日は…"
    assert cut_to_words("One two", 0) == ""


@pytest.mark.parametrize("most", range(0, 30, 3))
def test_a_cut_text_never_has_more_than_it_may(most: int) -> None:
    text = (
        "Dr. Smith paid 1,250 euros. 明日は雨です。 And then (why?) he left…\n- No, 3.5 at 10:30!"
        * 3
    )
    assert count_words(cut_to_words(text, most)) <= most
    assert count_tokens(cut_to_tokens(text, most)) <= most


def test_a_text_is_cut_to_as_many_tokens_as_fit() -> None:
    text = "One two. Three four. Five six."
    assert cut_to_tokens(text, count_tokens(text)) == text
    assert cut_to_tokens(text, count_tokens(text) - 1) == "One two. Three four."


def test_sentences_end_where_people_end_them() -> None:
    text = "Dr. Smith came on 3. Mai. He said e.g. this. Really?! Yes\nnext. It was 1.5 percent. 晴れ。雨。"
    assert sentences(text) == [
        "Dr. Smith came on 3. Mai.",
        "He said e.g. this.",
        "Really?!",
        "Yes",
        "next.",
        "It was 1.5 percent.",
        "晴れ。",
        "雨。",
    ]
    assert sentences("") == []


def test_one_line_has_neither_line_breaks_nor_control_characters() -> None:
    assert one_line(" a\n\tb\x00c\u2028d\u200be\u00a0f ") == "a b c d e f"
    assert one_line("می‌خواهم") == "می‌خواهم"


def test_the_clock_shows_whole_seconds_rounded_down() -> None:
    assert clock(72.99) == "00:01:12"
    assert clock(10_800) == "03:00:00"
    assert clock(-1) == "00:00:00"


def test_a_line_tells_what_its_passage_knows() -> None:
    assert line(Passage("hi\nthere", 72.5, 73.0, "SPEAKER_2")) == "[00:01:12] SPEAKER_2: hi there"
    assert line(Passage("hi", 0.0, 1.0)) == "[00:00:00] hi"
    assert line(Passage("hi", speaker="Ann\nBob")) == "Ann Bob: hi"
    assert line(Passage("hi")) == "hi"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "We moved the server room because the old building is too small."),
        ("de", "Wir haben den Raum verlegt, weil das alte Gebäude zu klein ist."),
        ("fr", "Nous avons déménagé parce que l'ancien bâtiment est trop petit."),
        ("es", "Hemos trasladado la sala porque el edificio es demasiado pequeño."),
        ("it", "Abbiamo spostato la sala perché il vecchio edificio è troppo piccolo."),
        ("nl", "We hebben de ruimte verplaatst omdat het oude gebouw te klein is."),
        ("ru", "Мы перенесли серверную, потому что старое здание слишком маленькое."),
        ("ja", "サーバー室を大阪に移しました。"),
        ("zh", "我们把服务器搬到了上海，因为旧楼太小。"),
        ("ko", "서버실을 부산으로 옮겼습니다."),
        ("", "Xyzzy plugh 1234."),
        ("", ""),
    ],
)
def test_a_language_is_told_by_its_everyday_words_or_its_script(language: str, text: str) -> None:
    assert detect_language(text) == language


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd",
    [
        "1" + ",111" * 25_000 + "1",
        "1,111," * 20_000,
        "." * 100_000 + "a budget",
        ". " * 50_000 + "a budget",
        ".'" * 50_000,
        "<" + " " * 100_000,
        "< " * 50_000,
        "speaker " + "1" * 5_000,
        "speaker" + " " * 100_000,
        "[" * 100_000,
        "a" * 100_000,
        "1" * 100_000,
        "budget " * 15_000,
        "minute " * 15_000,
        "at the   " * 10_000,
    ],
    ids=lambda odd: odd[:12],
)
async def test_no_text_keeps_the_service_busy_for_long(odd: str) -> None:
    """Four times the text takes about four times the work; quadratic work would take sixteen times."""
    await use(odd[:1000])
    eighth = len(odd) // 8  # of either end, for an odd end can be what costs
    less, more = await use(odd[:eighth] + odd[-eighth:]), await use(odd)
    assert more < 10 * max(less, 0.05)


async def use(odd: str) -> float:
    """The CPU seconds of all that is done with a text as transcript, speaker and question."""
    question = Question(
        (Message("user", odd),), Transcript((Passage(odd, 0.0, 9.0, odd),)), max_tokens=100
    )
    await Extractive().answer(Question((Message("user", "Which budget?"),), question.transcript))
    began = time.process_time()
    sentences(odd)
    prompts.escape_delimiters(odd)
    prompts.escaped_line(question.transcript.passages[0])
    await Extractive().answer(question)
    keyphrases(Transcript((Passage(odd),)))
    return time.process_time() - began
