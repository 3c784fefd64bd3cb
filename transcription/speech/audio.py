"""Audio and video files of any kind as 16 kHz mono samples, decoded in a process of their own (media/)."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from transcription.speech.engines.base import Audio
from transcription.speech.media import decoder_process
from transcription.speech.media.decoder_process import DecoderLostError
from transcription.speech.media.messages import MAX_TRACKS, AudioInfo, NotAudioError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "MANY_CHANNELS",
    "MAX_SPEAKER_CHANNELS",
    "AudioInfo",
    "DecoderLostError",
    "NotAudioError",
    "Pcm",
    "decode",
    "decode_channels",
    "n_speaker_channels",
    "probe",
    "read_all",
    "to_float",
]

Pcm: TypeAlias = "npt.NDArray[np.int16]"
"""Mono samples at 16 kHz as 16-bit integers: shape (n_samples,)."""

MAX_SECONDS = 24 * 3600.0
MAX_SPEAKER_CHANNELS = 16
"""Of a recording whose channels hold a speaker each: each costs memory and time of its own."""
MANY_CHANNELS = (
    f"at most {MAX_SPEAKER_CHANNELS} channels, or {MAX_TRACKS} tracks, can be a speaker each. "
    "Send it with channels=mix."
)


def n_speaker_channels(track_channels: Sequence[int]) -> int:
    """How many channels may hold a speaker each: the tracks, or the channels of the only one."""
    return track_channels[0] if len(track_channels) == 1 else len(track_channels)


def probe(source: Path | BinaryIO) -> AudioInfo:
    """Identify the container and codec of `source`, and check that it decodes.

    Raises NotAudioError, or DecoderLostError if the same may succeed later.
    """
    with _descriptor(source) as file:
        return decoder_process.probe(file)


def decode(source: Path | BinaryIO, *, max_seconds: float = MAX_SECONDS) -> Iterator[Pcm]:
    """Yield all tracks and channels mixed to one, in blocks of at most ten seconds: memory does not grow with length.

    Gaps between timestamps (a paused recording, a lost packet) become silence, so that times match those of a
    player. Damaged packets are skipped; a truncated file ends where it is truncated.
    Raises NotAudioError if nothing can be decoded, or more than `max_seconds`; DecoderLostError if the same may
    succeed later.
    """
    # Imported here: the web process only probes, and does without NumPy.
    from transcription.speech.mixing import Mixer

    mixer: Mixer | None = None
    for block in decode_channels(source, max_seconds=max_seconds):
        mixer = mixer or Mixer(block.shape[1])
        yield mixer.mix(block)


def decode_channels(
    source: Path | BinaryIO, *, max_seconds: float = MAX_SECONDS, is_surround_mixed: bool = True
) -> "Iterator[npt.NDArray[np.int16]]":
    """Yield all channels of all tracks, as `decode` does; shape (n_samples, n_channels).

    The channels of surround sound become one, unless they are to stay apart.
    """
    import numpy as np

    with _descriptor(source) as file:
        for n_channels, samples in decoder_process.decode(
            file, max_seconds=max_seconds, is_surround_mixed=is_surround_mixed
        ):
            yield np.frombuffer(samples, "<i2").reshape(-1, n_channels)


def to_float(samples: Pcm) -> Audio:
    """Convert 16-bit samples to float32 in [-1, 1]."""
    floats: Audio = samples.astype("float32")
    return floats / 32768.0


def read_all(source: Path | BinaryIO) -> Audio:
    """Decode a whole (short) file. Raises NotAudioError."""
    import numpy as np

    blocks = list(decode(source))
    return to_float(np.concatenate(blocks)) if blocks else np.zeros(0, np.float32)


@contextmanager
def _descriptor(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    """The source as a file that the system knows, whose descriptor another process can be given."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
        return
    try:
        source.fileno()
    except (AttributeError, OSError):  # in memory, or of a storage that is no file system
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy, 1024**2)
            copy.flush()
            yield copy
    else:
        yield source
