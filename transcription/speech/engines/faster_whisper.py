"""Whisper on CTranslate2 with faster-whisper: the seek loops of several streams run in lockstep.

faster-whisper decodes one window at a time, or (batched) cuts windows at fixed times and loses the words between
a window's last timestamp and its end. Here each stream runs Whisper's seek loop (Radford et al. 2022, section 3.8,
and `transcribe` of the reference implementation), and the next windows of all streams are decoded as one batch.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transcription.speech.engines.base import (
    COMPRESSION_RATIO_THRESHOLD,
    LOGPROB_THRESHOLD,
    SAMPLE_RATE,
    Audio,
    EngineSettings,
    OnProgress,
    Span,
    SpeechError,
    TranscribedSegment,
    Word,
    resolve_device,
)

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
BEST_OF = 5
SEED = 0
"""Sampling is reproducible only per CTranslate2 thread, each of which has its own generator."""
NO_SPEECH_THRESHOLD = 0.6
PREPENDED_PUNCTUATION = "\"'“¿([{-"
APPENDED_PUNCTUATION = "\"'.。,，!！?？:：”)]}、"

WINDOW_SAMPLES = 30 * SAMPLE_RATE
FRAME_SAMPLES = 160
MIN_REMAINDER_SAMPLES = round(0.5 * SAMPLE_RATE)
"""A shorter rest of a stream after its last timestamp is its margin of silence, and is not decoded."""


@dataclass(slots=True)
class _Stream:
    """One seek loop: from `position` to `end`, in samples of the audio."""

    position: int
    end: int
    segments: list[TranscribedSegment] = field(default_factory=list)
    last_speech: float = 0.0


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The tokens of a window, with the decoder's confidence measures."""

    tokens: list[int]
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float

    @property
    def is_silence(self) -> bool:
        return self.no_speech_prob > NO_SPEECH_THRESHOLD and self.avg_logprob < LOGPROB_THRESHOLD

    @property
    def is_good(self) -> bool:
        if self.is_silence:
            return True
        repetitive = self.compression_ratio > COMPRESSION_RATIO_THRESHOLD
        return not repetitive and self.avg_logprob >= LOGPROB_THRESHOLD


