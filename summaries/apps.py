from django.apps import AppConfig

from transcription.leasing import registry


class SummariesConfig(AppConfig):
    name = "summaries"
    verbose_name = "Summaries"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        registry.register(
            self.name,
            tasks={"summaries.tasks.work": registry.INTERACTIVE},
            recover="summaries.services.recover",
        )
