"""Reading of one audio or video file with FFmpeg (PyAV). Only a decoder process calls it with what people upload."""

import functools
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from transcription.speech.engines.base import SAMPLE_RATE
from transcription.speech.media import formats
from transcription.speech.media.messages import (
    MAX_CHANNELS,
    MAX_DECLARED_TRACKS,
    MAX_TRACKS,
    AudioInfo,
    NotAudioError,
)
from transcription.speech.media.resampling import Channels, Resampler, is_surround

BLOCK_SAMPLES = 10 * SAMPLE_RATE
MAX_GAP_SECONDS = 3600
MIN_GAP_SECONDS = 0.1
MAX_TOTAL_GAP_SECONDS = 4 * 3600
"""Of all gaps together: a small file must not decode to days of silence."""
MIN_SAMPLE_RATE = 4000
MAX_SAMPLE_RATE = 768_000
UNKNOWN = "und"
"""FFmpeg's name for the language of a track that has none."""
PROBE_PACKETS = 100
MP3_HEADER_BYTES = 4096
BEGIN_OF_STREAM = re.compile(rb"OggS\x00[\x02\x06]")
"""How an Ogg page begins that is the first of a stream."""
OGG_HEADER_BYTES, SEARCH_BYTES = 6, 2**16
MAX_DECLARED_SECONDS = 1000 * 3600
"""A file that declares more declares nothing."""
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
        tracks = _audio(container)
        _require_samples(container, tracks)
        return AudioInfo(
            container.format.name,
            tracks[0].codec_context.name,
            None if _is_length_guessed(container.format.name, file) else _length(container, tracks),
            tuple(_declared_channels(track) for track in _of_first_language(container, tracks)),
        )


def _length(container: InputContainer, tracks: list[AudioStream]) -> float | None:
    """The seconds that the longest track declares, or else the file. None if neither does."""
    declared = [
        float(track.duration * track.time_base)
        for track in tracks
        if track.duration is not None and track.time_base is not None
    ]
    seconds = max(declared, default=(container.duration or 0) / 1_000_000)
    return seconds if 0 < seconds < MAX_DECLARED_SECONDS else None


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


def _require_samples(container: InputContainer, tracks: list[AudioStream]) -> None:
    """Raise NotAudioError unless most of the first packets decode: random bytes can look like a format too."""
    n_good = n_damaged = n_samples = 0
    problem = ""
    for packet in itertools.islice(_packets(container, *tracks), PROBE_PACKETS):
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


def decode(
    file: BinaryIO, *, max_seconds: float, is_surround_mixed: bool = True
) -> Iterator[Channels]:
    """Yield all channels of all tracks in blocks of ten seconds, so that memory does not grow with the file's length.

    The channels of surround sound become one, unless they are to stay apart.

    Gaps between timestamps (a paused recording, a lost packet, a track that begins later) become silence, so that
    times match those of a player, and the tracks each other. Damaged packets are skipped; a truncated file ends where
    it is truncated. Raises NotAudioError if the file cannot be opened, or decodes to more than `max_seconds` or its
    size can hold.
    """
    tracks = [
        _Buffered(_Track(file, index, max_seconds=max_seconds, is_surround_mixed=is_surround_mixed))
        for index in _tracks_of(file)[:MAX_TRACKS]
    ]
    while True:
        blocks = [track.read(BLOCK_SAMPLES) for track in tracks]
        n_samples = max(map(len, blocks))
        if not n_samples:
            return
        yield np.hstack([_padded(block, n_samples) for block in blocks])[:, :MAX_CHANNELS]


def _tracks_of(file: BinaryIO) -> list[int]:
    """The indexes of the audio streams of the first language."""
    with _open(file) as container:
        return [track.index for track in _of_first_language(container, _audio(container))]


def _of_first_language(container: InputContainer, tracks: list[AudioStream]) -> list[AudioStream]:
    """Those of the tracks that are of the first one's language, or of an unknown one."""
    if container.format.name not in formats.WITH_TRACKS:
        return tracks[:1]
    languages = [track.language or UNKNOWN for track in tracks]
    return [
        track
        for track, language in zip(tracks, languages, strict=True)
        if language in (languages[0], UNKNOWN) or languages[0] == UNKNOWN
    ][:MAX_DECLARED_TRACKS]