class FasterWhisperEngine:
    def __init__(
        self,
        model: "WhisperModel",
        *,
        model_name: str,
        threads: int,
        batch_size: int,
        beam_size: int,
    ) -> None:
        self.model_name = model_name
        self.device: str = model.model.device
        self.threads = threads
        self._model = model
        self._batch_size = batch_size
        self._beam_size = beam_size

    def detect_language(self, audio: Audio) -> str:
        if not self._model.model.is_multilingual:
            return "en"
        encoded = self._model.encode(self._features(audio)[np.newaxis])
        token, _probability = self._model.model.detect_language(encoded)[0][0]
        return str(token[2:-2])

    def transcribe(
        self,
        audio: Audio,
        streams: Sequence[Span],
        *,
        language: str,
        word_times: bool = True,
        on_progress: OnProgress | None = None,
    ) -> list[TranscribedSegment]:
        tokenizer = self._tokenizer(language)
        all_streams = [
            _Stream(round(s.start * SAMPLE_RATE), min(round(s.end * SAMPLE_RATE), len(audio)))
            for s in streams
        ]
        n_samples = sum(s.end - s.position for s in all_streams) or 1
        pending = list(reversed(all_streams))
        running: list[_Stream] = []

        def report_progress() -> None:
            """Called several times per step, because a step may take seconds and the callback may cancel it."""
            if on_progress is not None:
                left = sum(max(0, s.end - s.position) for s in chain(pending, running))
                on_progress(1 - left / n_samples)

        try:
            while pending or running:
                while pending and len(running) < self._batch_size:
                    running.append(pending.pop())
                self._step(audio, running, tokenizer, report_progress, word_times=word_times)
                running = [s for s in running if s.end - s.position >= MIN_REMAINDER_SAMPLES]
                report_progress()
        except RuntimeError as error:
            raise SpeechError(f"Decoding failed: {error}", can_retry=True) from error
        return list(chain.from_iterable(stream.segments for stream in all_streams))

    def _step(
        self,
        audio: Audio,
        streams: list[_Stream],
        tokenizer: Any,
        report_progress: Callable[[], None],
        *,
        word_times: bool,
    ) -> None:
        """Decode the next window of each stream as one batch, and advance each by its own timestamps."""
        windows = [audio[s.position : min(s.position + WINDOW_SAMPLES, s.end)] for s in streams]
        features = [self._features(window) for window in windows]
        encoded = self._model.encode(np.stack(features))
        report_progress()
        decoded = self._decode(features, encoded, tokenizer, report_progress)

        segments_of: list[list[dict[str, Any]]] = []
        for stream, window, result in zip(streams, windows, decoded, strict=True):
            if result.is_silence:
                segments_of.append([])
                stream.position += len(window)
                continue
            n_frames = len(window) // FRAME_SAMPLES
            start = stream.position / SAMPLE_RATE
            segments, seek, _ended = self._model._split_segments_by_timestamps(
                tokenizer=tokenizer,
                tokens=result.tokens,
                time_offset=start,
                segment_size=n_frames,
                segment_duration=len(window) / SAMPLE_RATE,
                seek=0,
            )
            for segment in segments:
                segment["seek"] = start * 100
            segments_of.append(segments)
            # A last timestamp of 0 would decode the same window forever.
            stream.position += seek * FRAME_SAMPLES if 0 < seek < n_frames else len(window)
        if word_times:
            self._add_word_times(segments_of, encoded, streams, windows, tokenizer)
        for stream, segments, result in zip(streams, segments_of, decoded, strict=True):
            stream.segments += _to_segments(segments, result, tokenizer)

    def _decode(
        self,
        features: list[Any],
        encoded: Any,
        tokenizer: Any,
        report_progress: Callable[[], None],
    ) -> list[_Decoded]:
        """Decode the batch by beam search, and windows that fail the quality gates with temperature fallback."""
        results = self._generate(
            encoded, len(features), tokenizer, temperature=0.0, beam_size=self._beam_size
        )
        report_progress()
        for index, result in enumerate(results):
            if not result.is_good:
                results[index] = self._fall_back(
                    result, features[index], tokenizer, report_progress
                )
        return results

    def _fall_back(
        self, first: _Decoded, features: Any, tokenizer: Any, report_progress: Callable[[], None]
    ) -> _Decoded:
        """Sample at higher temperatures until a result passes the quality gates; else return the best one."""
        encoded = self._model.encode(features[np.newaxis])
        tried = [first]
        for temperature in TEMPERATURES:
            [result] = self._generate(
                encoded,
                1,
                tokenizer,
                temperature=temperature,
                beam_size=1,
                num_hypotheses=BEST_OF,
                sampling_topk=0,
                sampling_temperature=temperature,
            )
            report_progress()
            if result.is_good:
                return result
            tried.append(result)
        not_repetitive = [r for r in tried if r.compression_ratio <= COMPRESSION_RATIO_THRESHOLD]
        return max(not_repetitive or tried, key=lambda r: r.avg_logprob)

    def _generate(
        self, encoded: Any, n_windows: int, tokenizer: Any, *, temperature: float, **options: Any
    ) -> list[_Decoded]:
        from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens

        generated = self._model.model.generate(
            encoded,
            [list(tokenizer.sot_sequence)] * n_windows,
            max_length=self._model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            **options,
        )
        results = []
        for result in generated:
            tokens = list(result.sequences_ids[0])
            text = tokenizer.decode(tokens).strip()
            results.append(
                _Decoded(
                    tokens=tokens,
                    text=text,
                    avg_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
                    no_speech_prob=result.no_speech_prob,
                    compression_ratio=get_compression_ratio(text) if text else 0.0,
                    temperature=temperature,
                )
            )
        return results

    def _add_word_times(
        self,
        segments_of: list[list[dict[str, Any]]],
        encoded: Any,
        streams: list[_Stream],
        windows: list[Audio],
        tokenizer: Any,
    ) -> None:
        """Align the words of all windows (cross-attention and dynamic time warping) in one call."""
        if not any(segments_of):
            return
        empty_segment = {"tokens": [], "start": 0.0, "end": 0.0}
        self._model.add_word_timestamps(
            [
                segments or [{**empty_segment, "seek": 100 * stream.position / SAMPLE_RATE}]
                for segments, stream in zip(segments_of, streams, strict=True)
            ],
            tokenizer,
            encoded,
            [len(window) // FRAME_SAMPLES for window in windows],
            PREPENDED_PUNCTUATION,
            APPENDED_PUNCTUATION,
            0.0,
        )

    def _features(self, audio: Audio) -> Any:
        """Compute the log-mel spectrogram of a window; shape (n_mels, 3000).

        Pads the audio with zeros, as in training; padding the spectrogram instead loses words.
        """
        window = np.pad(audio[:WINDOW_SAMPLES], (0, max(0, WINDOW_SAMPLES - len(audio))))
        extractor = self._model.feature_extractor
        return extractor(window, padding=0)[:, : extractor.nb_max_frames]

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(
            self._model.hf_tokenizer,
            self._model.model.is_multilingual,
            task="transcribe",
            language=language,
        )


def _to_segments(
    segments: list[dict[str, Any]], result: _Decoded, tokenizer: Any
) -> list[TranscribedSegment]:
    transcribed = []
    for segment in segments:
        text = tokenizer.decode(segment["tokens"]).strip()
        if segment["start"] == segment["end"] or not text:
            continue
        words = tuple(
            Word(float(w["start"]), float(w["end"]), w["word"], float(w["probability"]))
            for w in segment.get("words", ())
        )
        transcribed.append(
            TranscribedSegment(
                start=float(segment["start"]),
                end=float(segment["end"]),
                text=text,
                words=words,
                avg_logprob=result.avg_logprob,
                no_speech_prob=result.no_speech_prob,
                compression_ratio=result.compression_ratio,
                temperature=result.temperature,
            )
        )
    return transcribed


def load(weights: str | Path, *, model_name: str, settings: EngineSettings) -> FasterWhisperEngine:
    """Load CTranslate2 weights from the folder `weights`. Raises SpeechError."""
    import ctranslate2
    from faster_whisper import WhisperModel

    ctranslate2.set_random_seed(SEED)
    device = resolve_device(
        settings.device,
        has_gpu=ctranslate2.get_cuda_device_count() > 0,
        library="CTranslate2",
    )
    on_gpu = device == "cuda"
    threads = settings.threads or (1 if on_gpu else len(os.sched_getaffinity(0)))
    compute_type = settings.compute_type
    if compute_type == "default":
        compute_type = "float16" if on_gpu else "int8"
    try:
        model = WhisperModel(
            str(weights),
            device=device,
            compute_type=compute_type,
            cpu_threads=1,
            num_workers=threads,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise SpeechError(f"The model {model_name} cannot be loaded: {error}") from error
    return FasterWhisperEngine(
        model,
        model_name=model_name,
        threads=threads,
        batch_size=16 if on_gpu else 2,
        beam_size=settings.beam_size,
    )
