"""The built-in model quotes what was said, and picks central sentences, without a provider."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from chat.llm.base import Answer, LanguageModel, Message, Passage, Question, Style, Transcript
from chat.llm.extractive import CARD, Extractive
from chat.llm.keyphrases import keyphrases
from chat.llm.lexrank import PART_SENTENCES
from chat.llm.text import count_tokens, count_words, line
from tests.chat.facts import three_hours

MODEL: LanguageModel = Extractive()

JFK = Transcript(
    (
        Passage("And so, my fellow Americans,", 0.0, 3.0, "SPEAKER_1"),
        Passage("ask not what your country can do for you,", 3.3, 7.6, "SPEAKER_1"),
        Passage("ask what you can do for your country.", 8.2, 10.4, "SPEAKER_1"),
    ),
    "en",
)
SPEECH = {
    "en": "Good morning everybody. We moved the server room to Leipzig in March. The budget for the works is"
    " 45,000 euros. Okay, right. Mrs. Keller cancelled the contract with the cleaning company. Yeah. The new"
    " cleaning contract begins on the third of May. The works council confirmed the cancelled contract. The"
    " server room still lacks cooling. The cooling of the server room needs its own budget.",
    "de": "Guten Morgen zusammen. Wir haben den Serverraum im März nach Leipzig verlegt. Das Budget für die"
    " Umbauten beträgt 45.000 Euro. Ja, genau. Frau Keller hat den Vertrag mit der Reinigungsfirma gekündigt."
    " Der neue Vertrag mit der Reinigungsfirma beginnt am 3. Mai. Die Kündigung wurde vom Betriebsrat"
    " bestätigt. Im Serverraum fehlt noch die Kühlung. Die Kühlung im Serverraum braucht ein eigenes Budget.",
    "fr": "Bonjour à tous. Nous avons déménagé la salle des serveurs à Lyon. Le budget des travaux est de"
    " 45 000 euros. Oui, voilà. Madame Keller a résilié le contrat avec la société de nettoyage. Le nouveau"
    " contrat de nettoyage commence le 3 mai. La réunion du comité aura lieu jeudi. La salle des serveurs n'a"
    " pas encore de climatisation. La climatisation demande un budget à part.",
    "es": "Buenos días a todos. Hemos trasladado la sala de servidores a Sevilla. El presupuesto de las obras"
    " es de 45.000 euros. Sí, claro. La señora Keller canceló el contrato con la empresa de limpieza. El nuevo"
    " contrato de limpieza empieza el 3 de mayo. La reunión del comité será el jueves. La sala de servidores"
    " todavía no tiene refrigeración. La refrigeración necesita su propio presupuesto.",
    "ja": "皆さん、おはようございます。サーバー室を大阪に移しました。工事の予算は四万五千円です。"
    "田中さんは清掃会社との契約を解約しました。はい。新しい清掃契約は五月三日に始まります。"
    "委員会の会議は木曜日です。サーバー室にはまだ冷房がありません。冷房には別の予算が必要です。",
    "zh": "大家早上好。我们把服务器机房搬到了上海。装修预算是四万五千元。王经理取消了清洁公司的合同。"
    "好的。新的清洁合同从五月三日开始。委员会会议在星期四举行。服务器机房还没有空调。空调需要单独的预算。",
}


def spoken(text: str, language: str = "") -> Transcript:
    from chat.llm.text import sentences

    return Transcript(
        tuple(
            Passage(said, 5.0 * i, 5.0 * i + 4, f"SPEAKER_{i % 2 + 1}")
            for i, said in enumerate(sentences(text))
        ),
        language,
    )


def question(transcript: Transcript, *asked: str, max_tokens: int = 500) -> Question:
    messages = tuple(Message("user", text) for text in asked)
    return Question(messages, transcript, max_tokens=max_tokens)


# -- answers


async def test_an_answer_quotes_what_was_said_with_its_time_and_speaker() -> None:
    answer = await MODEL.answer(question(JFK, "what should you ask?"))
    assert '[00:00:03] SPEAKER_1: "ask not what your country can do for you,"' in answer.text
    assert '[00:00:08] SPEAKER_1: "ask what you can do for your country."' in answer.text
    assert answer.citations == JFK.passages[1:]
    assert answer.model == MODEL.name == CARD.id == "local-extractive"
    assert answer.finish_reason == "stop"


async def test_an_answer_says_that_it_quotes_and_does_not_understand() -> None:
    for asked in ("what should you ask?", "zyzzyva?"):
        answer = await MODEL.answer(question(JFK, asked))
        assert answer.text.startswith("I find and quote passages; I do not understand them.")
    assert "not understand" in CARD.description


async def test_if_nothing_is_found_the_answer_says_what_to_try() -> None:
    answer = await MODEL.answer(question(JFK, "Is there a zyzzyva?"))
    assert "/api/summary/" in answer.text
    assert answer.citations == ()


async def test_an_empty_transcript_is_said_to_be_empty() -> None:
    answer = await MODEL.answer(question(Transcript((Passage(" "),)), "What?"))
    assert "empty" in answer.text
    assert answer.citations == ()


async def test_few_passages_are_quoted_in_order_of_time_and_none_much_weaker() -> None:
    transcript = spoken(
        "It rains in March. We ship. We ship to Malmo in March. Yes. March it is. In March, March."
    )
    answer = await MODEL.answer(question(transcript, "What do we ship to Malmo?"))
    assert answer.citations == transcript.passages[2:3]
    many = spoken(" ".join(f"The harbour of town {n} is busy." for n in range(50)))
    answer = await MODEL.answer(question(many, "Which harbour?"))
    assert 3 <= len(answer.citations) <= 5
    starts = [passage.start or 0.0 for passage in answer.citations]
    assert starts == sorted(starts)


async def test_a_question_is_quoted_with_the_reply_to_it() -> None:
    transcript = spoken("Who will open the kitchen? Helena and Marcus. It rains.", "en")
    answer = await MODEL.answer(question(transcript, "Who opens kitchens?"))
    assert answer.citations == transcript.passages[:2]


async def test_a_follow_up_is_answered_from_the_talk_before() -> None:
    answer = await MODEL.answer(
        question(spoken(SPEECH["en"], "en"), "Who cancelled contracts?", "And where was she?")
    )
    assert any("Mrs. Keller" in passage.text for passage in answer.citations)


async def test_earlier_answers_are_not_searched_for() -> None:
    messages = (
        Message("user", "What rains?"),
        Message("assistant", "Mrs. Keller cancelled the contract with the cleaning company."),
        Message("user", "Is there cooling?"),
    )
    answer = await MODEL.answer(Question(messages, spoken(SPEECH["en"], "en")))
    assert answer.citations
    assert all("cooling" in passage.text for passage in answer.citations)


@pytest.mark.parametrize("max_tokens", [1, 5, 20, 30, 40, 60, 100, 500])
async def test_an_answer_keeps_to_max_tokens_and_says_when_it_was_cut(max_tokens: int) -> None:
    long = Passage("We paint the corridor. " * 200, 0.0, 60.0, "SPEAKER_1")
    transcript = Transcript(
        (long, Passage("We paint no other corridor.", 60.0, 62.0, "SPEAKER_2")), "en"
    )
    answer = await MODEL.answer(
        question(transcript, "Who paints the corridor?", max_tokens=max_tokens)
    )
    assert count_tokens(answer.text) <= max_tokens
    assert (answer.finish_reason == "length") == (max_tokens < 300)
    assert answer.text.count('"') == 2 * len(answer.citations)
    assert set(answer.citations) <= set(transcript.passages)


async def test_usage_counts_what_was_read_and_what_was_written() -> None:
    asked = question(JFK, "what should you ask?")
    answer = await MODEL.answer(asked)
    assert answer.usage is not None
    read = sum(count_tokens(line(passage)) + 1 for passage in JFK.passages)
    assert answer.usage.prompt == read + count_tokens("what should you ask?")
    assert answer.usage.completion == count_tokens(answer.text)


async def test_a_stream_gives_the_text_in_pieces_and_then_the_answer() -> None:
    asked = question(JFK, "what should you ask?")
    *pieces, last = [piece async for piece in MODEL.stream(asked)]
    assert isinstance(last, Answer)
    assert len(pieces) > 1
    assert "".join(str(piece) for piece in pieces) == last.text
    assert last == await MODEL.answer(asked)


@pytest.mark.parametrize(
    ("language", "asked", "expected"),
    [
        ("en", "Who was cancelling the contracts?", "Keller"),
        ("de", "Wohin wurden die Serverräume verlegt?", "Leipzig"),
        ("fr", "Qui a resilie les contrats ?", "Keller"),
        ("es", "¿Quién cancela los contratos?", "Keller"),
        ("ja", "サーバー室はどこに移りましたか？", "大阪"),
        ("zh", "服务器机房搬到哪里了？", "上海"),
    ],
)
async def test_questions_are_answered_in_several_languages(
    language: str, asked: str, expected: str
) -> None:
    for language_set in (language, ""):
        answer = await MODEL.answer(question(spoken(SPEECH[language], language_set), asked))
        assert any(expected in passage.text for passage in answer.citations)


# -- summaries


@pytest.mark.parametrize("language", SPEECH)
@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("max_words", [1, 3, 12, 40, 200])
async def test_a_summary_is_never_empty_and_never_too_long(
    language: str, style: Style, max_words: int
) -> None:
    summary = await MODEL.summarize(
        spoken(SPEECH[language], language), style=style, max_words=max_words
    )
    assert 0 < count_words(summary) <= max_words


async def test_a_summary_has_sentences_that_were_said_in_their_order() -> None:
    transcript = spoken(SPEECH["en"], "en")
    summary = await MODEL.summarize(transcript, style=Style.PARAGRAPH, max_words=40)
    said = [passage.text for passage in transcript.passages if passage.text in summary]
    assert len(said) >= 2
    assert summary == " ".join(said)


async def test_fillers_and_duplicates_are_not_in_the_summary() -> None:
    transcript = spoken(SPEECH["en"] + " Yeah. " + SPEECH["en"], "en")
    for style in Style:
        summary = await MODEL.summarize(transcript, style=style, max_words=500)
        assert "Yeah" not in summary
        assert "Okay" not in summary
        assert summary.count("45,000") <= 1
        assert summary.count("Leipzig") <= 1


async def test_bullet_points_have_time_and_speaker() -> None:
    transcript = spoken(SPEECH["en"], "en")
    summary = await MODEL.summarize(transcript, style=Style.BULLET_POINTS, max_words=60)
    lines = summary.splitlines()
    assert len(lines) >= 3
    assert set(lines) <= {f"- {line(passage)}" for passage in transcript.passages}


async def test_key_points_name_what_each_is_about() -> None:
    summary = await MODEL.summarize(
        spoken(SPEECH["en"], "en"), style=Style.KEY_POINTS, max_words=60
    )
    points = [point.removeprefix("- **").split("**: ") for point in summary.splitlines()]
    assert len(points) >= 3
    assert all(phrase.casefold() in sentence.casefold() for phrase, sentence in points)
    assert len({phrase for phrase, _ in points}) == len(points)


async def test_a_short_recording_is_quoted_whole_with_its_broken_sentence_joined() -> None:
    summary = await MODEL.summarize(JFK, style=Style.PARAGRAPH, max_words=500)
    assert summary == (
        "And so, my fellow Americans, ask not what your country can do for you,"
        " ask what you can do for your country."
    )


@pytest.mark.filterwarnings("error")
async def test_sentences_without_common_terms_keep_their_order() -> None:
    text = "The harbour of Malmo is busy. Helena painted a corridor turquoise."
    for style in Style:
        summary = await MODEL.summarize(spoken(text, "en"), style=style, max_words=100)
        assert summary.index("harbour of Malmo") < summary.index("painted a corridor")


async def test_a_transcript_without_full_stops_is_not_one_endless_sentence() -> None:
    towns = ("malmo", "tallinn", "lisbon", "antwerp", "bremen", "nairobi", "zurich", "gdansk")
    passages = tuple(
        Passage(f"{town} has a busy harbour and pilot number {n} of {n * 7}", 3.0 * n, 3.0 * n + 3)
        for n, town in enumerate(towns * 6)
    )
    summary = await MODEL.summarize(
        Transcript(passages, "en"), style=Style.BULLET_POINTS, max_words=100
    )
    assert 0 < max(count_words(point) for point in summary.splitlines()) < 60


async def test_sentences_are_not_joined_across_a_pause() -> None:
    passages = (
        Passage("Helena painted the corridor", 0.0, 2.0),
        Passage("pilots strike in Malmo", 60.0, 62.0),
    )
    kept = await MODEL.condense(Transcript(passages, "en"))
    assert tuple(kept) == passages


async def test_an_empty_transcript_has_an_empty_summary() -> None:
    nothing = Transcript((Passage("  "),))
    assert await MODEL.summarize(nothing, style=Style.KEY_POINTS, max_words=9) == ""
    assert await MODEL.topics(nothing, summary="") == []


async def test_a_transcript_of_fillers_is_summarized_by_them() -> None:
    summary = await MODEL.summarize(
        spoken("Yeah. Okay, right."), style=Style.PARAGRAPH, max_words=9
    )
    assert summary == "Yeah. Okay, right."


# -- parts


async def test_parts_are_cut_between_passages_and_lose_none() -> None:
    meeting = three_hours()
    parts = await MODEL.parts(meeting)
    assert len(parts) > 10
    assert tuple(passage for part in parts for passage in part.passages) == meeting.passages
    assert max(len(part.passages) for part in parts) <= PART_SENTENCES
    assert {part.language for part in parts} == {"en"}


async def test_a_short_transcript_is_one_part() -> None:
    assert await MODEL.parts(JFK) == [JFK]
    assert await MODEL.parts(Transcript(())) == [Transcript(())]


async def test_one_endless_passage_has_parts_with_times_of_their_own() -> None:
    text = " ".join(f"Sentence number {n} is said now." for n in range(1_000))
    parts = await MODEL.parts(Transcript((Passage(text, 0.0, 5_000.0, "SPEAKER_1"),)))
    assert len(parts) == 7
    starts = [part.passages[0].start or 0.0 for part in parts]
    assert starts == sorted(starts)
    assert 600 < starts[1] < 800
    assert " ".join(passage.text for part in parts for passage in part.passages) == text


async def test_condensing_keeps_a_fifth_with_times_and_speakers() -> None:
    part = (await MODEL.parts(three_hours()))[0]
    kept = await MODEL.condense(part)
    assert len(kept) == pytest.approx(len(part.passages) / 5, abs=3)
    assert set(kept) <= set(part.passages)
    assert [passage.start for passage in kept] == sorted(passage.start or 0.0 for passage in kept)


async def test_a_sentence_within_a_passage_has_its_own_time() -> None:
    first, second = "The harbour of Malmo is busy.", "The bridge of Malmo is empty."
    kept = await MODEL.condense(Transcript((Passage(f"{first} {second}", 10.0, 20.0, "A"),), "en"))
    assert [(passage.text, passage.start) for passage in kept] == [(first, 10.0), (second, 15.0)]
    assert {passage.speaker for passage in kept} == {"A"}


@pytest.mark.slow
@pytest.mark.alone
async def test_three_hours_are_summarized_with_work_in_proportion_while_others_are_served() -> None:
    meeting = three_hours()
    quarter = Transcript(meeting.passages[: len(meeting.passages) // 4], "en")
    longest_wait, is_done = 0.0, asyncio.Event()

    async def others() -> None:
        nonlocal longest_wait
        while not is_done.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            longest_wait = max(longest_wait, time.perf_counter() - began)

    async def work(transcript: Transcript) -> tuple[float, str, Sequence[str]]:
        """CPU seconds, summary, topics."""
        began = time.process_time()
        summary = await MODEL.summarize(transcript, style=Style.BULLET_POINTS, max_words=300)
        topics = await MODEL.topics(transcript, summary=summary)
        return time.process_time() - began, summary, topics

    await work(quarter)  # what is loaded is loaded
    less, _, _ = await work(quarter)
    watcher = asyncio.create_task(others())
    began = time.perf_counter()
    used, summary, topics = await work(meeting)
    took = time.perf_counter() - began
    is_done.set()
    await watcher
    assert used < 12 * less, "four times the meeting"
    assert longest_wait < took / 4
    assert 100 < count_words(summary) <= 300
    assert 3 <= len(topics) <= 8


async def test_summaries_are_deterministic() -> None:
    transcript = spoken(SPEECH["de"], "de")
    runs = [
        await MODEL.summarize(transcript, style=Style.KEY_POINTS, max_words=60) for _ in range(3)
    ]
    assert len(set(runs)) == 1


# -- topics


@pytest.mark.parametrize(
    ("language", "one_of"),
    [
        ("en", {"server", "contract"}),
        ("de", {"serverraum", "vertrag"}),
        ("fr", {"serveurs", "contrat"}),
        ("es", {"servidores", "contrato"}),
        ("ja", {"サーバー", "契約"}),
        ("zh", {"机房", "合同"}),
    ],
)
async def test_topics_are_a_few_short_phrases(language: str, one_of: set[str]) -> None:
    for language_set in (language, ""):
        topics = await MODEL.topics(spoken(SPEECH[language], language_set), summary="")
        assert 3 <= len(topics) <= 8
        assert all(len(topic.split()) <= 3 and len(topic) < 60 for topic in topics)
        assert any(word in topic.casefold() for word in one_of for topic in topics)


async def test_no_topic_says_what_another_says() -> None:
    topics = [
        topic.casefold() for topic in await MODEL.topics(spoken(SPEECH["en"], "en"), summary="")
    ]
    assert not [(a, b) for a in topics for b in topics if a != b and a in b]


async def test_neither_fillers_nor_speakers_are_topics() -> None:
    text = "SPEAKER_1: Yeah, okay. SPEAKER_2: Yeah, the harbour. SPEAKER_1: The bridge and the tunnel, yeah. "
    transcript = Transcript((Passage(text * 9, speaker="Interviewer"),), "en")
    topics = " ".join(await MODEL.topics(transcript, summary="")).casefold()
    assert "harbour" in topics
    assert not [word for word in ("speaker", "yeah", "okay", "interviewer") if word in topics]


async def test_a_few_words_have_three_topics() -> None:
    assert len(await MODEL.topics(JFK, summary="")) == 3
    assert await MODEL.topics(spoken("Harbour."), summary="") == ["Harbour"]


def test_no_more_phrases_are_given_than_are_asked_for() -> None:
    assert len(keyphrases(spoken(SPEECH["en"], "en"), limit=2)) == 2


@pytest.mark.slow
def test_summarizing_is_silent_and_the_same_in_every_process() -> None:
    program = (
        "import asyncio, logging\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "from chat.llm.base import Style\n"
        "from chat.llm.extractive import Extractive\n"
        "from tests.chat.test_extractive import SPEECH, spoken\n"
        "for language in SPEECH:\n"
        "    transcript = spoken(SPEECH[language], language)\n"
        "    print(asyncio.run(Extractive().summarize(transcript, style=Style.KEY_POINTS, max_words=50)))\n"
        "    print(asyncio.run(Extractive().topics(transcript, summary='')))\n"
    )
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ".", "PYTHONUTF8": "1"},
        )
        assert (done.returncode, done.stderr) == (0, "")
        outputs.add(done.stdout)
    assert len(outputs) == 1


# -- a short talk on the telephone

CALL = Transcript(
    tuple(
        Passage(text, 4.0 * i, 4.0 * i + 3.5, f"SPEAKER_{i % 2 + 1}")
        for i, text in enumerate(
            [
                "Hello, this is Diane calling from New Jersey.",
                "And I'm Sheila, in Texas.",
                "Are you from there originally?",
                "No, from Chicago.",
                "They call me a Yankee here.",
                "I thought you sounded like it.",
                "Let us ask Peter.",
                "He knows all about the weather.",
            ]
        )
    ),
    "en",
)


@pytest.mark.parametrize(
    ("asked", "first_to_find"),
    [
        ("What happens at 00:00:13?", 3),
        ("What is said at 18 seconds?", 4),
        ("What did they say at the end?", 7),
        ("Whom should we ask?", 6),
        ("Who is from Chicago?", 3),
    ],
)
async def test_what_is_asked_for_is_among_the_quotes(asked: str, first_to_find: int) -> None:
    answer = await MODEL.answer(question(CALL, asked))
    assert CALL.passages[first_to_find] in answer.citations


@pytest.mark.parametrize(
    "asked", ["What do they say about pizza?", "What is this about?", "Who is it?", "How many?"]
)
async def test_function_words_find_nothing(asked: str) -> None:
    answer = await MODEL.answer(question(CALL, asked))
    assert answer.citations == ()
    assert "2 speakers: SPEAKER_1, SPEAKER_2. The last words are at 00:00:31." in answer.text


async def test_a_conversation_of_short_sentences_has_a_summary() -> None:
    summary = await MODEL.summarize(CALL, style=Style.PARAGRAPH, max_words=100)
    assert "Diane" in summary
    assert count_words(summary) >= 15


async def test_greetings_and_what_crosses_a_sentence_s_end_are_no_topics() -> None:
    said = "I need the design. Okay. Hello. Oh, hello. Sheila sells houses in Texas. Hello again."
    topics = await MODEL.topics(Transcript((Passage(said),), "en"), summary="")
    assert topics
    assert not any("." in topic or "hello" in topic.casefold() for topic in topics)


async def test_an_answer_of_few_tokens_still_has_a_quote() -> None:
    answer = await MODEL.answer(question(CALL, "Who is from Chicago?", max_tokens=40))
    assert "Chicago" in answer.text