def _declared_channels(track: AudioStream) -> int:
    return min(max(track.channels, 1), MAX_CHANNELS)


class _Track:
    """One audio stream of a file."""

    def __init__(
        self, file: BinaryIO, index: int, *, max_seconds: float, is_surround_mixed: bool
    ) -> None:
        self._file = file
        self._index = index
        self._max_seconds = max_seconds
        self._is_surround_mixed = is_surround_mixed
        self._size = file.seek(0, os.SEEK_END)
        self.n_declared = 1
        self._n_decoded = self._n_silent = 0
        self._position = 0
        """Where in the file the packets read so far end, or a little before."""

    def blocks(self) -> Iterator[Channels]:
        """Yield what each frame holds, and the silence before it."""
        resampler: Resampler | None = None
        for frame, time in self._frames():
            gap = self._gap_before(time)
            frame.pts = None  # or the resampler would fill the gap a second time
            if resampler is None:
                resampler = Resampler(frame, is_surround_mixed=self._is_surround_mixed)
            elif not resampler.takes(frame):  # in radio streams and concatenated files
                yield from self._counted(resampler.end())
                resampler = Resampler(
                    frame,
                    is_surround_mixed=self._is_surround_mixed,
                    n_channels=resampler.n_channels,
                )
            for begin in range(0, gap, BLOCK_SAMPLES):
                n_samples = min(gap - begin, BLOCK_SAMPLES)
                yield np.zeros((n_samples, resampler.n_channels), np.int16)
            yield from self._counted(resampler.resample(frame))
        if resampler is not None:
            yield from self._counted(resampler.end())

    def _frames(self) -> Iterator[tuple[AudioFrame, float | None]]:
        """Yield each decoded frame that can be used, skipping damaged packets, and its time from the file's start."""
        for container, stream, begin in self._links():
            origin = (container.start_time or 0) / 1_000_000 - self._seconds()
            for packet in _packets(container, stream):
                if packet.pos is not None:
                    self._position = begin + packet.pos
                with suppress(av.error.FFmpegError):
                    for frame in packet.decode():
                        if not _problem(frame):
                            yield frame, None if frame.time is None else frame.time - origin

    def _links(self) -> Iterator[tuple[InputContainer, AudioStream, int]]:
        """Yield the stream, and where its container begins; in Ogg files, the links too that FFmpeg stops before.

        A chained Ogg file is one file after the other. Where another begins, FFmpeg goes on reading, but not if the
        number of an Opus stream's channels changes.
        """
        with _open(self._file) as container:
            [stream] = [one for one in _audio(container) if one.index == self._index]
            self.n_declared = _declared_channels(stream)
            if self._is_surround_mixed and is_surround(self.n_declared):
                self.n_declared = 1
            yield container, stream, 0
            is_ogg = container.format.name == "ogg"
        while is_ogg and (begin := _next_link(self._file, self._position + 1)) is not None:
            self._position = begin
            try:
                with _open(self._file, begin=begin) as container:
                    yield container, _audio(container)[0], begin
            except NotAudioError:  # by _open: what is wrong with a frame is not raised in here
                continue

    def _seconds(self) -> float:
        return (self._n_decoded + self._n_silent) / SAMPLE_RATE

    def _gap_before(self, time: float | None) -> int:
        """The number of samples of silence before a frame of this time, if it has one."""
        if time is None:
            return 0
        missing = time - self._seconds()
        if not MIN_GAP_SECONDS < missing < MAX_GAP_SECONDS:
            return 0
        left = MAX_TOTAL_GAP_SECONDS * SAMPLE_RATE - self._n_silent
        gap = min(round(missing * SAMPLE_RATE), left)
        self._n_silent += gap
        return gap

    def _counted(self, blocks: list[Channels]) -> list[Channels]:
        self._n_decoded += sum(map(len, blocks))
        if self._n_decoded + self._n_silent > self._max_seconds * SAMPLE_RATE:
            raise NotAudioError(
                f"The file is longer than the {_in_words(self._max_seconds)} allowed. Send it in parts."
            )
        most = SECONDS_OF_ANY_FILE + self._size / MIN_BYTES_PER_SECOND
        if self._n_decoded > most * SAMPLE_RATE:
            raise NotAudioError(
                f"The file decodes to more than {_in_words(most)}, which a recording of {self._size:,} bytes "
                "cannot hold. It is damaged, or made to fill disks."
            )
        return blocks


