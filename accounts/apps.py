from typing import Any

from django.apps import AppConfig
from django.core.management import call_command

from transcription.leasing import registry


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in
        from django.contrib.auth import get_user_model
        from django.db.models.signals import post_migrate, post_save

        from accounts import audit, first_person, limits, oidc, signing_in

        post_save.connect(first_person.on_person_saved, sender=get_user_model())
        post_migrate.connect(create_cache_table, sender=self)
        user_logged_in.connect(oidc.replace_groups)
        user_logged_in.connect(signing_in.show_notices)
        limits.connect()
        audit.connect()
        registry.register(self.name, tasks={}, recover="accounts.recovery.recover")


def create_cache_table(*, using: str, **_: Any) -> None:
    """Create the table that counts sign-ins, if it is missing."""
    call_command("createcachetable", database=using, verbosity=0)
