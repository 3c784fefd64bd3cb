"""Transcribing a part of a recording again."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_migrate


class RetranslationConfig(AppConfig):
    name = "retranslation"
    verbose_name = "Retranslation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        post_spawn.connect(start_worker, sender="django_q", dispatch_uid="retranslation")
        post_migrate.connect(schedule_recovery, sender=self)
        post_delete.connect(forget_clip, sender=self.get_model("Retranslation"))


def start_worker(**_: Any) -> None:
    from retranslation import tasks  # workers alone load what does the work

    tasks.on_worker_start()


def forget_clip(*, instance: Any, **_: Any) -> None:
    """Rows go with their jobs, which know nothing of clips."""
    from retranslation import services

    services.forget_clip(retranslation=instance)


def schedule_recovery(**_: Any) -> None:
    """Once a minute whatever lost its worker or its message is set going again."""
    from django_q.models import Schedule

    Schedule.objects.update_or_create(
        name="retranslation: recover",
        defaults={
            "func": "retranslation.tasks.recover",
            "schedule_type": Schedule.MINUTES,
            "minutes": 1,
            "repeats": -1,
            "cluster": "interactive",
        },
    )
