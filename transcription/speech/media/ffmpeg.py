"""Reading of one audio or video file with FFmpeg (PyAV). Only a decoder process calls it with what people upload."""

import functools
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from transcription.speech.engines.base import SAMPLE_RATE
from transcription.speech.media import formats
from transcription.speech.media.messages import AudioInfo, NotAudioError

Pcm: TypeAlias = "npt.NDArray[np.int16]"
"""Mono samples at 16 kHz as 16-bit integers: shape (n_samples,)."""

BLOCK_SAMPLES = 10 * SAMPLE_RATE
MAX_GAP_SECONDS = 3600
MIN_GAP_SECONDS = 0.1
MAX_TOTAL_GAP_SECONDS = 4 * 3600
"""Of all gaps together: a small file must not decode to days of silence."""
MIN_SAMPLE_RATE = 4000
MAX_SAMPLE_RATE = 768_000
MAX_CHANNELS = 64
"""The most that FFmpeg resamples."""
MAX_DOWNMIXED_CHANNELS = 8
"""The most that FFmpeg mixes by what a channel is for (centre, rear); more are averaged."""
PROBE_PACKETS = 100
MP3_HEADER_BYTES = 4096
_WITHOUT_LENGTH = (
    "aac",
    "loas",
    "ac3",
    "eac3",
    "ac4",
    "dts",
    "mlp",
    "truehd",
    "amr",
    "amrnb",
    "amrwb",
    "gsm",
)

MIN_BYTES_PER_SECOND = 100
SECONDS_OF_ANY_FILE = 3600
"""A file may hold this much, and beyond it as much as its size allows at the least bytes a second.

The lowest rates of speech codecs are some 250 bytes a second (Speex at 2 kbit/s), a frame of silence in FLAC 14
bytes: without a limit one megabyte of them would become 35 GB of samples.
"""


def probe(file: BinaryIO) -> AudioInfo:
    """Identify the container and codec, and check that the beginning decodes. Raises NotAudioError."""
    with _open(file) as container:
        _require_samples(container)
        stream = container.streams.audio[0]
        seconds = container.duration / 1_000_000 if container.duration else None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        if seconds is not None and (seconds <= 0 or not math.isfinite(seconds)):
            seconds = None
        if _is_length_guessed(container.format.name, file):
            seconds = None
        return AudioInfo(container.format.name, stream.codec_context.name, seconds)


def _is_length_guessed(format_name: str, file: BinaryIO) -> bool:
    """Whether nothing in the file says how long it is: FFmpeg then divides its size by the bit rate at its beginning.

    With a variable bit rate, or silence first, that is far off.
    """
    if format_name != "mp3":
        return format_name in _WITHOUT_LENGTH
    file.seek(0)
    beginning = file.read(10)
    if beginning.startswith(b"ID3") and len(beginning) == 10:
        size = functools.reduce(lambda size, byte: size << 7 | byte & 0x7F, beginning[6:], 0)
        file.seek(10 + size)
    beginning = file.read(MP3_HEADER_BYTES)
    return not any(tag in beginning for tag in (b"Xing", b"Info", b"VBRI"))


def _require_samples(container: InputContainer) -> None:
    """Raise NotAudioError unless most of the first packets decode: random bytes can look like a format too."""
    n_good = n_damaged = n_samples = 0
    problem = ""
    packets = container.demux(container.streams.audio[0])
    try:
        for packet in itertools.islice(packets, PROBE_PACKETS):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                n_damaged += 1
                continue
            problems = [_problem(frame) for frame in frames]
            problem = problem or next(filter(None, problems), "")
            n_damaged += any(problems)
            n_good += not any(problems)
            n_samples += sum(frame.samples for frame in frames if not _problem(frame))
    except av.error.FFmpegError:
        pass  # a truncated file: the packets decoded so far count
    if n_samples and n_damaged <= n_good:
        return
    if problem:
        raise NotAudioError(problem)
    if not n_samples:
        raise NotAudioError(
            "The file's audio has no samples: it is empty, or damaged at its beginning."
        )
    raise NotAudioError("The file is damaged: most of its beginning cannot be decoded.")


def _problem(frame: AudioFrame) -> str:
    """Why a frame cannot be used, whatever its file's header says of it; empty if it can."""
    channels = frame.layout.nb_channels
    if not 0 < channels <= MAX_CHANNELS:
        return (
            f"The file's audio has {channels} channels; at most {MAX_CHANNELS} can be read. "
            "Send fewer of them, or mix them first."
        )
    if not MIN_SAMPLE_RATE <= frame.sample_rate <= MAX_SAMPLE_RATE:
        return (
            f"The file's sample rate is {frame.sample_rate} Hz; from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz "
            "can be read. The file may be damaged."
        )
    return ""


