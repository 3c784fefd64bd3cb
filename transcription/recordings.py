"""Where recordings lie: the uploaded file, and its samples in pieces of a minute.

Pieces, because any storage can write and read whole files, none needs to append or seek; because a range is
read without the rest; and because a preparation that was broken off goes over what is there at no cost.
"""

import io
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile

from transcription.models import Recording
from transcription.speech.audio import AudioInfo, Pcm, to_float
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span

PIECE_SECONDS = 60
PIECE_SAMPLES = PIECE_SECONDS * SAMPLE_RATE


def folder(recording: Recording) -> str:
    return f"recordings/{recording.id}"


def store_upload(*, upload: "UploadedFile[Any]", info: AudioInfo) -> Recording:
    """Move `upload` into the storage. The row is not saved yet: see `jobs.create_job`."""
    recording = Recording(
        name=upload.name or "recording",
        size=upload.size or 0,
        container=info.container[:100],
        codec=info.codec[:50],
        declared_duration=info.duration,
    )
    suffix = PurePath(recording.name).suffix.lower()
    suffix = suffix if suffix[1:].isalnum() and len(suffix) <= 10 else ""
    try:
        recording.file.name = default_storage.save(f"{folder(recording)}/original{suffix}", upload)
    except BaseException:
        delete_files(recording)
        raise
    return recording


def delete_files(recording: Recording) -> None:
    """Remove the uploaded file and its samples; what is gone already is no error."""
    directory = folder(recording)
    try:
        _, names = default_storage.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        default_storage.delete(f"{directory}/{name}")
    default_storage.delete(directory)


class SamplesWriter:
    """Cuts samples into pieces and stores each as soon as it is full."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._pending: list[Pcm] = []
        self._n_pending = 0
        self._n_pieces = 0

    @property
    def n_stored(self) -> int:
        return self._n_pieces * PIECE_SAMPLES

    def write(self, samples: Pcm) -> None:
        self._pending.append(samples)
        self._n_pending += len(samples)
        while self._n_pending >= PIECE_SAMPLES:
            self._store(PIECE_SAMPLES)

    def flush(self) -> None:
        """Store what is left; nothing may be written after."""
        if self._n_pending:
            self._store(self._n_pending)

    def _store(self, n_samples: int) -> None:
        import numpy as np

        joined = np.concatenate(self._pending)
        self._pending = [joined[n_samples:]]
        self._n_pending -= n_samples
        name = _piece(self._recording, self._n_pieces)
        data = joined[:n_samples].astype("<i2").tobytes()
        self._n_pieces += 1
        if default_storage.exists(name):
            if default_storage.size(name) == len(data):
                return  # from a preparation that was broken off
            default_storage.delete(name)
        default_storage.save(name, ContentFile(data))


def read_samples(recording: Recording, span: Span) -> Audio:
    """The samples from `span.start` to `span.end`, as far as there are any; shape (n_samples,)."""
    import numpy as np

    first, last = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)
    parts = []
    for index in range(first // PIECE_SAMPLES, -(-last // PIECE_SAMPLES)):
        offset = index * PIECE_SAMPLES
        try:
            with default_storage.open(_piece(recording, index)) as file:
                begin = max(first - offset, 0)
                file.seek(2 * begin, io.SEEK_SET)
                data = file.read(2 * (min(last - offset, PIECE_SAMPLES) - begin))
        except FileNotFoundError:
            break
        parts.append(np.frombuffer(data[: len(data) // 2 * 2], "<i2"))
    return to_float(np.concatenate(parts)) if parts else np.zeros(0, np.float32)


def has_samples(recording: Recording, span: Span) -> bool:
    """Whether all of the span can be read."""
    first, last = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)
    pieces = range(first // PIECE_SAMPLES, -(-last // PIECE_SAMPLES))
    return all(default_storage.exists(_piece(recording, index)) for index in pieces)


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """A prepared recording's samples, read as they are needed."""

    recording: Recording

    @property
    def duration(self) -> float:
        return self.recording.duration or 0.0

    def read(self, span: Span) -> Audio:
        return read_samples(self.recording, span)


def _piece(recording: Recording, index: int) -> str:
    return f"{folder(recording)}/samples-{index:05d}.s16"
