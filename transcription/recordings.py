"""Stored files of recordings: the upload, and its decoded samples and waveform peaks in one-minute pieces.

Pieces, because every storage can write and read whole files, but some can neither append nor seek; because a
range is read without the rest; and because an interrupted preparation skips the pieces that it has stored.
Peaks are computed with the samples, by the worker: the web process, which serves them, does not import numpy.
"""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile

from transcription.disk import are_on_one_disk, require_space
from transcription.models import Recording
from transcription.speech.audio import AudioInfo, Pcm, to_float
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span

PIECE_SECONDS = 60
PIECE_SAMPLES = PIECE_SECONDS * SAMPLE_RATE
PIECE_BYTES = 2 * PIECE_SAMPLES
STORAGE_ID = "storage-id"
ROOT = "recordings"
PEAKS_PER_SECOND = 20  # divides a piece evenly: the pieces' peaks can be concatenated


def folder(recording: Recording) -> str:
    return f"{ROOT}/{recording.id}"


def storage_id() -> str:
    """The random id of the storage, which is created on first use. Machines that share files read the same id.

    Raises OSError if the storage cannot be reached.
    """
    return read_or_save(STORAGE_ID, uuid4().hex)


def read_or_save(name: str, content: str) -> str:
    """What a file of the storage says; the first process to ask creates it with `content`. Raises OSError."""
    if not default_storage.exists(name):
        # In a race the storage gives the second file another name, which nobody reads.
        try:
            default_storage.save(name, ContentFile(content.encode()))
        except OSError:
            default_storage.delete(name)  # on a full disk it is empty
            raise
    with default_storage.open(name) as file:
        found = bytes(file.read()).decode()
    if not found:
        raise OSError(
            f"{name} is empty: another process is writing it; if it stays empty, delete it."
        )
    return found


def store_upload(*, upload: "UploadedFile[Any]", info: AudioInfo) -> Recording:
    """Move the upload into the storage. Returns an unsaved Recording (`lifecycle.create_job` saves it).

    Raises OSError if the disk has no space left for it; what is on the uploads' own disk has found its space.
    """
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
        is_moved = are_on_one_disk(settings.TRANSCRIBER_DATA_DIR, settings.TRANSCRIBER_FILES_DIR)
        require_space(settings.TRANSCRIBER_FILES_DIR, 0 if is_moved else recording.size)
        recording.file.name = default_storage.save(f"{folder(recording)}/original{suffix}", upload)
    except BaseException:
        delete_files(recording)
        raise
    return recording


def delete_files(recording: Recording) -> None:
    """Delete the uploaded file, its samples and peaks. Idempotent."""
    delete_folder(folder(recording))


def delete_folder(directory: str) -> None:
    """Delete a folder of the storage with its files. Idempotent."""
    names = _names_in(directory)
    if names is None:
        return
    for name in names:
        default_storage.delete(f"{directory}/{name}")
    default_storage.delete(directory)


def is_stored(recording: Recording) -> bool:
    """Whether the storage has any file of the recording."""
    return bool(_names_in(folder(recording)))


def _names_in(directory: str) -> list[str] | None:
    try:
        return default_storage.listdir(directory)[1]
    except (FileNotFoundError, NotADirectoryError):
        return None


class SamplesWriter:
    """Stores samples in pieces as soon as a piece is full: the mixed recording's with its peaks, or one channel's."""

    def __init__(self, recording: Recording, channel: int | None = None) -> None:
        self._recording = recording
        self._channel = channel
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
        """Store the last, incomplete piece. Nothing may be written afterwards."""
        if self._n_pending:
            self._store(self._n_pending)

    def _store(self, n_samples: int) -> None:
        import numpy as np

        joined = np.concatenate(self._pending)
        self._pending = [joined[n_samples:]]
        self._n_pending -= n_samples
        piece = joined[:n_samples]
        name = _piece_name(self._recording, self._n_pieces, self._channel)
        _save(name, piece.astype("<i2").tobytes())
        if self._channel is None:
            _save(_peaks_name(self._recording, self._n_pieces), _peaks_of(piece))
        self._n_pieces += 1


def _save(name: str, data: bytes) -> None:
    if default_storage.exists(name):
        if default_storage.size(name) == len(data):
            return  # stored by an interrupted preparation
        default_storage.delete(name)
    require_space(settings.TRANSCRIBER_FILES_DIR, len(data))
    try:
        default_storage.save(name, ContentFile(data))
    except OSError:
        # On a full disk, free the space of the partial file.
        default_storage.delete(name)
        raise


