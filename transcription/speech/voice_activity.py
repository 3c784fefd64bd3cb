"""Where somebody speaks: Silero VAD over a stream of samples."""

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
SHORTEST_SPEECH_SECONDS = 0.1
SHORTEST_SILENCE_SECONDS = 0.1
LONGEST_SPEECH_SECONDS = 28.0
SPLIT_SEARCH_SECONDS = 10.0


class VoiceActivity:
    """Turns samples into spans of speech as they come; holds a few seconds of state, never the recording.

    A span ends where the probability of speech stays below `SILENCE_PROBABILITY` for
    `SHORTEST_SILENCE_SECONDS`; one that would grow past `LONGEST_SPEECH_SECONDS` is split at its
    least likely frame, so that what follows can count on spans that fit Whisper's window.
    """

    def __init__(self) -> None:
        self._session = _session()
        self._hidden = np.zeros((1, 1, 128), np.float32)
        self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._rest = np.zeros(0, np.float32)
        self._n_frames = 0
        self._started: int | None = None
        self._silent_since: int | None = None
        self._run: list[float] = []

    def feed(self, samples: Audio) -> list[Span]:
        """The spans of speech that `samples` bring to an end (seconds from the first sample fed)."""
        samples = np.concatenate([self._rest, samples])
        n_whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = samples[n_whole:]
        return list(self._spans(self._probabilities(samples[:n_whole])))

    def finish(self) -> list[Span]:
        """The span that the end of the recording brings to its end."""
        if len(self._rest):
            padding = np.zeros(FRAME_SAMPLES - len(self._rest), np.float32)
            spans = self.feed(padding)
        else:
            spans = []
        if self._started is not None:
            spans += self._close(
                self._n_frames if self._silent_since is None else self._silent_since
            )
        return spans

    def _probabilities(self, samples: Audio) -> npt.NDArray[np.float32]:
        """The probability of speech in each frame; shape (n_frames,)."""
        if not len(samples):
            return np.zeros(0, np.float32)
        frames = samples.reshape(-1, FRAME_SAMPLES)
        before = np.vstack([self._context, frames[:-1, -CONTEXT_SAMPLES:]])
        self._context = frames[-1, -CONTEXT_SAMPLES:].copy()
        output, self._hidden, self._cell = self._session.run(
            None,
            {"input": np.hstack([before, frames]), "h": self._hidden, "c": self._cell},
        )
        return np.asarray(output, np.float32).reshape(-1)

    def _spans(self, probabilities: Iterable[np.float32]) -> Iterator[Span]:
        shortest_silence = round(SHORTEST_SILENCE_SECONDS / FRAME_SECONDS)
        longest_speech = round(LONGEST_SPEECH_SECONDS / FRAME_SECONDS)
        for probability in map(float, probabilities):
            frame = self._n_frames
            self._n_frames += 1
            if self._started is None:
                if probability >= SPEECH_PROBABILITY:
                    self._started, self._run = frame, [probability]
                continue
            self._run.append(probability)
            if probability >= SPEECH_PROBABILITY:
                self._silent_since = None
            elif probability < SILENCE_PROBABILITY and self._silent_since is None:
                self._silent_since = frame
            if self._silent_since is not None and frame - self._silent_since >= shortest_silence:
                yield from self._close(self._silent_since)
            elif len(self._run) >= longest_speech:
                yield from self._split()

    def _close(self, end: int) -> Iterator[Span]:
        assert self._started is not None
        span = Span(self._started * FRAME_SECONDS, end * FRAME_SECONDS)
        self._started = self._silent_since = None
        self._run = []
        if span.duration >= SHORTEST_SPEECH_SECONDS:
            yield span

    def _split(self) -> Iterator[Span]:
        """End the span at its least likely frame of late, and let the next begin there."""
        assert self._started is not None
        n_searched = round(SPLIT_SEARCH_SECONDS / FRAME_SECONDS)
        cut = len(self._run) - n_searched + int(np.argmin(self._run[-n_searched:]))
        started, run = self._started + cut, self._run[cut:]
        yield from self._close(started)
        self._started, self._run = started, run


@cache
def _session() -> Any:
    """Silero VAD v6 as faster-whisper ships it, found without importing faster-whisper."""
    spec = find_spec("faster_whisper")
    if spec is None or not spec.submodule_search_locations:
        raise SpeechError(
            "Voice activity needs the faster-whisper package, which is not installed."
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
