"""Who said which word, by turns that are known; and for real, by an engine's words and a diarizer's turns."""

import random
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from pyannote.metrics.diarization import DiarizationErrorRate

from tests.conversations import InMemory, annotation, conversation
from tests.effort import cpu_seconds
from transcription.speech import catalogue, chunks, segments, weights
from transcription.speech.diarization import attribution, loading
from transcription.speech.diarization.attribution import Attribution, Part, attribute, parts
from transcription.speech.diarization.base import Turn
from transcription.speech.engines import faster_whisper
from transcription.speech.engines.base import SAMPLE_RATE, Audio, EngineSettings, Span, Word
from transcription.speech.voice_activity import VoiceActivity

A_AND_B = [Turn(1.0, 2.0, "A"), Turn(2.0, 3.0, "B")]


def only(word: Span, turns: Sequence[Turn]) -> Attribution:
    [found] = attribute([word], turns)
    return found


@pytest.mark.parametrize(
    ("word", "speaker", "confidence"),
    [
        (Span(1.2, 1.6), "A", 1.0),  # within a turn
        (Span(1.6, 2.2), "A", 2 / 3),  # more of it in the first
        (Span(1.9, 2.3), "B", 3 / 4),  # more of it in the second
        (Span(0.5, 1.5), "A", 1 / 2),  # half of it before anybody speaks
        (Span(0.0, 4.0), "A", 1 / 4),  # as much of both: the first
        (Span(1.0, 2.0), "A", 1.0),  # the turn itself
    ],
)
def test_a_word_is_whose_turn_it_overlaps_most(word: Span, speaker: str, confidence: float) -> None:
    found = only(word, A_AND_B)
    assert found.speaker == speaker
    assert found.confidence == pytest.approx(confidence)


def test_several_turns_of_one_speaker_count_together() -> None:
    turns = [Turn(0.0, 1.0, "A"), Turn(1.0, 2.5, "B"), Turn(2.5, 3.5, "A")]
    found = only(Span(0.0, 3.5), turns)
    assert found.speaker == "A"
    assert found.confidence == pytest.approx(2 / 3.5)


@pytest.mark.parametrize(
    ("word", "speaker"),
    [
        (Span(0.2, 0.6), "A"),  # 0.4 s before
        (Span(0.1, 0.5), "A"),  # 0.5 s before
        (Span(3.4, 3.6), "B"),  # 0.4 s after
        (Span(3.0, 3.1), "B"),  # begins where the turn ends
        (Span(0.0, 0.4), None),  # 0.6 s before
        (Span(3.6, 4.0), None),  # 0.6 s after
    ],
)
def test_a_word_beside_all_turns_is_the_nearest_ones_if_it_is_near(
    word: Span, speaker: str | None
) -> None:
    assert only(word, A_AND_B) == Attribution(speaker, None if speaker is None else 0.0)


def test_between_two_turns_the_nearer_one_counts() -> None:
    turns = [Turn(0.0, 1.0, "A"), Turn(1.8, 3.0, "B")]
    assert only(Span(1.1, 1.3), turns).speaker == "A"
    assert only(Span(1.5, 1.7), turns).speaker == "B"


@pytest.mark.parametrize(("place", "speaker"), [(1.5, "A"), (2.0, "B"), (2.5, "B"), (3.2, "B")])
def test_a_word_without_length_has_a_speaker_too(place: float, speaker: str) -> None:
    assert only(Span(place, place), A_AND_B).speaker == speaker


def test_without_turns_nobody_speaks() -> None:
    assert attribute([Span(0.0, 1.0), Span(1.0, 1.0)], []) == 2 * [Attribution(None, None)]
    assert attribute([], A_AND_B) == []


def test_confidence_is_the_share_of_the_word_times_how_clear_the_voice_is() -> None:
    turns = [Turn(0.0, 1.0, "A", voice=0.8), Turn(1.0, 2.0, "A", voice=0.6), Turn(2.0, 3.0, "B")]
    assert only(Span(0.2, 0.4), turns).confidence == pytest.approx(0.8)
    assert only(Span(0.5, 1.5), turns).confidence == pytest.approx(0.7)
    assert only(Span(2.2, 2.4), turns).confidence == 1.0
    assert only(Span(2.5, 3.5), turns).confidence == pytest.approx(0.5)
    assert only(Span(3.2, 3.4), turns).confidence == 0.0


def test_an_unclear_voice_takes_no_word_away() -> None:
    turns = [Turn(0.0, 1.0, "A", voice=0.1), Turn(1.0, 2.0, "B", voice=0.9)]
    found = only(Span(0.3, 1.2), turns)
    assert found.speaker == "A"
    assert found.confidence == pytest.approx(0.7 / 0.9 * 0.1)