def _peaks_of(samples: Pcm) -> bytes:
    """The largest absolute sample of each 1/20 s, one byte each: 0 is silence, 255 full scale."""
    import numpy as np

    begins = np.arange(0, len(samples), SAMPLE_RATE // PEAKS_PER_SECOND)
    loudest = np.maximum.reduceat(np.abs(samples.astype(np.int32)), begins)
    return bytes(-(-loudest * 255 // 2**15).astype(np.uint8))


def read_samples(recording: Recording, span: Span, channel: int | None = None) -> Audio:
    """The samples of the span that are stored, as floats; shape (n_samples,). Mixed, or of one channel."""
    import numpy as np

    first, last = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)
    parts = []
    for index in range(first // PIECE_SAMPLES, -(-last // PIECE_SAMPLES)):
        offset = index * PIECE_SAMPLES
        try:
            with default_storage.open(_piece_name(recording, index, channel)) as file:
                begin = max(first - offset, 0)
                file.seek(2 * begin, io.SEEK_SET)
                data = file.read(2 * (min(last - offset, PIECE_SAMPLES) - begin))
        except FileNotFoundError:
            break
        parts.append(np.frombuffer(data[: len(data) // 2 * 2], "<i2"))
    return to_float(np.concatenate(parts)) if parts else np.zeros(0, np.float32)


def has_samples(recording: Recording, span: Span, channel: int | None = None) -> bool:
    """Whether all pieces of the span are stored, mixed or of one channel."""
    first, last = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)
    pieces = range(first // PIECE_SAMPLES, -(-last // PIECE_SAMPLES))
    return all(default_storage.exists(_piece_name(recording, index, channel)) for index in pieces)


def count_samples(recording: Recording) -> int | None:
    """The number of samples of a prepared recording; None if pieces are missing."""
    n_pieces = -(-round((recording.duration or 0.0) * SAMPLE_RATE) // PIECE_SAMPLES)
    pieces = [_piece_name(recording, index) for index in range(n_pieces)]
    stored = {f"{folder(recording)}/{name}" for name in _names_in(folder(recording)) or []}
    if not pieces or not stored.issuperset(pieces):
        return None
    return (n_pieces - 1) * PIECE_SAMPLES + default_storage.size(pieces[-1]) // 2


async def stream_samples(recording: Recording, *, begin: int, end: int) -> AsyncIterator[bytes]:
    """Stream bytes `begin` to `end` of the samples (16 bit, little-endian), piece by piece.

    An asynchronous iterator: under ASGI Django consumes a synchronous one before it sends the first byte.
    Raises FileNotFoundError or EOFError if a piece is missing or truncated.
    """
    while begin < end:
        index, offset = divmod(begin, PIECE_BYTES)
        n_bytes = min(end - begin, PIECE_BYTES - offset)
        data = await asyncio.to_thread(_read, _piece_name(recording, index), offset, n_bytes)
        if len(data) < n_bytes:
            raise EOFError(f"{_piece_name(recording, index)} is truncated.")
        yield data
        begin += n_bytes


def _read(name: str, offset: int, n_bytes: int) -> bytes:
    with default_storage.open(name) as file:
        file.seek(offset, io.SEEK_SET)
        return bytes(file.read(n_bytes))


def read_peaks(recording: Recording) -> bytes:
    """The peaks of the part that is prepared: one byte per 1/20 s, 0 is silence, 255 full scale."""
    parts: list[bytes] = []
    while True:
        try:
            with default_storage.open(_peaks_name(recording, len(parts))) as file:
                parts.append(file.read())
        except FileNotFoundError:
            return b"".join(parts)


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """A prepared recording's samples, mixed or of one channel, read on demand."""

    recording: Recording
    channel: int | None = None

    @property
    def duration(self) -> float:
        return self.recording.duration or 0.0

    def read(self, span: Span) -> Audio:
        """All samples of the span, shape (n_samples,). Raises FileNotFoundError if some are missing.

        Otherwise the missing speech would be transcribed as silence. Up to one second may be missing at the end,
        because a span may end slightly after the recording.
        """
        samples = read_samples(self.recording, span, self.channel)
        end = min(span.end, self.recording.duration or span.end)
        if len(samples) < (end - span.start - 1.0) * SAMPLE_RATE or (
            end > span.start and not len(samples)
        ):
            raise FileNotFoundError("The recording's samples are missing or truncated.")
        return samples


def _piece_name(recording: Recording, index: int, channel: int | None = None) -> str:
    prefix = "" if channel is None else f"channel-{channel:02d}-"
    return f"{folder(recording)}/{prefix}samples-{index:05d}.s16"


def _peaks_name(recording: Recording, index: int) -> str:
    return f"{folder(recording)}/peaks-{index:05d}.u8"
