"""pyannote.audio: any published pipeline, or the one that is built from weights that come with the installation."""

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
    whole,
)
from transcription.speech.diarization.voices import Piece, named, runs, unit
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    ModelUnavailableError,
    OnProgress,
    SpeechError,
)

BUILT_IN = "built-in"
PUBLISHED = "pyannote/speaker-diarization-community-1"
_SHARES = {"segmentation": (0.0, 0.5), "embeddings": (0.5, 0.95)}
"""Which part of the whole each step is."""


def load(*, model: str, token: str, device: str, threads: int = 0) -> "PyannoteDiarizer":
    """`model` is a folder, a name on the hub, or `built-in`; empty: the published one with a token, else built-in.
    `threads` is on how many cores it may work; 0 means all.

    Raises ModelUnavailableError, and SpeechError for a pipeline that cannot be used.
    """
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"  # it would tell its makers of each use
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # who waits for a core that is busy must not keep another so
    # It warns at length of a decoder that it does not need here, and of recordings in which few voices are heard.
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
    on = _device(device)
    if name == BUILT_IN:
        from transcription.speech.diarization.built_in import BuiltInDiarization
        from transcription.speech.diarization.campplus import CampPlus

        pipeline: Any = BuiltInDiarization(
            CampPlus(on), n_threads=1 if on == "cuda" else threads or len(os.sched_getaffinity(0))
        )
    else:
        pipeline = _published(Pipeline, name, token)
    pipeline.to(torch.device(on))
    return PyannoteDiarizer(pipeline, model=name, device=on)


def _published(loader: Any, name: str, token: str) -> Any:
    remedy = (
        f"Set TRANSCRIBER_DIARIZATION_MODEL to {BUILT_IN}, which needs no account, or to a folder that holds a "
        "pipeline; or HF_TOKEN to a token of somebody who accepted the pipeline's conditions on the hub."
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
            f"The diarization pipeline {name} could not be loaded: {_brief(error)}. {remedy}"
        ) from error
    if pipeline is None:
        raise ModelUnavailableError(
            f"The diarization pipeline {name} could not be fetched. {remedy}"
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
        watch = _Watch(on_progress)
        wishes = {
            "num_speakers": count.exactly,
            "min_speakers": count.at_least,
            "max_speakers": count.at_most,
        }
        try:
            with torch.inference_mode():
                output = self._apply(samples, hook=watch, **wishes)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_oom_error(error):
                raise
            raise SpeechError(
                f"Not enough memory to tell speakers apart: {_brief(error)}.", can_retry=True
            ) from error
        if on_progress is not None:
            on_progress(1.0)
        return _result(output, watch, getattr(self._pipeline, "pieces", None))

    def _apply(self, samples: Samples, **options: Any) -> Any:
        if self.model == BUILT_IN:
            return self._pipeline.apply({"uri": "recording", "samples": samples}, **options)
        import torch

        waveform = torch.from_numpy(whole(samples))[None]
        file = {"uri": "recording", "waveform": waveform, "sample_rate": SAMPLE_RATE}
        return self._pipeline(file, **options)


class _Watch:
    """pyannote's hook: tells how far it is, and keeps what was heard in each window."""

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
        if self._on_progress is not None and completed is not None and total and step in _SHARES:
            begin, end = _SHARES[step]
            self._on_progress(begin + (end - begin) * min(completed / total, 1.0))


def _result(output: Any, watch: _Watch, pieces: Sequence[Piece] | None) -> Diarization:
    """pyannote 4 gives turns, exclusive turns and centroids; pipelines of before give the turns alone."""
    turns = getattr(output, "speaker_diarization", output)
    exclusive = getattr(output, "exclusive_speaker_diarization", None)
    centroids = None
    if pieces is None:
        pieces = _pieces(watch)
        vectors = getattr(output, "speaker_embeddings", None)
        if vectors is not None:
            by_label = zip(turns.labels(), vectors, strict=False)
            centroids = {
                str(label): unit(vector) for label, vector in by_label if _is_voice(vector)
            }
    return named(
        _turns(turns), _turns(turns if exclusive is None else exclusive), pieces, centroids
    )


def _pieces(watch: _Watch) -> list[Piece]:
    """What a published pipeline heard in each window: each local speaker's voice, wherever they are active in it."""
    activity, embeddings = (watch.artifacts.get(name) for name in ("segmentation", "embeddings"))
    if activity is None or embeddings is None:
        return []
    n_frames = activity.data.shape[1]
    found = []
    for (window, active), voices in zip(activity, embeddings, strict=False):
        for speaker, voice in enumerate(voices):
            if _is_voice(voice):
                found += [
                    Piece(
                        window.start + begin * window.duration / n_frames,
                        window.start + end * window.duration / n_frames,
                        unit(voice),
                    )
                    for begin, end in runs(active[:, speaker] > 0.5)
                ]
    return found


def _is_voice(vector: npt.NDArray[np.floating]) -> bool:
    return bool(np.isfinite(vector).all() and vector.any())


def _turns(annotation: Any) -> list[Turn]:
    return [
        Turn(round(segment.start, 3), round(segment.end, 3), str(label))
        for segment, _, label in annotation.itertracks(yield_label=True)
    ]


def _device(wish: str) -> str:
    import torch

    if wish == "cuda" and not torch.cuda.is_available():
        raise SpeechError("TRANSCRIBER_DEVICE is cuda, and PyTorch finds no GPU that it can use.")
    return "cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu"


def _brief(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
