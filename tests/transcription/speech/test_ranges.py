"""A range transcribed by itself says what is said in it: no word of the neighbours, none cut at the edges."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest

from transcription.speech import audio, catalogue, chunks, segments, weights
from transcription.speech.engines import faster_whisper
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    EngineSettings,
    Span,
    SpeechEngine,
    Word,
)
from transcription.speech.ranges import RangeText, split_index, transcribe_range, with_context
from transcription.speech.voice_activity import VoiceActivity

SECONDS = 360.0
COMPARED_SECONDS = 150.0
"""What is transcribed as a whole, to compare with."""
N_RANGES = 30
N_AT_ONCE = 2
UNSURE_SECONDS = 0.15
"""A word whose middle is this near to an edge may be told to be on either side of it: word times are that exact."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> SpeechEngine:
    found = weights.ensure_weights(
        catalogue.resolve("base"),
        engine="faster-whisper",
        models_dir=tmp_path_factory.mktemp("models"),
    )
    settings = EngineSettings(device="cpu", threads=N_AT_ONCE)
    return faster_whisper.load(found.path, model_name="base", settings=settings)


@pytest.fixture(scope="module")
def reading(audio_dir: Path) -> Audio:
    return audio.read_all(audio_dir / "reading-10min.flac")[: round(SECONDS * SAMPLE_RATE)]


@pytest.fixture(scope="module")
def speech(reading: Audio) -> list[Span]:
    return speech_in(reading)


def speech_in(samples: Audio) -> list[Span]:
    activity = VoiceActivity()
    return activity.feed(samples) + activity.finish()


@pytest.fixture(scope="module")
def full(base: SpeechEngine, reading: Audio) -> list[Word]:
    return alone(base, reading[: round(COMPARED_SECONDS * SAMPLE_RATE)])


def part(samples: Audio, span: Span) -> Audio:
    return samples[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)]


def transcribed(
    engine: SpeechEngine, samples: Audio, span: Span, language: str = "en"
) -> RangeText:
    """As the service does it: of the recording, the range with its context alone is read."""
    read = with_context(span, duration=len(samples) / SAMPLE_RATE)
    return transcribe_range(
        engine, part(samples, read), origin=read.start, span=span, language=language
    )


def alone(engine: SpeechEngine, samples: Audio) -> list[Word]:
    """Every word of what is a recording of its own, as a job finds them."""

    def words(chunk: chunks.PlannedChunk) -> list[Word]:
        found = segments.transcribe(engine, samples, chunk.streams, chunk.speech, language="en")
        return [word for segment in found for word in segment.words]

    with ThreadPoolExecutor(N_AT_ONCE) as threads:
        planned = chunks.plan(speech_in(samples), len(samples) / SAMPLE_RATE)
        return [word for of_chunk in threads.map(words, planned) for word in of_chunk]


def normal(words: list[Word] | tuple[Word, ...]) -> list[str]:
    letters = ("".join(c for c in word.text.lower() if c.isalnum()) for word in words)
    return [word for word in letters if word]


def between_silences(reading: Audio, speech: list[Span]) -> list[Span]:
    """Ranges whose edges are where nobody speaks, whether all that came before was heard or the context alone."""
    silences = [(a.end + b.start) / 2 for a, b in pairwise(speech) if b.start - a.end >= 0.3]
    spans = [Span(a, b) for i, a in enumerate(silences) for b in silences[i + 1 : i + 5]]
    spans = [s for s in spans if 1.0 <= s.duration <= 5.0 and edges_are_silent(reading, s)]
    return random.Random(5).sample(spans, N_RANGES)


def edges_are_silent(reading: Audio, span: Span) -> bool:
    read = with_context(span, duration=SECONDS)
    edges = span.start - read.start, span.end - read.start
    spoken = speech_in(part(reading, read))
    return not any(s.start - 0.1 < edge < s.end + 0.1 for s in spoken for edge in edges)


def within_speech(speech: list[Span]) -> list[Span]:
    """Ranges both of whose edges are where somebody has spoken for half a second and goes on for as long."""
    rng = random.Random(5)
    spans: list[Span] = []
    while len(spans) < N_RANGES:
        start = rng.uniform(0, COMPARED_SECONDS - 8)
        end = start + rng.uniform(1.5, 4.0)
        if all(any(s.start + 0.5 < x < s.end - 0.5 for s in speech) for x in (start, end)):
            spans.append(Span(start, end))
    return spans


@pytest.mark.slow
def test_a_range_between_silences_is_heard_as_if_it_were_alone(
    base: SpeechEngine, reading: Audio, speech: list[Span]
) -> None:
    spans = between_silences(reading, speech)
    with ThreadPoolExecutor(N_AT_ONCE) as threads:
        found = threads.map(lambda span: transcribed(base, reading, span), spans)
        expected = threads.map(lambda span: alone(base, part(reading, span)), spans)
    for span, got, wanted in zip(spans, found, expected, strict=True):
        assert wanted, span
        assert [w.text for w in got.words] == [w.text for w in wanted], span


