"""Samples and peaks are stored in pieces of one minute and read as if they were one file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgiref.sync import async_to_sync
from django.core.files.storage import default_storage
from django.test import override_settings

from transcription.models import Recording
from transcription.recordings import (
    PEAKS_PER_SECOND,
    PIECE_BYTES,
    PIECE_SAMPLES,
    PIECE_SECONDS,
    SamplesWriter,
    StoredSamples,
    count_samples,
    delete_files,
    folder,
    read_peaks,
    read_samples,
    stream_samples,
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


def names_of(recording: Recording) -> list[str]:
    return sorted(default_storage.listdir(folder(recording))[1])


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
def test_spans_that_are_empty_or_outside_the_recording_read_no_samples(
    samples: Pcm, start: float, end: float
) -> None:
    read = read_samples(store(samples), Span(start, end))
    assert read.shape == (0,)
    assert read.dtype == np.float32


def test_a_recording_of_whole_pieces_has_no_empty_last_piece() -> None:
    recording = store(np.zeros(2 * PIECE_SAMPLES, np.int16))
    assert names_of(recording) == [
        "peaks-00000.u8",
        "peaks-00001.u8",
        "samples-00000.s16",
        "samples-00001.s16",
    ]


def test_writing_again_overwrites_the_stored_pieces(samples: Pcm) -> None:
    # An interrupted preparation: its last piece is not full.
    recording = store(samples[: PIECE_SAMPLES + 99])
    store(samples, recording=recording)
    read = read_samples(recording, Span(0, 3 * PIECE_SECONDS))
    np.testing.assert_array_equal(read, to_float(samples))
    assert len(names_of(recording)) == 6
    assert read_peaks(recording) == read_peaks(store(samples))


def test_deleting_leaves_nothing_and_can_be_repeated(samples: Pcm) -> None:
    recording = store(samples)
    delete_files(recording)
    delete_files(recording)
    assert not default_storage.exists(folder(recording))


# ---- Counting and streaming


@pytest.mark.parametrize("n_samples", [1, PIECE_SAMPLES, PIECE_SAMPLES + 1, N_SAMPLES])
def test_the_number_of_samples_is_that_of_the_stored_pieces(samples: Pcm, n_samples: int) -> None:
    recording = store(samples[:n_samples])
    recording.duration = n_samples / SAMPLE_RATE
    assert count_samples(recording) == n_samples


@pytest.mark.parametrize("piece", [0, 1, 2])
def test_samples_are_not_counted_if_a_piece_is_missing(samples: Pcm, piece: int) -> None:
    recording = store(samples)
    recording.duration = N_SAMPLES / SAMPLE_RATE
    default_storage.delete(f"{folder(recording)}/samples-{piece:05d}.s16")
    assert count_samples(recording) is None


def test_samples_are_not_counted_if_all_files_are_missing(samples: Pcm) -> None:
    recording = store(samples)
    recording.duration = N_SAMPLES / SAMPLE_RATE
    delete_files(recording)
    assert count_samples(recording) is None


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (0, 0),
        (0, 2 * N_SAMPLES),
        (1, 2),
        (PIECE_BYTES - 1, PIECE_BYTES + 1),
        (PIECE_BYTES, 2 * PIECE_BYTES),
        (7, 2 * PIECE_BYTES + 3),
    ],
)
def test_bytes_are_streamed_across_the_pieces(samples: Pcm, begin: int, end: int) -> None:
    recording = store(samples)

    @async_to_sync
    async def streamed() -> list[bytes]:
        return [part async for part in stream_samples(recording, begin=begin, end=end)]

    parts = streamed()
    assert b"".join(parts) == samples.astype("<i2").tobytes()[begin:end]
    assert all(len(part) <= PIECE_BYTES for part in parts)


# ---- Peaks


def expected_peaks(samples: Pcm) -> list[int]:
    step = SAMPLE_RATE // PEAKS_PER_SECOND
    parts = (samples[begin : begin + step] for begin in range(0, len(samples), step))
    return [-(-max(abs(int(sample)) for sample in part) * 255 // 32768) for part in parts]


@pytest.mark.parametrize("step", [160_000, 7_777, N_SAMPLES])
def test_peaks_are_the_loudest_of_each_twentieth_of_a_second(samples: Pcm, step: int) -> None:
    quieter = (samples * np.linspace(0, 1, N_SAMPLES)).astype(np.int16)
    assert list(read_peaks(store(quieter, step=step))) == expected_peaks(quieter)


def test_peaks_do_not_depend_on_where_pieces_end() -> None:
    clicks = np.zeros(3 * PIECE_SAMPLES, np.int16)
    clicks[[0, PIECE_SAMPLES - 1, PIECE_SAMPLES, 2 * PIECE_SAMPLES]] = 32767
    found = read_peaks(store(clicks))
    assert len(found) == 3 * 60 * PEAKS_PER_SECOND
    assert [index for index, peak in enumerate(found) if peak] == [0, 1199, 1200, 2400]


@pytest.mark.parametrize(
    ("sample", "peak"), [(0, 0), (1, 1), (-1, 1), (16384, 128), (32767, 255), (-32768, 255)]
)
def test_a_peak_is_zero_for_silence_alone_and_255_at_full_scale(sample: int, peak: int) -> None:
    assert read_peaks(store(np.full(900, sample, np.int16))) == bytes([peak, peak])


@pytest.mark.parametrize("lost", ["peaks-00000.u8", "peaks-00001.u8", "samples-00001.s16"])
def test_a_repeated_preparation_writes_the_files_that_are_missing(samples: Pcm, lost: str) -> None:
    recording = store(samples)
    complete, names = read_peaks(recording), names_of(recording)
    default_storage.delete(f"{folder(recording)}/{lost}")
    store(samples, recording=recording)
    assert names_of(recording) == names
    assert read_peaks(recording) == complete


def test_peaks_can_be_read_as_far_as_they_are_made(samples: Pcm) -> None:
    recording = Recording(name="a.flac", size=1)
    writer = SamplesWriter(recording)
    assert read_peaks(recording) == b""
    writer.write(samples[: PIECE_SAMPLES + 5])
    assert list(read_peaks(recording)) == expected_peaks(samples[:PIECE_SAMPLES])


def test_missing_samples_raise_an_error_and_are_not_read_as_silence(samples: Pcm) -> None:
    recording = store(samples)
    recording.duration = N_SAMPLES / SAMPLE_RATE
    stored = StoredSamples(recording)
    assert len(stored.read(Span(0.0, recording.duration + 0.25))) == N_SAMPLES
    assert len(stored.read(Span(recording.duration, recording.duration + 0.2))) == 0
    first, *_others = sorted(name for name in names_of(recording) if name.endswith(".s16"))
    default_storage.delete(f"{folder(recording)}/{first}")
    for span in (Span(0.0, 30.0), Span(0.0, 0.5)):
        with pytest.raises(FileNotFoundError, match="samples are missing"):
            stored.read(span)
