"""The speech models of this installation: which weights are where, and the one that this process loads."""

import logging
from dataclasses import replace

from django.conf import settings

from transcription import recordings
from transcription.leasing import workers
from transcription.leasing.registry import SPEECH
from transcription.speech import catalogue, fetching, weights
from transcription.speech.engines.base import EngineSettings, SpeechEngine
from transcription.speech.engines.loading import load, loaded_model
from transcription.speech.fetching import OnBytes

_logger = logging.getLogger(__name__)


def list_models(*, role: str = SPEECH) -> list[weights.ListedModel]:
    """The models that the engine can run, and whether a worker of `role` has their weights."""
    elsewhere = workers.weights_of_workers(role=role)
    is_used_here = workers.may_work_here(role=role)
    return [
        replace(
            model,
            is_downloaded=(model.is_downloaded and is_used_here) or model.name in elsewhere,
        )
        for model in _weights_here()
    ]


def _weights_here() -> list[weights.ListedModel]:
    return weights.list_models(
        engine=settings.TRANSCRIBER_ENGINE, models_dir=settings.TRANSCRIBER_MODELS_DIR
    )


def capabilities() -> workers.Capabilities:
    """What this worker process reports in its heartbeats."""
    model = loaded_model()
    return workers.Capabilities(
        model_name=model.model_name if model else "",
        device=model.device if model else "",
        weights=sorted(one.name for one in _weights_here() if one.is_downloaded),
        files_id=_files_id(),
    )


def _files_id() -> str:
    """Empty if the files folder cannot be used: then this worker does not count as one of the service."""
    try:
        return recordings.storage_id()
    except OSError as error:
        _logger.warning("The files folder cannot be used: %s", error)
        return ""


def is_left_to_others(model_name: str, *, role: str) -> bool:
    """Whether this process lacks the model's weights and cannot download them, while other workers of `role` have them.

    Workers of the last hour count: a machine that is restarting keeps its work.
    """
    model, engine = catalogue.resolve(model_name), settings.TRANSCRIBER_ENGINE
    if weights.locate(model, engine=engine, models_dir=settings.TRANSCRIBER_MODELS_DIR):
        return False
    if fetching.can_download(model, engine=engine):
        return False
    return model.name in workers.weights_of_workers(role=role, recently=True)


def load_engine(*, model_name: str, on_progress: OnBytes | None = None) -> SpeechEngine:
    """The model, downloaded first if need be; `on_progress` gets the bytes that are here, and those in all.

    A process keeps one model loaded. Raises SpeechError.
    """
    model = catalogue.resolve(model_name)
    engine = settings.TRANSCRIBER_ENGINE
    found = weights.ensure_weights(
        model, engine=engine, models_dir=settings.TRANSCRIBER_MODELS_DIR, on_progress=on_progress
    )
    return load(
        engine=engine,
        weights=found.path,
        model_name=model.name,
        settings=EngineSettings(
            device=settings.TRANSCRIBER_DEVICE,
            compute_type=settings.TRANSCRIBER_COMPUTE_TYPE,
            threads=settings.TRANSCRIBER_SPEECH_THREADS,
            beam_size=settings.TRANSCRIBER_BEAM_SIZE,
        ),
    )
