"""Any audio or video file as 16 kHz mono samples, decoded as a stream (PyAV, which carries its own FFmpeg)."""

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

PIECE_SAMPLES = 10 * SAMPLE_RATE
LONGEST_GAP_SECONDS = 3600
SHORTEST_GAP_SECONDS = 0.1
MOST_GAPS_SECONDS = 4 * 3600
"""All gaps together: a small file must not become days of silence."""
LOWEST_RATE = 4000
PROBE_PACKETS = 100


class NotAudioError(ValueError):
    """The file is not audio that can be decoded; the message says what was found instead."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a container says of its first audio stream. `duration` is in seconds, None where it does not say."""

    container: str
    codec: str
    duration: float | None


def probe(source: Path | BinaryIO) -> AudioInfo:
    """Open `source`, decode its first samples, and say what it holds. Raises NotAudioError."""
    with _open(source) as container:
        _require_samples(container)
        stream = container.streams.audio[0]
        if stream.codec_context.sample_rate < LOWEST_RATE:
            raise NotAudioError(
                f"The file declares {stream.codec_context.sample_rate} samples a second; "
                f"speech needs {LOWEST_RATE} at least. It may be damaged."
            )
        seconds = container.duration / 1_000_000 if container.duration else None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        if seconds is not None and (seconds <= 0 or not math.isfinite(seconds)):
            seconds = None
        return AudioInfo(container.format.name, stream.codec_context.name, seconds)


def _require_samples(container: "InputContainer") -> None:
    """Random bytes can look like a format and even decode for a moment; real audio decodes for the most part."""
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
        pass  # it breaks off: what was decoded before counts
    if not n_samples:
        raise NotAudioError(
            "The file's audio holds no samples: it is empty, or damaged from its beginning."
        )
    if n_damaged > n_good:
        raise NotAudioError("The file is damaged: most of its beginning cannot be decoded.")


def decode(source: Path | BinaryIO) -> Iterator[Pcm]:
    """Yield the first audio stream in pieces of about ten seconds, so that memory does not grow with length.

    Gaps in the container's clock (a paused recording, a lost packet) become silence, so that times stay
    those that a player shows. Damaged packets are passed over; a file that breaks off ends there.
    Raises NotAudioError where nothing can be read at all.
    """
    import numpy as np  # the web process probes files without it

    with _open(source) as container:
        resampler, format_before = _resampler(), None
        origin = (container.start_time or 0) / 1_000_000
        pending: list[Pcm] = []
        n_pending = n_total = 0
        gaps_left = MOST_GAPS_SECONDS * SAMPLE_RATE
        for frame in _frames(container):
            gap = min(_gap_before(frame, origin, n_total / SAMPLE_RATE), gaps_left)
            gaps_left -= gap
            parts = [
                np.zeros(min(gap - i, PIECE_SAMPLES), np.int16)
                for i in range(0, gap, PIECE_SAMPLES)
            ]
            frame.pts = None  # the resampler must not compensate for what is compensated here
            format_now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if format_before not in (None, format_now):  # as in radio streams and joined files
                parts += [_samples(resampled) for resampled in resampler.resample(None)]
                resampler = _resampler()
            format_before = format_now
            parts += [_samples(resampled) for resampled in resampler.resample(frame)]
            for part in parts:
                pending.append(part)
                n_pending += len(part)
                n_total += len(part)
                if n_pending >= PIECE_SAMPLES:
                    yield np.concatenate(pending)
                    pending, n_pending = [], 0
        pending += [_samples(resampled) for resampled in resampler.resample(None)]
        if pending and sum(map(len, pending)):
            yield np.concatenate(pending)


def to_float(samples: Pcm) -> Audio:
    """16-bit samples as the float32 that models take."""
    floats: Audio = samples.astype("float32")
    return floats / 32768.0


def read_all(source: Path | BinaryIO) -> Audio:
    """The whole of a (short) file at once."""
    import numpy as np

    pieces = list(decode(source))
    return to_float(np.concatenate(pieces)) if pieces else np.zeros(0, np.float32)


class _Content:
    """A file without its name, so that FFmpeg goes by what it holds: some formats claim any bytes by extension."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def _open(source: Path | BinaryIO) -> "Iterator[InputContainer]":
    with ExitStack() as stack:
        file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        yield stack.enter_context(_container(file))


def _container(file: BinaryIO) -> "InputContainer":
    import av

    # A playlist must not make this machine read its own files, or fetch from others: no protocol is allowed.
    options = {"protocol_whitelist": "none"}
    try:
        container = av.open(_Content(file), mode="r", options=options, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAudioError("The file is not audio or video in any known format.") from error
    if container.streams.audio:
        container.streams.audio[0].codec_context.thread_type = "AUTO"
        return container
    kinds = {stream.type for stream in container.streams}
    container.close()
    if "video" in kinds:
        raise NotAudioError("The file holds pictures but no sound.")
    raise NotAudioError("The file holds no audio.")


def _frames(container: "InputContainer") -> "Iterator[AudioFrame]":
    """The decoded frames, passing over what is damaged."""
    import av

    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            return  # the container breaks off here
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def _gap_before(frame: "AudioFrame", origin: float, decoded_until: float) -> int:
    """How many samples of silence the container's clock asks for before `frame`."""
    if frame.time is None:
        return 0
    missing = frame.time - origin - decoded_until
    if not SHORTEST_GAP_SECONDS < missing < LONGEST_GAP_SECONDS:
        return 0
    return round(missing * SAMPLE_RATE)


def _resampler() -> "AudioResampler":
    import av

    return av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _samples(frame: "AudioFrame") -> Pcm:
    return frame.to_ndarray().reshape(-1).astype("int16", copy=False)
