"""Recordings in other containers, made from samples as the tests need them."""

import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from transcription.speech.audio import decode

Samples = npt.NDArray[np.int16]
RATE = 16_000


def samples_of(path: Path) -> Samples:
    """All of a file at 16 kHz mono; shape (n_samples,)."""
    return np.concatenate(list(decode(path)))


def write(
    path: Path,
    samples: Samples | None,
    *,
    codec: str = "pcm_s16le",
    rate: int = RATE,
    channels: int = 1,
    video: bool = False,
) -> Path:
    """Write 16 kHz mono samples (None: no audio at all) to a container named by the suffix."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=5) if video else None
        layout = "stereo" if channels == 2 else "mono"
        sound: av.AudioStream | None = None
        if samples is not None:
            added = container.add_stream(codec, rate=rate, layout=layout)
            assert isinstance(added, av.AudioStream)
            sound = added
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()  # a file without a single packet has its header all the same
        if picture is not None:
            for shade in range(10):
                image = np.full((48, 64, 3), 20 * shade, np.uint8)
                container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(picture.encode(None))
        if sound is not None and samples is not None:
            for begin in range(0, len(samples), RATE):
                part = samples[begin : begin + RATE].reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate = RATE
                frame.pts = begin
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def two_at_once(audio_dir: Path, target: Path) -> Path:
    """A wav file of two people who speak at once, each on a channel, and softly on the other's."""
    first = samples_of(audio_dir / "jfk.flac").astype(float)
    second = samples_of(audio_dir / "2412-153948-0000.flac").astype(float)
    second = np.pad(second, (0, max(0, len(first) - len(second))))[: len(first)]
    second *= first.std() / second.std()
    channels = np.stack([first + 0.03 * second, second + 0.03 * first], axis=1)
    with wave.open(str(target), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(channels.clip(-32768, 32767).astype("<i2").tobytes())
    return target


def first_half(path: Path, target: Path) -> Path:
    """What is left of a file whose transfer broke off."""
    data = path.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    return target


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.int16)


def noise(seconds: float, *, amplitude: float = 0.1) -> Samples:
    """White noise with a standard deviation of `amplitude`, full scale being 1."""
    generator = np.random.default_rng(2)
    values = generator.standard_normal(round(seconds * RATE)) * amplitude * 32767
    return values.clip(-32768, 32767).astype(np.int16)


def repeated(source: Path, target: Path, *, seconds: int) -> Path:
    """A wav file that holds `source` over and over."""
    samples = samples_of(source)
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        left = RATE * seconds
        while left > 0:
            part = samples[:left]
            file.writeframes(part.tobytes())
            left -= len(part)
    return target
