"""Where recordings lie: the uploaded file, and in pieces of a minute its samples and their peaks.

Pieces, because any storage can write and read whole files, none needs to append or seek; because a range is
read without the rest; and because a preparation that was broken off goes over what is there at no cost.
The peaks are what a waveform is drawn from; they are made with the samples, because the web process, which
hands them out, is to do without numpy.
"""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from uuid import uuid4

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile

from transcription.models import Recording
from transcription.speech.audio import AudioInfo, Pcm, to_float
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span

PIECE_SECONDS = 60
PIECE_SAMPLES = PIECE_SECONDS * SAMPLE_RATE
PIECE_BYTES = 2 * PIECE_SAMPLES
STORAGE_ID = "storage-id"
PEAKS_PER_SECOND = 20  # so that a minute has a whole number of them, and no piece shifts the next


def folder(recording: Recording) -> str:
    return f"recordings/{recording.id}"


def storage_id() -> str:
    """What tells this storage from all others: it is written into it once, by whoever is first to ask.

    Raises OSError when the storage cannot be reached.
    """
    if not default_storage.exists(STORAGE_ID):
        # Of two who come at once, the second one's gets another name, and is not looked at.
        default_storage.save(STORAGE_ID, ContentFile(uuid4().hex.encode()))
    with default_storage.open(STORAGE_ID) as file:
        found = bytes(file.read()).decode()
    if not found:
        raise OSError(
            f"{STORAGE_ID} is being written, or was when the disk was full: then delete it."
        )
    return found


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
    """Remove the uploaded file, its samples and their peaks; what is gone already is no error."""
    directory = folder(recording)
    names = _stored_names(recording)
    if names is None:
        return
    for name in names:
        default_storage.delete(f"{directory}/{name}")
    default_storage.delete(directory)


def is_stored(recording: Recording) -> bool:
    """Whether this storage has anything of it."""
    return bool(_stored_names(recording))


def _stored_names(recording: Recording) -> list[str] | None:
    try:
        return default_storage.listdir(folder(recording))[1]
    except (FileNotFoundError, NotADirectoryError):
        return None


class SamplesWriter:
    """Cuts samples into pieces and stores each, with its peaks, as soon as it is full."""

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
        piece = joined[:n_samples]
        _save(_piece(self._recording, self._n_pieces), piece.astype("<i2").tobytes())
        _save(_peaks_piece(self._recording, self._n_pieces), _peaks_of(piece))
        self._n_pieces += 1


def _save(name: str, data: bytes) -> None:
    if default_storage.exists(name):
        if default_storage.size(name) == len(data):
            return  # from a preparation that was broken off
        default_storage.delete(name)
    try:
        default_storage.save(name, ContentFile(data))
    except OSError:
        # On a full disk the part of it that was written would be in others' way.
        default_storage.delete(name)
        raise


def _peaks_of(samples: Pcm) -> bytes:
    """The largest absolute sample of each 1/20 s, one byte each: 0 is silence, 255 full scale."""
    import numpy as np

    begins = np.arange(0, len(samples), SAMPLE_RATE // PEAKS_PER_SECOND)
    loudest = np.maximum.reduceat(np.abs(samples.astype(np.int32)), begins)
    return bytes(-(-loudest * 255 // 2**15).astype(np.uint8))


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


def count_samples(recording: Recording) -> int | None:
    """How many samples a prepared recording has. None when some of its pieces are gone."""
    n_pieces = -(-round((recording.duration or 0.0) * SAMPLE_RATE) // PIECE_SAMPLES)
    pieces = [_piece(recording, index) for index in range(n_pieces)]
    stored = {f"{folder(recording)}/{name}" for name in _stored_names(recording) or []}
    if not pieces or not stored.issuperset(pieces):
        return None
    return (n_pieces - 1) * PIECE_SAMPLES + default_storage.size(pieces[-1]) // 2


async def stream_samples(recording: Recording, *, begin: int, end: int) -> AsyncIterator[bytes]:
    """Bytes `begin` to `end` of the samples (16 bit, little-endian), a piece at a time.

    Asynchronous, because Django reads any other iterator to its end before it sends the first of it. Raises
    FileNotFoundError or EOFError when a piece is gone or cut short.
    """
    while begin < end:
        index, offset = divmod(begin, PIECE_BYTES)
        n_bytes = min(end - begin, PIECE_BYTES - offset)
        data = await asyncio.to_thread(_read, _piece(recording, index), offset, n_bytes)
        if len(data) < n_bytes:
            raise EOFError(f"{_piece(recording, index)} is cut short.")
        yield data
        begin += n_bytes


def _read(name: str, offset: int, n_bytes: int) -> bytes:
    with default_storage.open(name) as file:
        file.seek(offset, io.SEEK_SET)
        return bytes(file.read(n_bytes))


def read_peaks(recording: Recording) -> bytes:
    """A byte for each 1/20 s, as far as the recording is prepared: 0 is silence, 255 full scale."""
    parts: list[bytes] = []
    while True:
        try:
            with default_storage.open(_peaks_piece(recording, len(parts))) as file:
                parts.append(file.read())
        except FileNotFoundError:
            return b"".join(parts)


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """A prepared recording's samples, read as they are needed."""

    recording: Recording

    @property
    def duration(self) -> float:
        return self.recording.duration or 0.0

    def read(self, span: Span) -> Audio:
        """All samples of the span, shape (n_samples,). Raises FileNotFoundError where some are missing.

        Without them what was said would come out as silence. The last second is not asked for: a span may end a
        little after the recording does.
        """
        samples = read_samples(self.recording, span)
        end = min(span.end, self.recording.duration or span.end)
        if len(samples) < (end - span.start - 1.0) * SAMPLE_RATE or (
            end > span.start and not len(samples)
        ):
            raise FileNotFoundError("The recording's samples are gone, or cut short.")
        return samples


def _piece(recording: Recording, index: int) -> str:
    return f"{folder(recording)}/samples-{index:05d}.s16"


def _peaks_piece(recording: Recording, index: int) -> str:
    return f"{folder(recording)}/peaks-{index:05d}.u8"
