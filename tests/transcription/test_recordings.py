"""Samples lie in pieces of a minute; who reads a span does not notice."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.test import override_settings

from transcription.models import Recording
from transcription.recordings import (
    PIECE_SAMPLES,
    PIECE_SECONDS,
    SamplesWriter,
    delete_files,
    folder,
    read_samples,
)
from transcription.speech.audio import Pcm, to_float
from transcription.speech.engines.base import SAMPLE_RATE, Span

N_SAMPLES = 2 * PIECE_SAMPLES + 12_345


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path) -> Iterator[None]:
    with override_settings(MEDIA_ROOT=tmp_path):
        yield


@pytest.fixture
def samples() -> Pcm:
    return np.random.default_rng(3).integers(-32768, 32767, N_SAMPLES).astype(np.int16)


def store(samples: Pcm, *, step: int = 160_000, recording: Recording | None = None) -> Recording:
    recording = recording or Recording(name="a.flac", size=1)
    writer = SamplesWriter(recording)
    for begin in range(0, len(samples), step):
        writer.write(samples[begin : begin + step])
        assert writer.n_stored <= begin + step
    writer.flush()
    return recording


@pytest.mark.parametrize("step", [160_000, 7_777, N_SAMPLES])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0.0, 1.0),
        (0.0, 60.0),
        (59.0, 61.0),
        (60.0, 60.5),
        (59.9999, 60.0),
        (10.0, 120.7),
        (0.0, 1000.0),
        (119.99, 1000.0),
        (12.34567, 100.98765),
    ],
)
def test_a_span_is_read_across_the_pieces(
    samples: Pcm, start: float, end: float, step: int
) -> None:
    recording = store(samples, step=step)
    expected = samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    np.testing.assert_array_equal(read_samples(recording, Span(start, end)), to_float(expected))


@pytest.mark.parametrize(("start", "end"), [(500.0, 600.0), (5.0, 5.0)])
def test_where_nothing_is_nothing_is_read(samples: Pcm, start: float, end: float) -> None:
    read = read_samples(store(samples), Span(start, end))
    assert read.shape == (0,)
    assert read.dtype == np.float32


def test_a_recording_of_whole_pieces_has_no_empty_one_at_its_end() -> None:
    recording = store(np.zeros(2 * PIECE_SAMPLES, np.int16))
    assert len(default_storage.listdir(folder(recording))[1]) == 2


def test_writing_again_goes_over_what_is_there(samples: Pcm) -> None:
    recording = store(samples[: PIECE_SAMPLES + 99])  # broken off; its last piece is not full
    store(samples, recording=recording)
    read = read_samples(recording, Span(0, 3 * PIECE_SECONDS))
    np.testing.assert_array_equal(read, to_float(samples))
    assert len(default_storage.listdir(folder(recording))[1]) == 3


def test_deleting_leaves_nothing_and_can_be_repeated(samples: Pcm) -> None:
    recording = store(samples)
    delete_files(recording)
    delete_files(recording)
    assert not default_storage.exists(folder(recording))