def decode(file: BinaryIO, *, max_seconds: float) -> Iterator[Pcm]:
    """Yield the first audio stream in blocks of about ten seconds, so that memory does not grow with its length.

    Gaps between timestamps (a paused recording, a lost packet) become silence, so that times match those of a
    player. Damaged packets are skipped; a truncated file ends where it is truncated.
    Raises NotAudioError if the file cannot be opened, or decodes to more than `max_seconds` or its size can hold.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    max_decoded = (SECONDS_OF_ANY_FILE + size / MIN_BYTES_PER_SECOND) * SAMPLE_RATE
    with _open(file) as container:
        mixer: _Mixer | None = None
        origin = (container.start_time or 0) / 1_000_000
        pending: list[Pcm] = []
        n_pending = n_decoded = n_silent = 0
        for frame in _frames(container):
            gap = _gap_before(frame, origin, (n_decoded + n_silent) / SAMPLE_RATE)
            gap = min(gap, MAX_TOTAL_GAP_SECONDS * SAMPLE_RATE - n_silent)
            frame.pts = None  # or the resampler would fill the gap a second time
            parts = [
                np.zeros(min(gap - begin, BLOCK_SAMPLES), np.int16)
                for begin in range(0, gap, BLOCK_SAMPLES)
            ]
            if mixer is None or not mixer.takes(frame):  # in radio streams and concatenated files
                parts += mixer.end() if mixer else []
                mixer = _Mixer(frame)
            parts += mixer.mix(frame)
            n_silent += gap
            n_decoded += sum(map(len, parts)) - gap
            if n_decoded + n_silent > max_seconds * SAMPLE_RATE:
                raise NotAudioError(
                    f"The file is longer than the {_in_words(max_seconds)} allowed. Send it in parts."
                )
            if n_decoded > max_decoded:
                raise NotAudioError(
                    f"The file decodes to more than {_in_words(max_decoded / SAMPLE_RATE)}, which a recording of "
                    f"{size:,} bytes cannot hold. It is damaged, or made to fill disks."
                )
            for part in parts:
                pending.append(part)
                n_pending += len(part)
                if n_pending >= BLOCK_SAMPLES:
                    yield np.concatenate(pending)
                    pending, n_pending = [], 0
        pending += mixer.end() if mixer else []
        if sum(map(len, pending)):
            yield np.concatenate(pending)


def _in_words(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 7200 else f"{seconds:.0f} s"


class _NamelessFile:
    """A file without a name, so that FFmpeg detects the format by content, never by extension."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def _open(file: BinaryIO) -> Iterator[InputContainer]:
    options = {
        "protocol_whitelist": "none",  # a playlist must not make FFmpeg read files or send requests
        "format_whitelist": ",".join(sorted(formats.CONTAINERS)),
        # Pictures, video and subtitles are not even decoded to learn their size.
        "codec_whitelist": ",".join(formats.allowed_codecs(av.codecs_available)),
    }
    try:
        container = av.open(
            _NamelessFile(file), mode="r", options=options, metadata_errors="ignore"
        )
    except av.error.MemoryError as error:
        raise MemoryError from error
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAudioError("The file is not audio or video in any known format.") from error
    with container:
        _require_audio(container)
        yield container


def _require_audio(container: InputContainer) -> None:
    """Raise NotAudioError unless the first audio stream, which is the one that is read, has a codec that is allowed."""
    if container.streams.audio:
        codec = container.streams.audio[0].codec_context
        if codec is None or not formats.is_codec_allowed(codec.name):
            name = "an unknown codec" if codec is None else f"the codec {codec.name}"
            raise NotAudioError(f"The file's audio has {name}, which is not read here.")
        codec.thread_type, codec.thread_count = "NONE", 1
    elif container.streams.video:
        raise NotAudioError("The file is a video without an audio track.")
    else:
        raise NotAudioError("The file has no audio track.")


def _frames(container: InputContainer) -> Iterator[AudioFrame]:
    """Yield the decoded frames that can be used, skipping damaged packets."""
    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return  # the end, or the file is truncated here
        try:
            for frame in packet.decode():
                if not _problem(frame):
                    yield frame
        except av.error.FFmpegError:
            continue


def _gap_before(frame: AudioFrame, origin: float, decoded_until: float) -> int:
    """The number of samples of silence before `frame`, by its timestamp."""
    if frame.time is None:
        return 0
    missing = frame.time - origin - decoded_until
    if not MIN_GAP_SECONDS < missing < MAX_GAP_SECONDS:
        return 0
    return round(missing * SAMPLE_RATE)


class _Mixer:
    """Makes mono at 16 kHz of frames that have one sample rate, one layout and one sample format."""

    def __init__(self, first: AudioFrame) -> None:
        self._format = _format(first)
        self._n_channels = first.layout.nb_channels
        self._is_downmixed = self._n_channels <= MAX_DOWNMIXED_CHANNELS
        self._resampler = new_resampler(layout="mono" if self._is_downmixed else None)

    def takes(self, frame: AudioFrame) -> bool:
        return _format(frame) == self._format

    def mix(self, frame: AudioFrame | None) -> list[Pcm]:
        return [self._mono(resampled) for resampled in self._resampler.resample(frame)]

    def end(self) -> list[Pcm]:
        return self.mix(None)

    def _mono(self, frame: AudioFrame) -> Pcm:
        samples = frame.to_ndarray().reshape(-1)
        if not self._is_downmixed:
            samples = samples.reshape(-1, self._n_channels).mean(axis=1)
        return samples.astype(np.int16, copy=False)


def _format(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def new_resampler(*, layout: str | None) -> AudioResampler:
    """A resampler to 16-bit samples at 16 kHz. Without a `layout` the channels stay as they are, interleaved."""
    return AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
