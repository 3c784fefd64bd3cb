"""Which workers there are: each says so a few times a minute, and the database's clock tells when."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import psutil
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from transcription import recordings
from transcription.leasing import leases
from transcription.models import Worker
from transcription.speech import weights
from transcription.speech.engines.loading import loaded_model

REPORT_SECONDS = 15.0
SEEN_WITHIN = timedelta(minutes=1)
FORGOTTEN_AFTER = timedelta(hours=1)

_logger = logging.getLogger(__name__)


def report_until(stopping: threading.Event, *, role: str) -> None:
    """Have a thread report this process until it is to end."""
    thread = threading.Thread(
        target=_report_until, args=(stopping, role), name="presence", daemon=True
    )
    thread.start()


def _report_until(stopping: threading.Event, role: str) -> None:
    while not stopping.is_set():
        try:
            report(role=role)
        except Exception as error:  # whatever it is, the next report may succeed
            _logger.warning("This worker could not report itself: %r", error)
        finally:
            connection.close()
        stopping.wait(REPORT_SECONDS)


def report(*, role: str) -> None:
    """Note that this process is there, for which queue it works, and what it has loaded."""
    name, machine = leases.process_name(), leases.machine_name()
    model = loaded_model()
    values: dict[str, Any] = {
        "machine": machine,
        "role": role,
        "model_name": model.model_name if model else "",
        "device": model.device if model else "",
        "weights": sorted(one.name for one in weights_here() if one.is_downloaded),
        "secret_id": secret_id(),
        "files_id": _files_id(),
        "seen_at": Now(),
    }
    if not Worker.objects.filter(pk=name).update(**values):
        started_at = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
        Worker.objects.create(pk=name, started_at=started_at, **values)


def _files_id() -> str:
    """Empty where the files cannot be used: then this worker is there, and does not belong to the others."""
    try:
        return recordings.storage_id()
    except OSError as error:
        _logger.warning("The files folder cannot be used: %s", error)
        return ""


def weights_here() -> list[weights.ListedModel]:
    return weights.listing(
        engine=settings.TRANSCRIBER_ENGINE, models_dir=settings.TRANSCRIBER_MODELS_DIR
    )


def weights_of_workers(*, role: str, lately: bool = False) -> set[str]:
    """The names of the models that some worker has, or had before it went; see FORGOTTEN_AFTER."""
    workers = Worker.objects.all() if lately else seen()
    lists = workers.filter(role=role).values_list("weights", flat=True)
    return {name for names in lists for name in names}


def may_work_here(*, role: str) -> bool:
    """Whether this machine has a worker of `role`, as far as is known: not when all are seen elsewhere."""
    machines = set(seen().filter(role=role).values_list("machine", flat=True))
    return not machines or leases.machine_name() in machines


def seen() -> "QuerySet[Worker]":
    """The workers that were there within the last minute."""
    return Worker.objects.filter(seen_at__gte=Now() - SEEN_WITHIN)


def forget_the_gone() -> None:
    Worker.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()


def secret_id() -> str:
    """Tells two secret keys apart and nothing of either: tasks that are signed with another are refused."""
    return sha256(b"transcriber/" + settings.SECRET_KEY.encode()).hexdigest()[:16]