def _next_link(file: BinaryIO, position: int) -> int | None:
    """Where the next page begins an Ogg stream, from this position on. None if no stream begins there."""
    while data := os.pread(file.fileno(), SEARCH_BYTES, position):
        if found := BEGIN_OF_STREAM.search(data):
            return position + found.start()
        position += max(1, len(data) - OGG_HEADER_BYTES)
    return None


class _Buffered:
    """A track from which any number of samples can be read."""

    def __init__(self, track: _Track) -> None:
        self._track = track
        self._blocks = track.blocks()
        self._pending: Channels | None = None

    def read(self, n_samples: int) -> Channels:
        """So many samples of the track, or what is left of it; shape (n_samples, n_channels)."""
        parts = [] if self._pending is None else [self._pending]
        n_read = sum(map(len, parts))
        while n_read < n_samples and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            n_read += len(block)
        # A track without a single frame is silent, on as many channels as it declares.
        joined = np.concatenate(parts or [np.zeros((0, self._track.n_declared), np.int16)])
        self._pending = joined[n_samples:]
        return joined[:n_samples]


def _padded(block: Channels, n_samples: int) -> Channels:
    return np.pad(block, ((0, n_samples - len(block)), (0, 0)))


def _in_words(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 7200 else f"{seconds:.0f} s"


class _NamelessFile:
    """A file without a name, so that FFmpeg detects the format by content, never by extension.

    It has a position of its own: several may read one descriptor. What is before `begin` is not in it.
    """

    def __init__(self, file: BinaryIO, begin: int) -> None:
        self._file = file
        self._begin = begin
        self._size = file.seek(0, os.SEEK_END) - begin
        self._position = 0

    def read(self, n_bytes: int) -> bytes:
        data = os.pread(self._file.fileno(), n_bytes, self._begin + self._position)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position


@contextmanager
def _open(file: BinaryIO, *, begin: int = 0) -> Iterator[InputContainer]:
    options = {
        "protocol_whitelist": "none",  # a playlist must not make FFmpeg read files or send requests
        "format_whitelist": ",".join(sorted(formats.CONTAINERS)),
        # Pictures, video and subtitles are not even decoded to learn their size.
        "codec_whitelist": ",".join(formats.allowed_codecs(av.codecs_available)),
    }
    try:
        container = av.open(
            _NamelessFile(file, begin), mode="r", options=options, metadata_errors="ignore"
        )
    except av.error.MemoryError as error:
        raise MemoryError from error
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAudioError("The file is not audio or video in any known format.") from error
    with container:
        _require_audio(container)
        yield container


def _require_audio(container: InputContainer) -> None:
    """Raise NotAudioError unless an audio stream has a codec that is allowed."""
    if container.streams.audio:
        if not _audio(container):
            codec = container.streams.audio[0].codec_context
            name = "an unknown codec" if codec is None else f"the codec {codec.name}"
            raise NotAudioError(f"The file's audio has {name}, which is not read here.")
    elif container.streams.video:
        raise NotAudioError("The file is a video without an audio track.")
    else:
        raise NotAudioError("The file has no audio track.")


def _audio(container: InputContainer) -> list[AudioStream]:
    """The audio streams whose codec is allowed, set to be decoded in this thread."""
    streams = []
    for stream in container.streams.audio:
        if stream.codec_context is not None and formats.is_codec_allowed(stream.codec_context.name):
            stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
            streams.append(stream)
    return streams


def _packets(container: InputContainer, *streams: AudioStream) -> "Iterator[Packet[AudioStream]]":
    """Yield the streams' packets, up to the end, or to where the file is truncated or its structure breaks."""
    try:
        yield from cast("Iterator[Packet[AudioStream]]", container.demux(*streams))
    except (av.error.FFmpegError, IndexError):
        return  # PyAV raises IndexError where a stream begins in the middle
