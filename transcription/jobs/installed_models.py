"""The speech engine as this installation is set up."""

from dataclasses import replace

from django.conf import settings

from transcription.leasing import wakeups, workers
from transcription.speech import catalogue, fetching, weights
from transcription.speech.engines.base import EngineSettings, SpeechEngine
from transcription.speech.engines.loading import load
from transcription.speech.fetching import OnBytes


def listing(*, role: str = wakeups.SPEECH) -> list[weights.ListedModel]:
    """The models that the engine can run, and whether their weights are where a worker of `role` is."""
    found = workers.weights_here()
    elsewhere = workers.weights_of_workers(role=role)
    are_here_of_use = workers.may_work_here(role=role)
    return [
        replace(
            model,
            is_downloaded=(model.is_downloaded and are_here_of_use) or model.name in elsewhere,
        )
        for model in found
    ]


def is_for_others(model_name: str, *, role: str) -> bool:
    """Whether other workers of `role` have this model's weights and this process neither has them nor can fetch them.

    Others who were there within the last hour: a machine that is being restarted keeps its work.
    """
    model, engine = catalogue.resolve(model_name), settings.TRANSCRIBER_ENGINE
    if weights.locate(model, engine=engine, models_dir=settings.TRANSCRIBER_MODELS_DIR):
        return False
    if fetching.can_download(model, engine=engine):
        return False
    return model.name in workers.weights_of_workers(role=role, lately=True)


def load_engine(*, model_name: str, on_progress: OnBytes | None = None) -> SpeechEngine:
    """The model, downloaded if need be: `on_progress` is told the bytes that are here, and those in all.

    A process keeps one model; it is loaded anew when another was asked for meanwhile. Raises SpeechError.
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
