"""Decode any audio or video file to 16 kHz mono samples, as a stream (PyAV, which bundles FFmpeg)."""

import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from transcription.speech.engines.base import SAMPLE_RATE, Audio

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.container import InputContainer

Pcm: TypeAlias = "npt.NDArray[np.int16]"
"""Mono samples at 16 kHz as 16-bit integers: shape (n_samples,)."""

BLOCK_SAMPLES = 10 * SAMPLE_RATE
MAX_GAP_SECONDS = 3600
MIN_GAP_SECONDS = 0.1
MAX_TOTAL_GAP_SECONDS = 4 * 3600
"""Of all gaps together: a small file must not decode to days of silence."""
MIN_SAMPLE_RATE = 4000
PROBE_PACKETS = 100


class NotAudioError(ValueError):
    """The file has no audio that can be decoded. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The first audio stream as the container declares it. `duration`: seconds; None if it is not declared."""

    container: str
    codec: str
    duration: float | None


def probe(source: Path | BinaryIO) -> AudioInfo:
    """Identify the container and codec of `source`, and check that it decodes. Raises NotAudioError."""
    with _open(source) as container:
        _require_samples(container)
        stream = container.streams.audio[0]
        if stream.codec_context.sample_rate < MIN_SAMPLE_RATE:
            raise NotAudioError(
                f"The file's sample rate is {stream.codec_context.sample_rate} Hz; "
                f"at least {MIN_SAMPLE_RATE} Hz is needed. The file may be damaged."
            )
        seconds = container.duration / 1_000_000 if container.duration else None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        if seconds is not None and (seconds <= 0 or not math.isfinite(seconds)):
            seconds = None
        return AudioInfo(container.format.name, stream.codec_context.name, seconds)


def _require_samples(container: "InputContainer") -> None:
    """Raise NotAudioError unless most of the first packets decode: random bytes can look like a format too."""
    import av

    n_good = n_damaged = n_samples = 0
    packets = container.demux(container.streams.audio[0])
    try:
        for packet in itertools.islice(packets, PROBE_PACKETS):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                n_damaged += 1
            else:
                n_good += 1
                n_samples += sum(frame.samples for frame in frames)
    except av.error.FFmpegError:
        pass  # a truncated file: the packets decoded so far count
    if not n_samples:
        raise NotAudioError(
            "The file's audio has no samples: it is empty, or damaged at its beginning."
        )
    if n_damaged > n_good:
        raise NotAudioError("The file is damaged: most of its beginning cannot be decoded.")


def decode(source: Path | BinaryIO) -> Iterator[Pcm]:
    """Yield the first audio stream in blocks of about ten seconds, so that memory does not grow with its length.

    Gaps between timestamps (a paused recording, a lost packet) become silence, so that times match those of a
    player. Damaged packets are skipped; a truncated file ends where it is truncated.
    Raises NotAudioError if nothing can be decoded.
    """
    import numpy as np  # imported here: the web process only probes

    with _open(source) as container:
        resampler, format_before = _resampler(), None
        origin = (container.start_time or 0) / 1_000_000
        pending: list[Pcm] = []
        n_pending = n_total = 0
        gaps_left = MAX_TOTAL_GAP_SECONDS * SAMPLE_RATE
        for frame in _frames(container):
            gap = min(_gap_before(frame, origin, n_total / SAMPLE_RATE), gaps_left)
            gaps_left -= gap
            parts = [
                np.zeros(min(gap - i, BLOCK_SAMPLES), np.int16)
                for i in range(0, gap, BLOCK_SAMPLES)
            ]
            frame.pts = None  # or the resampler would fill the gap a second time
            format_now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if format_before not in (None, format_now):  # in radio streams and concatenated files
                parts += [_samples(resampled) for resampled in resampler.resample(None)]
                resampler = _resampler()
            format_before = format_now
            parts += [_samples(resampled) for resampled in resampler.resample(frame)]
            for part in parts:
                pending.append(part)
                n_pending += len(part)
                n_total += len(part)
                if n_pending >= BLOCK_SAMPLES:
                    yield np.concatenate(pending)
                    pending, n_pending = [], 0
        pending += [_samples(resampled) for resampled in resampler.resample(None)]
        if pending and sum(map(len, pending)):
            yield np.concatenate(pending)


def to_float(samples: Pcm) -> Audio:
    """Convert 16-bit samples to float32 in [-1, 1]."""
    floats: Audio = samples.astype("float32")
    return floats / 32768.0


def read_all(source: Path | BinaryIO) -> Audio:
    """Decode a whole (short) file. Raises NotAudioError."""
    import numpy as np

    blocks = list(decode(source))
    return to_float(np.concatenate(blocks)) if blocks else np.zeros(0, np.float32)


class _NamelessFile:
    """A file without a name, so that FFmpeg detects the format by content, never by extension."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def _open(source: Path | BinaryIO) -> "Iterator[InputContainer]":
    with ExitStack() as stack:
        file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        yield stack.enter_context(_container(file))


def _container(file: BinaryIO) -> "InputContainer":
    import av

    # No protocols: a playlist must not make FFmpeg read local files or send requests (SSRF).
    options = {"protocol_whitelist": "none"}
    try:
        container = av.open(
            _NamelessFile(file), mode="r", options=options, metadata_errors="ignore"
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAudioError("The file is not audio or video in any known format.") from error
    if container.streams.audio:
        container.streams.audio[0].codec_context.thread_type = "AUTO"
        return container
    kinds = {stream.type for stream in container.streams}
    container.close()
    if "video" in kinds:
        raise NotAudioError("The file is a video without an audio track.")
    raise NotAudioError("The file has no audio track.")


def _frames(container: "InputContainer") -> "Iterator[AudioFrame]":
    """Yield the decoded frames, skipping damaged packets."""
    import av

    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            return  # the file is truncated here
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def _gap_before(frame: "AudioFrame", origin: float, decoded_until: float) -> int:
    """The number of samples of silence before `frame`, by its timestamp."""
    if frame.time is None:
        return 0
    missing = frame.time - origin - decoded_until
    if not MIN_GAP_SECONDS < missing < MAX_GAP_SECONDS:
        return 0
    return round(missing * SAMPLE_RATE)


def _resampler() -> "AudioResampler":
    import av

    return av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _samples(frame: "AudioFrame") -> Pcm:
    return frame.to_ndarray().reshape(-1).astype("int16", copy=False)