def neighbours_or_losses(compared: jiwer.WordOutput) -> bool:
    """Whether there are words too many, or too few, at the beginning or at the end."""
    alignment = compared.alignments[0]
    return any(side.type in ("insert", "delete") for side in (alignment[0], alignment[-1]))


@pytest.mark.slow
def test_a_range_cut_out_of_speech_has_its_own_words_and_all_of_them(
    base: SpeechEngine, reading: Audio, speech: list[Span], full: list[Word]
) -> None:
    spans = within_speech(speech)
    with ThreadPoolExecutor(N_AT_ONCE) as threads:
        found = list(threads.map(lambda span: transcribed(base, reading, span), spans))
    n_whole = 0
    for span, got in zip(spans, found, strict=True):
        said = normal(got.words)
        heard = [
            (normal(words), jiwer.process_words(" ".join(normal(words)), " ".join(said)))
            for words in allowed(full, span)
        ]
        right = [words for words, compared in heard if not neighbours_or_losses(compared)]
        assert right, (span, got.text, heard[0][0])
        assert min(compared.wer for _, compared in heard) <= 0.5, (span, got.text)
        n_whole += any(words[0] == said[0] for words in right)
        n_whole += any(words[-1] == said[-1] for words in right)
    # One or the other is heard otherwise with other words around it ("till" and "until"); words cut in two all are.
    assert n_whole >= 0.9 * 2 * N_RANGES


def allowed(full: list[Word], span: Span) -> Iterator[list[Word]]:
    """The words in the range, with each choice of those so near to an edge that nobody can tell."""

    def middle(word: Word) -> float:
        return (word.start + word.end) / 2

    near = [
        word
        for word in full
        if span.start - UNSURE_SECONDS <= middle(word) < span.end + UNSURE_SECONDS
    ]
    n_first = sum(middle(word) < span.start + UNSURE_SECONDS for word in near)
    n_last = sum(middle(word) >= span.end - UNSURE_SECONDS for word in near)
    for first in range(n_first + 1):
        for last in range(n_last + 1):
            yield near[first : len(near) - last]


@pytest.mark.slow
def test_words_have_the_times_of_the_recording_and_the_text_is_theirs(
    base: SpeechEngine, reading: Audio
) -> None:
    span = Span(61.7, 66.3)
    found = transcribed(base, reading, span)
    assert len(found.words) > 5
    assert all(span.start <= (w.start + w.end) / 2 < span.end for w in found.words)
    assert all(a.start < b.start for a, b in pairwise(found.words))
    assert found.text == "".join(word.text for word in found.words).strip()
    mean = np.mean([word.probability for word in found.words])
    assert found.confidence == pytest.approx(mean)
    assert found.confidence is not None
    assert 0.3 < found.confidence < 1


@pytest.mark.slow
def test_the_language_is_heard_where_none_is_given(base: SpeechEngine, audio_dir: Path) -> None:
    samples = audio.read_all(audio_dir / "multilingual.mp3")
    assert transcribed(base, samples, Span(2.0, 8.0), language="").language == "en"
    end = len(samples) / SAMPLE_RATE
    assert transcribed(base, samples, Span(end - 8.0, end), language="").language != "en"


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_where_nobody_speaks_there_is_no_text_and_no_confidence(
    base: SpeechEngine, noise: float
) -> None:
    rng = np.random.default_rng(1)
    samples = (noise * rng.standard_normal(20 * SAMPLE_RATE)).astype(np.float32)
    assert transcribed(base, samples, Span(5.0, 15.0), language="") == RangeText("", (), None, "")


@pytest.mark.slow
def test_a_range_that_begins_with_its_first_word_does_not_lose_it(
    base: SpeechEngine, audio_dir: Path
) -> None:
    samples = audio.read_all(audio_dir / "jfk.flac")
    found = transcribed(base, samples, Span(3.25, 7.8))
    assert " ".join(normal(found.words)) == "ask not what your country can do for you"


def heard(text: str, start: float) -> list[Word]:
    return [
        Word(start + 0.4 * n, start + 0.4 * n + 0.3, f" {word}", 0.9)
        for n, word in enumerate(text.split())
    ]


@pytest.mark.parametrize(
    ("edge", "n_before"),
    [(0.9, 2), (1.0, 3), (1.4, 4)],
)
def test_a_range_is_cut_between_the_same_words_wherever_two_models_place_them(
    edge: float, n_before: int
) -> None:
    known = heard("we moved the server room to Leipzig", 0.0)
    for shift in (-0.5, -0.2, 0.0, 0.2, 0.5):
        words = heard("we moved a server room to Leipzig", shift)
        assert split_index(words, edge, known) == n_before, shift


def test_where_other_words_were_heard_a_range_is_cut_by_time() -> None:
    words = heard("they took all machines away", 0.0)
    assert split_index(words, 0.9, heard("we moved the server room", 0.1)) == 2
    assert split_index(words, 0.9, []) == 2
    assert split_index([], 0.9, heard("we moved", 0.0)) == 0