def test_a_segment_is_parted_wherever_the_speaker_changes() -> None:
    of_words = [
        Attribution("A", 1.0),
        Attribution("A", 0.5),
        Attribution("B", 0.9),
        Attribution(None, None),
        Attribution(None, None),
        Attribution("B", 0.0),
        Attribution("A", 0.25),
    ]
    assert parts(of_words) == [
        Part(0, 2, "A", 0.75),
        Part(2, 3, "B", 0.9),
        Part(3, 5, None, None),
        Part(5, 6, "B", 0.0),
        Part(6, 7, "A", 0.25),
    ]
    assert parts([]) == []


def random_turns(rng: random.Random, n_turns: int) -> list[Turn]:
    turns, now = [], 0.0
    for _ in range(n_turns):
        now += rng.choice([0.0, 0.0, rng.uniform(0, 2)])
        end = now + rng.uniform(0.05, 3)
        voice = rng.choice([None, rng.random()])
        turns.append(Turn(now, end, rng.choice("ABC"), voice))
        now = end
    return turns


def random_words(rng: random.Random, n_words: int, seconds: float) -> list[Span]:
    starts = sorted(rng.uniform(-1, seconds + 2) for _ in range(n_words))
    return [Span(start, start + rng.choice([0.0, rng.uniform(0, 4)])) for start in starts]


def plainly(word: Span, turns: Sequence[Turn]) -> Attribution:
    """The same by looking at every turn."""
    end = max(word.end, word.start + attribution.MIN_WORD_SECONDS)
    shares: dict[str, float] = {}
    weighed: dict[str, float] = {}
    for turn in turns:
        share = max(min(end, turn.end) - max(word.start, turn.start), 0.0) / (end - word.start)
        shares[turn.speaker] = shares.get(turn.speaker, 0.0) + share
        voice = 1.0 if turn.voice is None else turn.voice
        weighed[turn.speaker] = weighed.get(turn.speaker, 0.0) + share * voice
    best = max(shares, key=lambda speaker: shares[speaker], default=None)
    if best is not None and shares[best] > 0:
        return Attribution(best, weighed[best])
    distance, nearest = min(
        (max(turn.start - end, word.start - turn.end), turn.speaker) for turn in turns
    )
    if distance > attribution.MAX_DISTANCE_SECONDS:
        return Attribution(None, None)
    return Attribution(nearest, 0.0)


@pytest.mark.parametrize("seed", range(40))
def test_it_is_what_looking_at_every_turn_finds(seed: int) -> None:
    rng = random.Random(seed)
    turns = random_turns(rng, rng.randint(1, 40))
    words = random_words(rng, 200, turns[-1].end)
    found = attribute(words, turns)
    expected = [plainly(word, turns) for word in words]
    assert [a.speaker for a in found] == [a.speaker for a in expected]
    known = [a.confidence for a in found if a.confidence is not None]
    assert known == pytest.approx([a.confidence for a in expected if a.confidence is not None])
    assert all(0 <= confidence <= 1 for confidence in known)
    split = parts(found)
    assert [n for part in split for n in range(part.first, part.end)] == list(range(len(words)))
    assert all(a.speaker != b.speaker for a, b in pairwise(split))


def test_four_times_the_words_and_turns_cost_little_more_than_four_times_the_work() -> None:
    rng = random.Random(1)
    seconds = []
    for n_turns in (500, 2_000):
        turns = random_turns(rng, n_turns)
        words = random_words(rng, 5 * n_turns, turns[-1].end)
        seconds.append(cpu_seconds(partial(attribute, words, turns)))
    assert seconds[1] < 8 * seconds[0]


def words_of(samples: Audio, models_dir: Path) -> list[Word]:
    found = weights.ensure_weights(
        catalogue.resolve("tiny.en"), engine="faster-whisper", models_dir=models_dir
    )
    engine = faster_whisper.load(
        found.path, model_name="tiny.en", settings=EngineSettings(device="cpu")
    )
    activity = VoiceActivity()
    speech = activity.feed(samples) + activity.finish()
    transcribed = [
        segment
        for chunk in chunks.plan(speech, len(samples) / SAMPLE_RATE)
        for segment in segments.transcribe(
            engine, samples, chunk.streams, chunk.speech, language="en"
        )
    ]
    return [word for segment in transcribed for word in segment.words]


@pytest.mark.slow
def test_nearly_every_word_of_a_conversation_is_its_speakers(tmp_path: Path) -> None:
    samples, reference = conversation(3, seed=5, seconds=180)
    words = words_of(samples, tmp_path)
    diarizer = loading.load(engine="pyannote", model="built-in", token="", device="cpu")
    turns = diarizer.diarize(InMemory(samples)).exclusive
    found = attribute([Span(word.start, word.end) for word in words], turns)
    names = DiarizationErrorRate().optimal_mapping(reference, annotation(turns))
    right = [
        names.get(by.speaker) == speaker
        for segment, _, speaker in reference.itertracks(yield_label=True)
        for word, by in zip(words, found, strict=True)
        if segment.start <= word.start and word.end <= segment.end
    ]
    assert len(right) > 300
    assert sum(right) / len(right) >= 0.95
