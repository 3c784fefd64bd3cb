from django.apps import AppConfig
from django.apps import apps as installed
from django.db.models.signals import pre_migrate


class TranscriberSiteConfig(AppConfig):
    name = "transcriber_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from transcriber_site import checks  # noqa: F401  registers the system checks
        from transcriber_site.origins import connect_cors

        connect_cors()
        from transcriber_site.backup.before_migration import copy_before_migration

        # The signal is sent once for each app that has models, before the first migration; once is enough.
        pre_migrate.connect(
            copy_before_migration,
            sender=installed.get_app_config("transcription"),
            dispatch_uid="copy before a migration",
        )
