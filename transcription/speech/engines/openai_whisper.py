"""Whisper as OpenAI released it, on PyTorch: the reference, and slower than faster-whisper."""

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
)

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BEST_OF = 5

_PASSING_TROUBLE = ("CUDA", "cuDNN", "allocate")
"""In messages of errors that come from the state of the GPU or the memory, not from the work."""

LEAST_SAMPLES = round(0.02 * SAMPLE_RATE)
"""Shorter streams hold no word: a token of the decoder stands for 20 ms."""


class OpenAIWhisperEngine:
    """One caller at a time: PyTorch uses all cores for one, and whisper's hooks know but one."""

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
        seconds_in_all, seconds_done = sum(stream.duration for stream in streams), 0.0
        for stream in sorted(streams, key=lambda span: span.start):
            # A copy, because torch warns of arrays that it could not write to.
            samples = np.array(
                audio[round(stream.start * SAMPLE_RATE) : round(stream.end * SAMPLE_RATE)],
                dtype=np.float32,
            )
            if len(samples) >= LEAST_SAMPLES:
                share_done = seconds_done / seconds_in_all
                tell = partial(on_progress, share_done) if on_progress else _tell_nobody
                decoded = self._decode(samples, language=language, word_times=word_times, tell=tell)
                segments.extend(_segment(each, stream) for each in decoded if each["text"].strip())
            seconds_done += stream.duration
            if on_progress:
                on_progress(seconds_done / seconds_in_all if seconds_in_all else 1.0)
        return segments

    def _decode(
        self, samples: Audio, *, language: str, word_times: bool, tell: Callable[[], None]
    ) -> list[dict[str, Any]]:
        with self._lock, self._telling(tell), _speech_errors():
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
    def _telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` with every token that is decoded: a stream may take long, and who is told may end the work."""
        hook = self._model.decoder.register_forward_pre_hook(lambda *_: tell())
        try:
            yield
        finally:
            hook.remove()


def _tell_nobody() -> None:
    """There is nobody who wants to know."""


def load(weights: str | Path, *, model_name: str, settings: EngineSettings) -> SpeechEngine:
    """Load a `.pt` checkpoint, or a folder of CTranslate2 weights. Raises SpeechError."""
    try:
        import torch
        import whisper  # noqa: F401
    except ImportError as error:
        raise SpeechError(f"The openai-whisper engine is not installed: {error}") from error
    device = _device(settings.device, has_cuda=torch.cuda.is_available())
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


def _device(wanted: str, *, has_cuda: bool) -> str:
    if wanted == "auto":
        return "cuda" if has_cuda else "cpu"
    if wanted.startswith("cuda") and not has_cuda:
        raise SpeechError("The device 'cuda' was asked for, but PyTorch finds no CUDA GPU here.")
    return wanted


def _use_fp16(compute_type: str, device: str) -> bool:
    on_gpu = device.startswith("cuda")
    if compute_type in ("default", "auto"):
        return on_gpu
    if compute_type not in (("float32", "float16") if on_gpu else ("float32",)):
        raise SpeechError(
            f"The openai-whisper engine cannot compute in '{compute_type}' on {device}; "
            "use 'default' or 'float32' (or 'float16' on a GPU)."
        )
    return compute_type == "float16"


def _from_checkpoint(path: Path, model_name: str) -> Any:
    import torch
    import whisper

    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    model = whisper.Whisper(whisper.ModelDimensions(**checkpoint["dims"]))
    model.load_state_dict(checkpoint["model_state_dict"])
    # Without them, half of the heads are taken, as openai-whisper does with a model it knows not.
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
    """`decoded` with its times, counted from the stream's start, moved to where the stream is."""

    def shifted(seconds: float) -> float:
        # Whisper pads its windows to 30 s and now and then puts a time into the padding.
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
    """Turn what PyTorch and whisper raise into SpeechError."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        torch.cuda.empty_cache()
        raise SpeechError(f"Out of memory: {error}", can_retry=True) from error
    except RuntimeError as error:
        may_pass = any(sign in str(error) for sign in _PASSING_TROUBLE)
        raise SpeechError(f"openai-whisper failed: {error}", can_retry=may_pass) from error
    except (ValueError, KeyError, TypeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise SpeechError(f"openai-whisper failed: {error!r}") from error
