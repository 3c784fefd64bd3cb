"""Diarization with pyannote.audio: a published pipeline, or the built-in one, whose weights are installed packages."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transcription.speech.diarization.base import (
    AUTOMATIC,
    Diarization,
    Samples,
    SpeakerCount,
    Turn,
    read_all,
)
from transcription.speech.diarization.voices import (
    Subsegment,
    active_runs,
    build_diarization,
    normalize,
)
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    ModelUnavailableError,
    OnProgress,
    SpeechError,
    resolve_device,
)

BUILT_IN = "built-in"
PUBLISHED = "pyannote/speaker-diarization-community-1"
_PROGRESS_OF_STEP = {"segmentation": (0.0, 0.5), "embeddings": (0.5, 0.95)}
"""The overall progress at the start and the end of each step."""


def load(*, model: str, token: str, device: str, threads: int = 0) -> "PyannoteDiarizer":
    """Load a pipeline.

    `model` is a folder, a name on the hub, or `built-in`; if empty, the published one with a token, else the built-in
    one. `threads` is the number of CPU threads; 0: one per core.
    Raises ModelUnavailableError, and SpeechError for a pipeline that cannot be used.
    """
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"  # disables telemetry
    # OpenMP threads sleep while they wait; by default they spin, and take a core from other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Irrelevant warnings: about a decoder that is not used here, and about recordings with little speech.
    warnings.filterwarnings("ignore", module=r"pyannote\.audio\.")
    warnings.filterwarnings("ignore", message=r"Mean of empty slice|invalid value encountered")
    name = model or (PUBLISHED if token else BUILT_IN)
    try:
        import torch
        from pyannote.audio import Pipeline
    except ImportError as error:
        raise ModelUnavailableError(
            f'pyannote.audio cannot be imported ({error}): pip install "transcriber[diarization]".'
        ) from error
    device = resolve_device(device, has_gpu=torch.cuda.is_available(), library="PyTorch")
    if name == BUILT_IN:
        from transcription.speech.diarization.built_in import BuiltInDiarization
        from transcription.speech.diarization.campplus import CampPlus

        pipeline: Any = BuiltInDiarization(
            CampPlus(device),
            n_threads=1 if device == "cuda" else threads or len(os.sched_getaffinity(0)),
        )
    else:
        pipeline = _load_published(Pipeline, name, token)
    pipeline.to(torch.device(device))
    return PyannoteDiarizer(pipeline, model=name, device=device)


def _load_published(loader: Any, name: str, token: str) -> Any:
    remedy = (
        f"Set TRANSCRIBER_DIARIZATION_MODEL to {BUILT_IN}, which needs no account, or to the folder of a "
        "pipeline; or set HF_TOKEN to a token of an account that accepted the pipeline's conditions on the hub."
    )
    is_folder = Path(name).is_absolute() or name.startswith((".", "~"))
    if is_folder and not (Path(name).expanduser() / "config.yaml").is_file():
        raise ModelUnavailableError(
            f"There is no pyannote pipeline (config.yaml) in {name}. {remedy}"
        )
    try:
        pipeline = loader.from_pretrained(
            str(Path(name).expanduser()) if is_folder else name, token=token or None
        )
    except Exception as error:
        raise ModelUnavailableError(
            f"The diarization pipeline {name} could not be loaded: {_first_line(error)}. {remedy}"
        ) from error
    if pipeline is None:
        raise ModelUnavailableError(
            f"The diarization pipeline {name} could not be downloaded. {remedy}"
        )
    return pipeline


class PyannoteDiarizer:
    name = "pyannote"

    def __init__(self, pipeline: Any, *, model: str, device: str) -> None:
        self._pipeline = pipeline
        self.model = model
        self.device = device

    def diarize(
        self,
        samples: Samples,
        *,
        count: SpeakerCount = AUTOMATIC,
        on_progress: OnProgress | None = None,
    ) -> Diarization:
        import torch
        from lightning.pytorch.utilities.memory import is_oom_error

        if samples.duration <= 0:
            return Diarization((), ())
        hook = _Hook(on_progress)
        speaker_options = {
            "num_speakers": count.exactly,
            "min_speakers": count.at_least,
            "max_speakers": count.at_most,
        }
        try:
            with torch.inference_mode():
                output = self._apply(samples, hook=hook, **speaker_options)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_oom_error(error):
                raise
            raise SpeechError(
                f"Out of memory during diarization: {_first_line(error)}.", can_retry=True
            ) from error
        if on_progress is not None:
            on_progress(1.0)
        return _to_diarization(output, hook, getattr(self._pipeline, "subsegments", None))

    def _apply(self, samples: Samples, **options: Any) -> Any:
        if self.model == BUILT_IN:
            return self._pipeline.apply({"uri": "recording", "samples": samples}, **options)
        import torch

        waveform = torch.from_numpy(read_all(samples))[None]
        file = {"uri": "recording", "waveform": waveform, "sample_rate": SAMPLE_RATE}
        return self._pipeline(file, **options)


class _Hook:
    """pyannote's hook: reports progress, and keeps the results of each step."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self.artifacts: dict[str, Any] = {}

    def __call__(
        self,
        step: str,
        artifact: Any,
        file: Any = None,
        completed: int | None = None,
        total: int | None = None,
    ) -> None:
        if completed is None:
            self.artifacts[step] = artifact
        if (
            self._on_progress is not None
            and completed is not None
            and total
            and step in _PROGRESS_OF_STEP
        ):
            start, end = _PROGRESS_OF_STEP[step]
            self._on_progress(start + (end - start) * min(completed / total, 1.0))


def _to_diarization(
    output: Any, hook: _Hook, subsegments: Sequence[Subsegment] | None
) -> Diarization:
    """Convert a pipeline's output: turns, exclusive turns and centroids; only turns before pyannote 4."""
    turns = getattr(output, "speaker_diarization", output)
    exclusive = getattr(output, "exclusive_speaker_diarization", None)
    centroids = None
    if subsegments is None:
        subsegments = _window_subsegments(hook)
        vectors = getattr(output, "speaker_embeddings", None)
        if vectors is not None:
            by_label = zip(turns.labels(), vectors, strict=False)
            centroids = {
                str(label): normalize(vector) for label, vector in by_label if _is_valid(vector)
            }
    return build_diarization(
        _turns(turns), _turns(turns if exclusive is None else exclusive), subsegments, centroids
    )


def _window_subsegments(hook: _Hook) -> list[Subsegment]:
    """The subsegments of a published pipeline: each window's local speakers, where they are active."""
    activity, embeddings = (hook.artifacts.get(name) for name in ("segmentation", "embeddings"))
    if activity is None or embeddings is None:
        return []
    n_frames = activity.data.shape[1]
    found = []
    for (window, active), window_embeddings in zip(activity, embeddings, strict=False):
        for speaker, embedding in enumerate(window_embeddings):
            if _is_valid(embedding):
                found += [
                    Subsegment(
                        window.start + start * window.duration / n_frames,
                        window.start + end * window.duration / n_frames,
                        normalize(embedding),
                    )
                    for start, end in active_runs(active[:, speaker] > 0.5)
                ]
    return found


def _is_valid(vector: npt.NDArray[np.floating]) -> bool:
    """Whether an embedding exists; a speaker without one has NaN or zeros."""
    return bool(np.isfinite(vector).all() and vector.any())


def _turns(annotation: Any) -> list[Turn]:
    return [
        Turn(round(segment.start, 3), round(segment.end, 3), str(label))
        for segment, _, label in annotation.itertracks(yield_label=True)
    ]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
