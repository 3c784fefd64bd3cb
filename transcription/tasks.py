"""Queue tasks of jobs, and what a worker process starts with. A message only says "look": the rows say what to do."""

import signal

from django.conf import settings
from django_q.conf import Conf

from transcription.jobs import prepare as preparation
from transcription.jobs import speech_worker
from transcription.jobs.installed_models import capabilities
from transcription.leasing import registry, workers
from transcription.speech.media import decoder_process
from transcription.wake import wake_preparers


def prepare() -> None:
    """Prepare one recording, then enqueue another message, so that other tasks get their turn between."""
    if preparation.prepare_next():
        wake_preparers()


def work_on_speech() -> None:
    speech_worker.work_on_speech()


def on_worker_start() -> None:
    """Handle SIGTERM, watch the database's schema, start heartbeats; in an interactive worker start the decoders'
    spawner and periodic recovery.
    """
    workers.stopping.clear()
    signal.signal(signal.SIGTERM, lambda *_: workers.stopping.set())
    workers.watch_schema(on_fit=registry.recover_all)
    workers.repeat_until_stopping(
        lambda: workers.send_heartbeat(role=Conf.CLUSTER_NAME, capabilities=capabilities()),
        seconds=workers.HEARTBEAT_SECONDS,
        name="heartbeat",
    )
    if Conf.CLUSTER_NAME == registry.INTERACTIVE:
        decoder_process.start_spawner()
        seconds = settings.TRANSCRIBER_RECOVERY_SECONDS
        workers.repeat_until_stopping(
            registry.recover_all, seconds=seconds, delay=seconds, name="recovery"
        )
