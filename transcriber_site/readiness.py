"""Whether the service can do its work, and if not what is in the way."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection, models
from django.db.models.functions import Now
from django_q.brokers import get_broker

from transcription import recordings
from transcription.leasing import leases, registry, workers
from transcription.models import Worker
from transcription.speech.diarization import senko_probe
from transcription.speech.engines.base import SpeechError

ROLES = registry.CLUSTERS
LEAST_FREE_BYTES = 200 * 1000**2


@dataclass
class Readiness:
    """What was found, part by part, and in words whatever is in the way, or out of order."""

    parts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def look() -> Readiness:
    found = Readiness()
    _database(found)
    _queue(found)
    _disk(found)
    if found.parts["database"]["answers"]:
        _workers(found)
    return found


def _database(found: Readiness) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseFailure as error:
        found.problems.append(f"The database does not answer: {_first_line(error)}")
        found.parts["database"] = {"kind": connection.vendor, "answers": False}
    else:
        found.parts["database"] = {"kind": connection.vendor, "answers": True}


def _queue(found: Readiness) -> None:
    kind = "redis" if settings.REDIS_URL else "database"
    try:
        waiting = {role: int(get_broker(role).queue_size()) for role in ROLES}
    except Exception as error:  # each broker has errors of its own
        found.problems.append(f"The queue does not answer: {_first_line(error)}")
        found.parts["queue"] = {"kind": kind, "answers": False, "waiting": None}
    else:
        found.parts["queue"] = {"kind": kind, "answers": True, "waiting": waiting}


def _disk(found: Readiness) -> None:
    found.parts["disk"] = []
    folders = (settings.TRANSCRIBER_DATA_DIR, settings.TRANSCRIBER_FILES_DIR)
    devices = set()
    for folder in folders:
        try:
            device, free = folder.stat().st_dev, shutil.disk_usage(folder).free
        except OSError as error:
            found.problems.append(f"{folder} cannot be reached: {error.strerror}")
            continue
        if device in devices:
            continue
        devices.add(device)
        found.parts["disk"].append({"folder": str(folder), "free_bytes": free})
        if free < LEAST_FREE_BYTES:
            found.problems.append(
                f"The disk of {folder} is full: {free / 1e6:.0f} MB are free, "
                f"{LEAST_FREE_BYTES / 1e6:.0f} MB are needed."
            )


def _workers(found: Readiness) -> None:
    """Those seen within the last minute; those alone count that have this process's secret key and files."""
    ago = models.ExpressionWrapper(Now() - models.F("seen_at"), models.DurationField())
    seen = list(workers.alive().annotate(ago=ago))
    try:
        files = recordings.storage_id()
    except OSError as error:
        found.problems.append(f"The files folder cannot be used: {error}")
        files = ""
    own = [one for one in seen if one.secret_id == workers.secret_id() and one.files_id == files]
    found.parts["workers"] = {role: sum(one.role == role for one in own) for role in ROLES}
    found.parts["models"] = sorted({worker.model_name for worker in own if worker.model_name})
    found.parts["seen"] = [_shown(worker) for worker in seen]
    found.problems += [
        f"No {role} worker was seen within the last minute."
        for role in ROLES
        if not found.parts["workers"][role]
    ]
    found.warnings += _strangers(seen, files=files)
    found.warnings += _unusable_diarizer(own)


def _shown(worker: Any) -> dict[str, Any]:
    return {
        "machine": worker.machine,
        "role": worker.role,
        "model": worker.model_name or None,
        "device": worker.device or None,
        "seconds_ago": round(worker.ago.total_seconds(), 1),
    }


def _strangers(seen: Iterable[Worker], *, files: str) -> list[str]:
    secret = workers.secret_id()
    other_secrets = sorted({worker.machine for worker in seen if worker.secret_id != secret})
    other_files = sorted({worker.machine for worker in seen if worker.files_id != files})
    return [
        f"Workers on {machine} have another secret key than this web process: "
        "set the same TRANSCRIBER_SECRET_KEY on all machines."
        for machine in other_secrets
    ] + [
        f"Workers on {machine} have other files than this web process: "
        "all machines must share one TRANSCRIBER_FILES_DIR."
        for machine in other_files
    ]


def _unusable_diarizer(own: Iterable[Worker]) -> list[str]:
    """That senko cannot run on this machine, if speech workers here are to use it."""
    if settings.TRANSCRIBER_DIARIZATION_ENGINE != "senko":
        return []
    here = leases.machine_name()
    if not any(one.role == registry.SPEECH and one.machine == here for one in own):
        return []
    try:
        senko_probe.check_processor(settings.TRANSCRIBER_DEVICE)
    except SpeechError as error:
        return [str(error)]
    return []


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or repr(error)
