from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TranscriptionConfig(AppConfig):
    name = "transcription"
    verbose_name = "Transcription"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        post_spawn.connect(start_worker, sender="django_q", dispatch_uid="transcription")
        post_migrate.connect(schedule_recovery, sender=self)
        post_migrate.connect(index_texts, sender=self)


def start_worker(**_: Any) -> None:
    from transcription import tasks  # workers alone load what does the work

    tasks.on_worker_start()


def schedule_recovery(**_: Any) -> None:
    """Once a minute whatever lost its worker or its message is set going again."""
    from django_q.models import Schedule

    Schedule.objects.update_or_create(
        name="transcription: recover",
        defaults={
            "func": "transcription.tasks.recover",
            "schedule_type": Schedule.MINUTES,
            "minutes": 1,
            "repeats": -1,
            "cluster": "interactive",
        },
    )


def index_texts(*, using: str, **_: Any) -> None:
    from transcription.transcript import search  # models are there by now

    search.ensure_index(using=using)
