"""Voice activity detection: Silero VAD on a stream of samples."""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span, SpeechError

FRAME_SAMPLES = 512
CONTEXT_SAMPLES = 64
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE

SPEECH_PROBABILITY = 0.5
SILENCE_PROBABILITY = 0.35
MIN_SPEECH_SECONDS = 0.1
MIN_SILENCE_SECONDS = 0.1
MAX_SPEECH_SECONDS = 28.0
SPLIT_SEARCH_SECONDS = 10.0
"""A span that is too long is split within its last seconds."""


class VoiceActivity:
    """Finds spans of speech in a stream of samples; its state is a few seconds, never the recording.

    A span ends when the probability of speech stays below `SILENCE_PROBABILITY` for `MIN_SILENCE_SECONDS`. A span
    that reaches `MAX_SPEECH_SECONDS` is split at its least probable frame, so that all spans fit Whisper's window.
    """

    def __init__(self) -> None:
        self._session = _session()
        self._hidden = np.zeros((1, 1, 128), np.float32)
        self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._remainder = np.zeros(0, np.float32)
        self._n_frames = 0
        self._start_frame: int | None = None
        self._silence_frame: int | None = None
        self._span_probabilities: list[float] = []

    def feed(self, samples: Audio) -> list[Span]:
        """Add samples. Returns the spans of speech that end in them, in seconds from the first sample fed."""
        samples = np.concatenate([self._remainder, samples])
        n_whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
        self._remainder = samples[n_whole:]
        return list(self._spans(self.probabilities(samples[:n_whole])))

    def finish(self) -> list[Span]:
        """End the stream. Returns the spans that were still open."""
        if len(self._remainder):
            padding = np.zeros(FRAME_SAMPLES - len(self._remainder), np.float32)
            spans = self.feed(padding)
        else:
            spans = []
        if self._start_frame is not None:
            spans += self._end_span(
                self._n_frames if self._silence_frame is None else self._silence_frame
            )
        return spans

    def probabilities(self, samples: Audio) -> npt.NDArray[np.float32]:
        """The probability of speech in each frame; shape (n_frames,)."""
        if not samples.any():  # none, or the silence of a gap: hours of it would take minutes
            return np.zeros(len(samples) // FRAME_SAMPLES, np.float32)
        frames = samples.reshape(-1, FRAME_SAMPLES)
        before = np.vstack([self._context, frames[:-1, -CONTEXT_SAMPLES:]])
        self._context = frames[-1, -CONTEXT_SAMPLES:].copy()
        output, self._hidden, self._cell = self._session.run(
            None,
            {"input": np.hstack([before, frames]), "h": self._hidden, "c": self._cell},
        )
        return np.asarray(output, np.float32).reshape(-1)

    def _spans(self, probabilities: Iterable[np.float32]) -> Iterator[Span]:
        min_silence_frames = round(MIN_SILENCE_SECONDS / FRAME_SECONDS)
        max_speech_frames = round(MAX_SPEECH_SECONDS / FRAME_SECONDS)
        for probability in map(float, probabilities):
            frame = self._n_frames
            self._n_frames += 1
            if self._start_frame is None:
                if probability >= SPEECH_PROBABILITY:
                    self._start_frame, self._span_probabilities = frame, [probability]
                continue
            self._span_probabilities.append(probability)
            if probability >= SPEECH_PROBABILITY:
                self._silence_frame = None
            elif probability < SILENCE_PROBABILITY and self._silence_frame is None:
                self._silence_frame = frame
            if (
                self._silence_frame is not None
                and frame - self._silence_frame >= min_silence_frames
            ):
                yield from self._end_span(self._silence_frame)
            elif len(self._span_probabilities) >= max_speech_frames:
                yield from self._split()

    def _end_span(self, end: int) -> Iterator[Span]:
        """End the span at frame `end`, and yield it if it is long enough."""
        assert self._start_frame is not None
        span = Span(self._start_frame * FRAME_SECONDS, end * FRAME_SECONDS)
        self._start_frame = self._silence_frame = None
        self._span_probabilities = []
        if span.duration >= MIN_SPEECH_SECONDS:
            yield span

    def _split(self) -> Iterator[Span]:
        """End the span at the least probable of its last frames, and start the next one there."""
        assert self._start_frame is not None
        n_searched = round(SPLIT_SEARCH_SECONDS / FRAME_SECONDS)
        probabilities = self._span_probabilities
        cut = len(probabilities) - n_searched + int(np.argmin(probabilities[-n_searched:]))
        frame = self._start_frame + cut
        yield from self._end_span(frame)
        self._start_frame, self._span_probabilities = frame, probabilities[cut:]


@cache
def _session() -> Any:
    """Load Silero VAD v6 from the faster-whisper package, without importing that package."""
    spec = find_spec("faster_whisper")
    if spec is None or not spec.submodule_search_locations:
        raise SpeechError(
            "Voice activity detection needs the faster-whisper package, which is not installed."
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    path = Path(next(iter(spec.submodule_search_locations))) / "assets" / "silero_vad_v6.onnx"
    return onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"], sess_options=options
    )
