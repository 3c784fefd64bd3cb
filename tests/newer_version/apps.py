from django.apps import AppConfig
from django.db import models


class NewerVersionConfig(AppConfig):
    """The later version's models: the present ones, and a column more."""

    name = "tests.newer_version"

    def ready(self) -> None:
        from transcription.models import Segment

        Segment.add_to_class(
            "transcribed_by", models.CharField(max_length=20, default="the newer version")
        )
