"""From what an engine decodes to segments: nothing spoken left out, times where the voice is, phrases."""

from collections.abc import Sequence

import numpy as np

from transcription.speech import segments
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    OnProgress,
    Span,
    TranscribedSegment,
    Word,
)


def segment(*words: tuple[float, float, str]) -> TranscribedSegment:
    parts = tuple(Word(start, end, text, 0.9) for start, end, text in words)
    return TranscribedSegment(
        start=parts[0].start,
        end=parts[-1].end,
        text="".join(word.text for word in parts).strip(),
        words=parts,
        avg_logprob=-0.2,
        no_speech_prob=0.0,
        compression_ratio=1.2,
        temperature=0.0,
    )


class ForgetfulEngine:
    """Passes over all but the first second of a stream the first time: the outermost edge, made to misbehave."""

    model_name, device, threads = "forgetful", "cpu", 1

    def __init__(self) -> None:
        self.asked: list[list[Span]] = []

    def detect_language(self, audio: Audio) -> str:
        return "en"

    def transcribe(
        self,
        audio: Audio,
        streams: Sequence[Span],
        *,
        language: str,
        word_times: bool = True,
        on_progress: OnProgress | None = None,
    ) -> list[TranscribedSegment]:
        self.asked.append(list(streams))
        first = len(self.asked) == 1
        return [
            segment((stream.start, stream.start + 1, f" w{i}"))
            if first
            else segment((stream.start, stream.end, f" missed{i}"))
            for i, stream in enumerate(streams)
        ]


def transcribed(engine: ForgetfulEngine, speech: list[Span]) -> list[TranscribedSegment]:
    streams = [Span(speech[0].start, speech[-1].end)]
    audio = np.zeros(round((speech[-1].end + 1.0) * SAMPLE_RATE), np.float32)
    return segments.transcribe(engine, audio, streams, speech, language="en")


def test_speech_that_was_passed_over_is_decoded_again_by_itself() -> None:
    engine = ForgetfulEngine()
    found = transcribed(engine, [Span(0.0, 8.0)])
    assert engine.asked[1] == [Span(0.75, 8.25)]
    assert [(s.start, s.text) for s in found] == [(0.0, "w0"), (0.875, "missed0")]


def test_what_was_decoded_whole_is_not_decoded_again() -> None:
    engine = ForgetfulEngine()
    transcribed(engine, [Span(0.0, 1.2)])
    assert len(engine.asked) == 1


def uncovered(speech: list[Span], told: list[TranscribedSegment]) -> list[Span]:
    return list(segments.uncovered_speech(speech, told, min_seconds=1.5))


def test_a_sentence_in_the_midst_that_no_segment_covers_is_found() -> None:
    told = [segment((0.0, 3.0, " one")), segment((7.0, 10.0, " two"))]
    assert uncovered([Span(0.0, 10.0)], told) == [Span(3.0, 7.0)]


def test_silence_between_segments_is_not_missed_speech() -> None:
    told = [segment((0.0, 3.0, " one")), segment((7.0, 10.0, " two"))]
    assert uncovered([Span(0.0, 3.1), Span(6.9, 10.0)], told) == []


def test_missed_speech_with_short_pauses_is_one_stretch() -> None:
    told = [segment((0.0, 3.0, " one")), segment((9.0, 10.0, " two"))]
    spoken = [Span(0.0, 3.0), Span(4.0, 4.9), Span(5.4, 6.1), Span(7.0, 8.2), Span(9.0, 10.0)]
    assert uncovered(spoken, told) == [Span(4.0, 6.1)]


def phrases(words: TranscribedSegment, speech: list[Span]) -> list[TranscribedSegment]:
    return segments._split_into_phrases(segments._trim_to_speech(words, speech))


def test_words_end_where_the_voice_ends_and_not_where_the_next_word_begins() -> None:
    spoken = segment((0.0, 2.0, " Yes"), (2.0, 3.0, " indeed"))
    [phrase] = phrases(spoken, [Span(0.3, 1.5), Span(2.1, 2.9)])
    assert [(w.start, w.end) for w in phrase.words] == [(0.24, 1.56), (2.04, 2.96)]
    assert (phrase.start, phrase.end) == (0.24, 2.96)


def test_a_segment_is_split_where_a_sentence_ends_and_where_the_speaker_pauses() -> None:
    spoken = segment(
        (0.0, 0.5, " Hello"),
        (0.5, 1.0, " there."),
        (1.3, 1.6, " Mr."),
        (1.65, 2.0, " Smith,"),
        (3.0, 3.5, " good"),
        (3.5, 4.0, " day."),
    )
    found = phrases(spoken, [])
    assert [s.text for s in found] == ["Hello there.", "Mr. Smith,", "good day."]
    assert [(s.start, s.end) for s in found] == [(0.0, 1.0), (1.3, 2.0), (3.0, 4.0)]
    assert all(s.avg_logprob == spoken.avg_logprob for s in found)


def test_splitting_keeps_every_word() -> None:
    rng = np.random.default_rng(7)
    words, time = [], 0.0
    for index in range(200):
        length, pause = float(rng.uniform(0.1, 0.5)), float(rng.choice([0.0, 0.25, 0.9]))
        words.append((time, time + length, f" w{index}{rng.choice(['', ',', '.'])}"))
        time += length + pause
    spoken = segment(*words)
    found = phrases(spoken, [Span(0.0, time)])
    assert " ".join(s.text for s in found) == spoken.text
    assert [w.text for s in found for w in s.words] == [w.text for w in spoken.words]


def spoken_at(*words: tuple[float, float, str]) -> list[tuple[float, float]]:
    found = segments._enforce_min_length(list(segment(*words).words))
    return [(round(word.start, 3), round(word.end, 3)) for word in found]


def test_a_word_without_time_takes_some_of_the_next() -> None:
    assert spoken_at((1.0, 1.0, " I"), (1.0, 1.3, " was"), (1.4, 1.6, " there")) == [
        (1.0, 1.02),
        (1.02, 1.3),
        (1.4, 1.6),
    ]


def test_at_the_end_it_takes_some_of_the_one_before() -> None:
    assert spoken_at((1.0, 1.5, " so"), (1.5, 1.5, " be"), (1.5, 1.5, " it")) == [
        (1.0, 1.46),
        (1.46, 1.48),
        (1.48, 1.5),
    ]


def test_a_word_without_time_that_stands_alone_gets_the_least() -> None:
    assert spoken_at((1.0, 1.0, " Hm")) == [(1.0, 1.02)]


def test_words_that_have_time_stay_as_they_are() -> None:
    assert spoken_at((1.0, 1.2, " one"), (1.2, 1.4, " two")) == [(1.0, 1.2), (1.2, 1.4)]
