"""What each app has workers do: its queue tasks, what runs when a worker starts, and how it recovers lost work.

An app registers in `AppConfig.ready`, with dotted paths, so that only workers import what does the work.
"""

import logging
from dataclasses import dataclass

from django.utils.module_loading import import_string

from transcription.leasing import schema

SPEECH = "speech"
INTERACTIVE = "interactive"
CLUSTERS = (SPEECH, INTERACTIVE)
"""The queues, each served by worker clusters of that name."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AppWork:
    tasks: dict[str, str]
    """Dotted path of a queue task to the cluster that runs it."""
    recover: str
    """Dotted path of a function that takes up lost work; idempotent, safe to run in several processes at once."""
    on_worker_start: str = ""
    """Dotted path of a function that each worker process calls first; empty for none."""


_apps: dict[str, AppWork] = {}


def register(app: str, *, tasks: dict[str, str], recover: str, on_worker_start: str = "") -> None:
    """Register an app's work. Registering again replaces it."""
    _apps[app] = AppWork(tasks, recover, on_worker_start)


def cluster_of(task: str) -> str:
    """The cluster that runs a task. Raises KeyError if no app registered it."""
    for work in _apps.values():
        if task in work.tasks:
            return work.tasks[task]
    raise KeyError(f"No app registered the task {task}.")


def start_worker() -> None:
    """Run what the apps registered for the start of a worker process, then recover lost work.

    A worker may start in the place of one that died, so it recovers at once; not in a queue task, which would
    wait for what the interactive worker has in hand.
    """
    for work in list(_apps.values()):
        if work.on_worker_start:
            import_string(work.on_worker_start)()
    recover_all()


def recover_all() -> None:
    """Let each app recover its lost work. One that fails is logged and keeps no other from it.

    Nothing is recovered while the database's schema is not that of this process.
    """
    if not schema.is_fit():
        return
    for app, work in list(_apps.items()):
        try:
            import_string(work.recover)()
        except Exception:
            _logger.exception("Lost work of %s could not be recovered; the next round tries.", app)
