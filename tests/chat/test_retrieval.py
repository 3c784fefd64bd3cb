"""Passages relevant to a question are found, and selected within a token budget."""

import subprocess
import sys
from functools import partial

import pytest

from chat.llm import context_window
from chat.llm.base import Message, Passage, Question, Transcript
from chat.llm.retrieval import find, recent_texts, select
from chat.llm.text import count_tokens, line
from tests.chat.facts import FACTS, Fact, three_hours
from tests.effort import cpu_seconds

BUDGET = 3_000


def timed(*texts: str, language: str = "en", seconds: float = 5.0) -> Transcript:
    return Transcript(
        tuple(
            Passage(text, i * seconds, (i + 1) * seconds, f"SPEAKER_{i % 2 + 1}")
            for i, text in enumerate(texts)
        ),
        language,
    )


def ask(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def cost(passages: tuple[Passage, ...]) -> int:
    return sum(count_tokens(line(passage)) + 1 for passage in passages)


@pytest.fixture(scope="module")
def meeting() -> Transcript:
    return three_hours()


# -- the hundred facts


@pytest.mark.slow
def test_of_a_hundred_facts_in_three_hours_at_least_95_reach_the_model(meeting: Transcript) -> None:
    assert len({fact.said for fact in FACTS}) == 100
    assert sum(1 for fact in FACTS if fact.before) >= 33
    assert cost(meeting.passages) > 20 * BUDGET

    def is_sent(fact: Fact) -> bool:
        question = Question(tuple(fact.messages()), meeting)
        prompt = context_window.build_prompt(question, max_tokens=BUDGET)
        assert prompt.n_tokens <= BUDGET
        return any(fact.said in message.content for message in prompt.messages)

    missed = [fact.asked for fact in FACTS if not is_sent(fact)]
    assert len(missed) <= 5, missed


@pytest.mark.slow
def test_most_facts_are_the_first_that_is_found(meeting: Transcript) -> None:
    sample = FACTS[::5]
    first = [find(meeting, recent_texts(fact.messages()), limit=1) for fact in sample]
    right = [
        fact
        for fact, at in zip(sample, first, strict=True)
        if meeting.passages[at[0]].text == fact.said
    ]
    assert len(right) >= 18


@pytest.mark.slow
def test_eight_times_the_passages_are_searched_with_eight_times_the_work() -> None:
    passages = three_hours().passages
    few, more = Transcript(passages[: len(passages) // 4], "en"), Transcript(passages * 2, "en")
    question = ["Who painted the corridor?"]
    assert find(more, question, limit=1)
    seconds = [cpu_seconds(partial(find, one, question, limit=1)) for one in (few, more)]
    assert seconds[1] < 20 * seconds[0]


# -- words


@pytest.mark.parametrize(
    ("language", "said", "asked"),
    [
        ("en", "Helena moved the archive.", "Who is moving archives?"),
        ("en", "The invoice is 1,250 euros.", "Was it 1250?"),
        ("en", "Our café is closed.", "What about the cafe?"),
        ("en", "Our cafe is closed.", "What about the café?"),
        ("en", "It is on the 10th floor.", "Floor 10?"),
        ("de", "Frau Keller hat den Vertrag gekündigt.", "Welche Verträge wurden genannt?"),
        ("de", "Die Maße der Straße fehlen.", "Was ist mit den Strassen?"),
        ("fr", "Madame Keller a résilié le contrat.", "Qui a resilie les contrats ?"),
        ("es", "La señora canceló el contrato.", "¿Quién cancela contratos?"),
        ("ja", "田中さんは清掃会社との契約を解約しました。", "契約はどうなりましたか？"),
        ("zh", "王经理取消了清洁公司的合同。", "谁取消了合同？"),
        ("ko", "우리는 회의에서 결정했습니다.", "회의는 언제입니까?"),
    ],
)
@pytest.mark.parametrize("is_told", [True, False], ids=["language told", "language not told"])
def test_a_word_is_found_by_its_other_forms(
    language: str, said: str, asked: str, is_told: bool
) -> None:
    others = {
        "en": ["We had lunch with them.", "That is what they think of it."],
        "de": ["Wir haben mit ihnen gegessen.", "Das ist es, was sie darüber denken."],
        "fr": ["Nous avons mangé avec eux.", "C'est ce qu'ils en pensent."],
        "es": ["Hemos comido con ellos.", "Eso es lo que ellos piensan."],
        "ja": ["昼ご飯を食べました。", "天気がいいですね。"],
        "zh": ["我们吃了午饭。", "天气很好。"],
        "ko": ["점심을 먹었습니다.", "날씨가 좋네요."],
    }[language]
    transcript = timed(others[0], said, others[1], language=language if is_told else "")
    assert find(transcript, [asked], limit=5)[:1] == [1]


def test_stop_words_match_nothing_beside_a_content_word() -> None:
    transcript = timed("So what did they say about that?", "Leipzig it is.", "And what about this?")
    assert find(transcript, ["What did they say about Leipzig?"], limit=5) == [1]


def test_everyday_words_are_searched_when_there_are_no_others() -> None:
    transcript = timed("Nothing yet.", "Everybody is welcome here.")
    assert find(transcript, ["Is everybody welcome?"], limit=5) == [1]


@pytest.mark.parametrize(
    "label", ["SPEAKER_2", "Speaker_2", "speaker 2", "speaker two", "Speaker 02"]
)
def test_a_speaker_is_found_however_he_is_written(label: str) -> None:
    transcript = timed(
        "I request a break.", "I request a refund.", "No requests here.", "Nothing else to add now."
    )
    assert find(transcript, [f"What did {label} request?"], limit=1) == [1]


def test_a_named_speaker_is_found_by_name() -> None:
    passages = (
        Passage("The harbour was busy.", 0, 5, "Guest"),
        Passage("The harbour was empty.", 5, 10, "Interviewer"),
    )
    assert find(
        Transcript(passages, "en"), ["What did the interviewer say of harbours?"], limit=1
    ) == [1]


@pytest.mark.parametrize("asked", ["", "???", "the of and", "zyzzyva", "\x00"])
def test_words_that_were_not_said_are_not_found(asked: str) -> None:
    assert find(timed("Good morning.", "We ship in March."), [asked], limit=5) == []


def test_nothing_is_found_in_an_empty_transcript() -> None:
    assert find(Transcript(()), ["What?"], limit=5) == []
    assert find(timed("", " "), ["What?"], limit=5) == []
    assert find(timed("March."), [], limit=5) == []
    assert select(Transcript(()), ask("What?"), max_tokens=100).passages == ()


def test_find_returns_at_most_limit_passages() -> None:
    transcript = timed(*["March again."] * 9)
    assert len(find(transcript, ["March?"], limit=4)) == 4
    assert len(find(transcript, ["March?"], limit=50)) == 9


# -- the talk before


def test_a_question_without_content_words_is_about_the_messages_before() -> None:
    transcript = timed("We ship in March.", "Anna wants a bridge.", "It rains.")
    texts = ["And what did she say about that?", "Did somebody want a bridge?"]
    assert find(transcript, texts, limit=1) == [1]


def test_the_question_weighs_more_than_the_messages_before() -> None:
    transcript = timed("We ship in March.", "Anna wants a bridge.", "It rains.")
    texts = ["When do we ship?", "Did Anna want a bridge?"]
    assert find(transcript, texts, limit=2) == [0, 1]


def test_a_long_answer_before_does_not_outweigh_the_question() -> None:
    transcript = timed(
        "We ship in March.", "Anna wants a bridge, a tunnel, a ferry, and a road to Malmo."
    )
    texts = [
        "When do we ship?",
        "Anna wants a bridge, a tunnel, a ferry, and a road to Malmo. " * 5,
    ]
    assert find(transcript, texts, limit=1) == [0]


# -- times


@pytest.mark.parametrize(
    ("asked", "minute"),
    [
        ("What was said at minute 170?", 170),
        ("Was wurde in Minute 170 gesagt?", 170),
        ("¿Qué se dijo en el minuto 170?", 170),
        ("What happened in the 42nd minute?", 42),
        ("What is said 90 minutes in?", 90),
        ("Who spoke at 1:23:45?", 83),
        ("What was discussed around 02:50:00?", 170),
        ("And around 2:50?", 170),
        ("What about 2 h 50?", 170),
        ("What about 2h50?", 170),
        ("What was it after 2 hours and 50 minutes?", 170),
        ("How did they start at the beginning?", 0),
        ("What was decided at the end of the meeting?", 179),
        ("Was war am Ende?", 179),
        ("How did the meeting start?", 0),
        ("What was said in the last ten minutes?", 175),
        ("Et dans les 10 dernières minutes ?", 175),
        ("What was said in the first 5 minutes?", 3),
    ],
)
def test_a_time_that_is_asked_for_is_selected(meeting: Transcript, asked: str, minute: int) -> None:
    found = select(meeting, ask(asked), max_tokens=BUDGET)
    minutes = {int((passage.start or 0.0) // 60) for passage in found.hits}
    assert minute in minutes
    assert cost(found.passages) <= BUDGET


def test_at_minute_170_only_what_was_said_then_is_a_hit(meeting: Transcript) -> None:
    found = select(meeting, ask("What was said at minute 170?"), max_tokens=BUDGET)
    assert len(found.hits) >= 10
    assert all(p.start < 171 * 60 and p.end >= 170 * 60 for p in found.hits if p.start and p.end)


def test_a_time_of_day_or_the_end_of_a_week_is_no_time_of_the_recording() -> None:
    transcript = timed(*["It rains."] * 99, "We land later.", seconds=60)
    assert find(transcript, ["Do we land at 0:30 pm?"], limit=1) == [99]
    assert find(transcript, ["What rains at the end of the week?"], limit=1) == [0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("What was the vote on the casino at the end?", "The vote on the casino was 19 to 18."),
        (
            "Who painted the corridor, in the first 90 minutes?",
            "We painted the corridor turquoise by mistake.",
        ),
        (
            "When does the contract with Nordwind end?",
            "The contract with Nordwind ends on 31 October.",
        ),
    ],
)
def test_a_wide_time_span_does_not_outweigh_the_words(
    meeting: Transcript, asked: str, said: str
) -> None:
    found = select(meeting, ask(asked), max_tokens=BUDGET)
    assert said in [passage.text for passage in found.hits]


def test_a_question_after_a_time_is_still_about_that_time(meeting: Transcript) -> None:
    conversation = (
        Message("user", "What was said at minute 170?"),
        Message("assistant", "Several things."),
        Message("user", "And who was it?"),
    )
    found = select(meeting, conversation, max_tokens=BUDGET)
    assert {int((passage.start or 0.0) // 60) for passage in found.hits} & {169, 170}


def test_a_time_when_nobody_spoke_finds_who_spoke_next_to_it() -> None:
    passages = (Passage("Early.", 0, 5), Passage("Late.", 500, 505), Passage("Later.", 900, 905))
    assert find(Transcript(passages, "en"), ["What was at minute 8?"], limit=5) == [1]


def test_a_transcript_without_times_is_searched_by_words_alone() -> None:
    transcript = Transcript((Passage("It rains."), Passage("We ship in March.")), "en")
    assert find(transcript, ["What do we ship at minute 3?"], limit=5) == [1]
    assert find(transcript, ["What was at minute 3?"], limit=5) == []


# -- selecting


def test_a_transcript_that_fits_is_selected_whole() -> None:
    transcript = timed("We ship in March.", "It rains.", "Yes.")
    found = select(transcript, ask("When do we ship?"), max_tokens=cost(transcript.passages))
    assert found.passages == transcript.passages
    assert found.hits == transcript.passages[:1]


def test_a_hit_is_selected_with_its_neighbours_ordered_by_start(meeting: Transcript) -> None:
    found = select(meeting, ask("Who painted the corridor?"), max_tokens=400)
    at = meeting.passages.index(found.hits[0])
    assert set(meeting.passages[at - 1 : at + 2]) <= set(found.passages)
    starts = [passage.start or 0.0 for passage in found.passages]
    assert starts == sorted(starts)


def test_without_a_hit_the_selection_is_spread_over_the_transcript(meeting: Transcript) -> None:
    found = select(meeting, ask("zyzzyva"), max_tokens=BUDGET)
    assert found.hits == ()
    assert BUDGET * 0.9 < cost(found.passages) <= BUDGET
    thirds = {int((passage.start or 0.0) // 3600) for passage in found.passages}
    assert thirds == {0, 1, 2}


@pytest.mark.parametrize("budget", [0, 1, 5, 17, 40, 100, 333])
def test_no_budget_is_ever_exceeded(meeting: Transcript, budget: int) -> None:
    for asked in ("Who painted the corridor?", "zyzzyva", "What did speaker 2 say of the budget?"):
        assert cost(select(meeting, ask(asked), max_tokens=budget).passages) <= budget


def test_one_endless_passage_is_shortened_to_the_relevant_sentences(meeting: Transcript) -> None:
    text = " ".join(passage.text for passage in meeting.passages)
    found = select(Transcript((Passage(text),)), ask("Who painted the corridor?"), max_tokens=200)
    assert "painted the corridor turquoise" in found.passages[0].text
    assert found.hits == found.passages
    assert cost(found.passages) <= 200


def test_an_endless_sentence_is_cut() -> None:
    transcript = timed("We paint " + "and paint " * 500)
    found = select(transcript, ask("Who paints?"), max_tokens=60)
    assert found.passages[0].text.endswith("…")
    assert 30 < cost(found.passages) <= 60


def test_searching_is_silent_and_needs_no_compiler() -> None:
    program = (
        "import logging, sys\n"
        "sys.modules['numba'] = None\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "from chat.llm.base import Message, Passage, Transcript\n"
        "from chat.llm import extractive, retrieval\n"
        "assert 'numpy' not in sys.modules and 'bm25s' not in sys.modules\n"
        "transcript = Transcript((Passage('It rains.'), Passage('We ship in March.')), 'en')\n"
        "found = retrieval.select(transcript, [Message('user', 'Shipping?')], max_tokens=9)\n"
        "assert [each.text for each in found.hits] == ['We ship in March.'], found\n"
        "assert not {'nltk', 'sumy', 'yake'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
