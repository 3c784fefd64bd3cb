"""OpenAI's reference implementation of Whisper, on PyTorch; slower than faster-whisper."""

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transcription.speech.engines import ct2_checkpoint
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    EngineSettings,
    OnProgress,
    Span,
    SpeechEngine,
    SpeechError,
    TranscribedSegment,
    Word,
    resolve_device,
)

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BEST_OF = 5

_TRANSIENT_ERRORS = ("CUDA", "cuDNN", "allocate")
"""Substrings of errors that are caused by the state of the GPU or memory, so that a retry may succeed."""

MIN_STREAM_SAMPLES = round(0.02 * SAMPLE_RATE)
"""Shorter streams contain no word: the decoder's time resolution is 20 ms."""


class OpenAIWhisperEngine:
    """Serves one caller at a time: PyTorch uses all cores, and whisper's hooks are not thread-safe."""

    threads = 1

    def __init__(
        self, model: Any, *, model_name: str, device: str, use_fp16: bool, beam_size: int
    ) -> None:
        self.model_name = model_name
        self.device = device
        self._model = model
        self._use_fp16 = use_fp16
        self._beam_size = beam_size
        self._lock = threading.Lock()

    def detect_language(self, audio: Audio) -> str:
        if not self._model.is_multilingual:
            return "en"
        import whisper

        with self._lock, _speech_errors():
            window = whisper.pad_or_trim(np.array(audio, dtype=np.float32))
            mel = whisper.log_mel_spectrogram(window, n_mels=self._model.dims.n_mels)
            _token, probabilities = self._model.detect_language(mel.to(self._model.device))
        return str(max(probabilities, key=probabilities.get))

    def transcribe(
        self,
        audio: Audio,
        streams: Sequence[Span],
        *,
        language: str,
        word_times: bool = True,
        on_progress: OnProgress | None = None,
    ) -> list[TranscribedSegment]:
        segments: list[TranscribedSegment] = []
        seconds_total, seconds_done = sum(stream.duration for stream in streams), 0.0
        for stream in sorted(streams, key=lambda span: span.start):
            # A copy, because torch warns about read-only arrays.
            samples = np.array(
                audio[round(stream.start * SAMPLE_RATE) : round(stream.end * SAMPLE_RATE)],
                dtype=np.float32,
            )
            if len(samples) >= MIN_STREAM_SAMPLES:
                share_done = seconds_done / seconds_total
                report = partial(on_progress, share_done) if on_progress else _ignore_progress
                decoded = self._decode(
                    samples, language=language, word_times=word_times, report_progress=report
                )
                segments.extend(_segment(each, stream) for each in decoded if each["text"].strip())
            seconds_done += stream.duration
            if on_progress:
                on_progress(seconds_done / seconds_total if seconds_total else 1.0)
        return segments

    def _decode(
        self,
        samples: Audio,
        *,
        language: str,
        word_times: bool,
        report_progress: Callable[[], None],
    ) -> list[dict[str, Any]]:
        with self._lock, self._call_each_token(report_progress), _speech_errors():
            result = self._model.transcribe(
                samples,
                language=language,
                word_timestamps=word_times,
                beam_size=self._beam_size if self._beam_size > 1 else None,
                best_of=BEST_OF,
                temperature=TEMPERATURES,
                condition_on_previous_text=False,
                fp16=self._use_fp16,
            )
        decoded: list[dict[str, Any]] = result["segments"]
        return decoded

    @contextmanager
    def _call_each_token(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` with each decoded token: a stream may take long, and the callback may raise to cancel it."""
        hook = self._model.decoder.register_forward_pre_hook(lambda *_: callback())
        try:
            yield
        finally:
            hook.remove()


def _ignore_progress() -> None:
    """The progress callback if there is none."""


def load(weights: str | Path, *, model_name: str, settings: EngineSettings) -> SpeechEngine:
    """Load a `.pt` checkpoint, or a folder of CTranslate2 weights. Raises SpeechError."""
    try:
        import torch
        import whisper  # noqa: F401
    except ImportError as error:
        raise SpeechError(f"The openai-whisper engine is not installed: {error}") from error
    device = resolve_device(settings.device, has_gpu=torch.cuda.is_available(), library="PyTorch")
    use_fp16 = _use_fp16(settings.compute_type, device)
    path = Path(weights)
    with _speech_errors():
        model = _from_ctranslate2(path) if path.is_dir() else _from_checkpoint(path, model_name)
        model = model.to(device).eval()
    return OpenAIWhisperEngine(
        model,
        model_name=model_name,
        device=device,
        use_fp16=use_fp16,
        beam_size=settings.beam_size,
    )


def _use_fp16(compute_type: str, device: str) -> bool:
    on_gpu = device == "cuda"
    if compute_type in ("default", "auto"):
        return on_gpu
    if compute_type not in (("float32", "float16") if on_gpu else ("float32",)):
        raise SpeechError(
            f"The openai-whisper engine does not support the compute type '{compute_type}' on {device}; "
            "use 'default' or 'float32' (or 'float16' on a GPU)."
        )
    return compute_type == "float16"


def _from_checkpoint(path: Path, model_name: str) -> Any:
    import torch
    import whisper

    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    model = whisper.Whisper(whisper.ModelDimensions(**checkpoint["dims"]))
    model.load_state_dict(checkpoint["model_state_dict"])
    # Otherwise openai-whisper's default applies: all heads of the upper half of the layers.
    if heads := whisper._ALIGNMENT_HEADS.get(model_name):
        model.set_alignment_heads(heads)
    return model


def _from_ctranslate2(folder: Path) -> Any:
    import torch
    import whisper

    checkpoint = ct2_checkpoint.load(folder)
    model = whisper.Whisper(whisper.ModelDimensions(**checkpoint.dims))
    state = {name: torch.from_numpy(array) for name, array in checkpoint.state.items()}
    model.load_state_dict(state)
    if checkpoint.alignment_heads:
        heads = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
        for layer, head in checkpoint.alignment_heads:
            heads[layer, head] = True
        model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return model


def _segment(decoded: dict[str, Any], stream: Span) -> TranscribedSegment:
    """Convert a segment, and shift its times from the start of the stream to that of the audio."""

    def shifted(seconds: float) -> float:
        # Whisper pads windows to 30 s, and some of its times lie in the padding.
        return min(stream.start + float(seconds), stream.end)

    return TranscribedSegment(
        start=shifted(decoded["start"]),
        end=shifted(decoded["end"]),
        text=decoded["text"],
        words=tuple(
            Word(
                start=shifted(word["start"]),
                end=shifted(word["end"]),
                text=word["word"],
                probability=float(word["probability"]),
            )
            for word in decoded.get("words", ())
        ),
        avg_logprob=float(decoded["avg_logprob"]),
        no_speech_prob=float(decoded["no_speech_prob"]),
        compression_ratio=float(decoded["compression_ratio"]),
        temperature=float(decoded["temperature"]),
    )


@contextmanager
def _speech_errors() -> Iterator[None]:
    """Translate the errors of PyTorch and whisper to SpeechError."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        torch.cuda.empty_cache()
        raise SpeechError(f"Out of memory: {error}", can_retry=True) from error
    except RuntimeError as error:
        is_transient = any(text in str(error) for text in _TRANSIENT_ERRORS)
        raise SpeechError(f"openai-whisper failed: {error}", can_retry=is_transient) from error
    except (ValueError, KeyError, TypeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise SpeechError(f"openai-whisper failed: {error!r}") from error
