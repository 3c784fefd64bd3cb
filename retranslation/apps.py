"""The app's queue tasks, recovery, and the deletion of clips."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete

from transcription.leasing import registry


class RetranslationConfig(AppConfig):
    name = "retranslation"
    verbose_name = "Retranslation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        registry.register(
            self.name,
            tasks={
                "retranslation.tasks.work": registry.INTERACTIVE,
                "retranslation.tasks.work_on_batches": registry.INTERACTIVE,
            },
            recover="retranslation.services.recover",
        )
        post_delete.connect(delete_clip, sender=self.get_model("Retranslation"))


def delete_clip(*, instance: Any, **_: Any) -> None:
    """Delete the clip's file with its row. A signal, because rows are deleted with their jobs in a cascade."""
    from retranslation import services

    services.delete_clip(retranslation=instance)
