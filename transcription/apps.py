from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from transcription.leasing import registry


class TranscriptionConfig(AppConfig):
    name = "transcription"
    verbose_name = "Transcription"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        registry.register(
            self.name,
            tasks={
                "transcription.tasks.prepare": registry.INTERACTIVE,
                "transcription.tasks.work_on_speech": registry.SPEECH,
            },
            recover="transcription.jobs.recovery.recover",
            on_worker_start="transcription.tasks.on_worker_start",
        )
        post_spawn.connect(start_worker, sender="django_q", dispatch_uid="transcription")
        post_migrate.connect(delete_former_schedules, sender=self)
        post_migrate.connect(index_texts, sender=self)


def start_worker(**_: Any) -> None:
    from transcription import access

    access.become_service()
    registry.start_worker()


def delete_former_schedules(**_: Any) -> None:
    """Delete what earlier versions scheduled once a minute; workers recover by themselves now."""
    from django_q.models import Schedule

    Schedule.objects.filter(
        name__in=("transcription: recover", "summaries: recover", "retranslation: recover")
    ).delete()


def index_texts(*, using: str, **_: Any) -> None:
    from transcription.transcript import search  # models are loaded by now

    search.ensure_index(using=using)
