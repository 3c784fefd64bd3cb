"""Transcribe a file with one contender, in its own process: `python -m bench.contenders NAME FILE`.

Warms up on a short recording, then transcribes FILE, and prints the seconds and the text as one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from transcription.speech import audio, catalogue, segments, voice_activity, weights
from transcription.speech.chunks import PlannedChunk, Planner
from transcription.speech.engines.base import SAMPLE_RATE, EngineSettings, Span, TranscribedSegment

MODEL = "tiny.en"
ROOT = Path(__file__).parent.parent
WARM_UP = ROOT / "tests" / "audio" / "jfk.flac"
CORES = 2

Transcribe = Callable[[Path], str]


def _weights() -> Path:
    located = weights.locate(
        catalogue.resolve(MODEL), engine="faster-whisper", models_dir=ROOT / "data" / "models"
    )
    if located is None:
        raise SystemExit(f"The weights of {MODEL} are not on this machine.")
    return located.path


def ours(*, word_times: bool) -> Transcribe:
    """This project's engine on a whole file: decode, detect speech, transcribe chunks in CORES threads."""
    from transcription.speech.engines import faster_whisper

    engine = faster_whisper.load(
        _weights(), model_name=MODEL, settings=EngineSettings(threads=CORES)
    )

    def transcribe_chunk(chunk: PlannedChunk, samples: audio.Pcm) -> list[TranscribedSegment]:
        def relative_to_chunk(spans: tuple[Span, ...]) -> list[Span]:
            return [Span(span.start - chunk.start, span.end - chunk.start) for span in spans]

        return segments.transcribe(
            engine,
            audio.to_float(samples),
            relative_to_chunk(chunk.streams),
            relative_to_chunk(chunk.speech),
            language="en",
            word_times=word_times,
        )

    def transcribe(path: Path) -> str:
        activity, planner = voice_activity.VoiceActivity(), Planner()
        samples = np.zeros(0, np.int16)
        with ThreadPoolExecutor(engine.threads) as threads:
            futures: list[Future[list[TranscribedSegment]]] = []

            def submit(chunk: PlannedChunk) -> None:
                first, last = round(chunk.start * SAMPLE_RATE), round(chunk.end * SAMPLE_RATE)
                futures.append(threads.submit(transcribe_chunk, chunk, samples[first:last]))

            for block in audio.decode(path):
                samples = np.concatenate([samples, block])
                for span in activity.feed(audio.to_float(block)):
                    for chunk in planner.add(span):
                        submit(chunk)
            for span in activity.finish():
                for chunk in planner.add(span):
                    submit(chunk)
            for chunk in planner.finish(len(samples) / SAMPLE_RATE):
                submit(chunk)
            return " ".join(segment.text for future in futures for segment in future.result())

    return transcribe


def faster_whisper_sequential() -> Transcribe:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(_weights()), device="cpu", compute_type="int8", cpu_threads=CORES)

    def transcribe(path: Path) -> str:
        output, _info = model.transcribe(str(path), language="en", beam_size=5)
        return " ".join(segment.text.strip() for segment in output)

    return transcribe


def faster_whisper_batched() -> Transcribe:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(str(_weights()), device="cpu", compute_type="int8", cpu_threads=CORES)
    pipeline = BatchedInferencePipeline(model=model)

    def transcribe(path: Path) -> str:
        output, _info = pipeline.transcribe(str(path), language="en", beam_size=5, batch_size=8)
        return " ".join(segment.text.strip() for segment in output)

    return transcribe


def openai_whisper() -> Transcribe:
    """The reference implementation with the same weights, in fp32."""
    from transcription.speech.engines import openai_whisper as engines

    engine: Any = engines.load(_weights(), model_name=MODEL, settings=EngineSettings(device="cpu"))

    def transcribe(path: Path) -> str:
        samples = audio.read_all(path)
        result = engine._model.transcribe(samples, language="en", beam_size=5, fp16=False)
        return str(result["text"])

    return transcribe


CONTENDERS: dict[str, Callable[[], Transcribe]] = {
    "openai-whisper, beam 5, fp32": openai_whisper,
    "faster-whisper, sequential, beam 5, int8": faster_whisper_sequential,
    "faster-whisper, batched (8), beam 5, int8": faster_whisper_batched,
    "ours, without word times": lambda: ours(word_times=False),
    "ours, with word times": lambda: ours(word_times=True),
}


def main(name: str, file: str) -> None:
    transcribe = CONTENDERS[name]()
    transcribe(WARM_UP)
    started = time.perf_counter()
    text = transcribe(Path(file))
    print(json.dumps({"seconds": time.perf_counter() - started, "text": text}))


if __name__ == "__main__":
    main(*sys.argv[1:])
