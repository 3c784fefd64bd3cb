from django.apps import AppConfig


class TranscriberSiteConfig(AppConfig):
    name = "transcriber_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from transcriber_site import checks  # noqa: F401  registers the system checks
        from transcriber_site.origins import connect_cors

        connect_cors()
