"""`manage.py models`: list, download and delete the weights of speech models."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from transcription.speech import catalogue, weights
from transcription.speech.engines.base import SpeechError
from transcription.speech.fetching import report_percent


class Command(BaseCommand):
    help = "List, download or delete the weights of speech models."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="show all models, and which are on this machine")
        for action in ("download", "delete"):
            subparser = actions.add_parser(action, help=f"{action} models by name")
            subparser.add_argument("names", nargs="+", metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list()
            return
        action = self._download if options["action"] == "download" else self._delete
        try:
            # Resolve all names before the first download, which may be long: one may be misspelt.
            for model in [catalogue.resolve(name) for name in options["names"]]:
                action(model)
        except (catalogue.UnknownModelError, SpeechError, OSError) as error:
            raise CommandError(str(error)) from error

    def _list(self) -> None:
        for model in weights.list_models(
            engine=settings.TRANSCRIBER_ENGINE, models_dir=settings.TRANSCRIBER_MODELS_DIR
        ):
            self.stdout.write(
                f"{model.name:<17} {model.size_mb:>7.1f} MB  {model.source or '-':<9}  "
                f"{model.description}"
            )

    def _download(self, model: catalogue.ModelInfo) -> None:
        def write_percent(percent: int) -> None:
            self.stdout.write(f"{model.name}: {percent} %")

        downloaded = weights.ensure_weights(
            model,
            engine=settings.TRANSCRIBER_ENGINE,
            models_dir=settings.TRANSCRIBER_MODELS_DIR,
            on_progress=report_percent(write_percent),
        )
        self.stdout.write(
            self.style.SUCCESS(
                f"{model.name} is on this machine ({downloaded.source}): {downloaded.path}"
            )
        )

    def _delete(self, model: catalogue.ModelInfo) -> None:
        n_bytes = weights.delete_weights(model, models_dir=settings.TRANSCRIBER_MODELS_DIR)
        self.stdout.write(self.style.SUCCESS(f"Deleted {model.name}: {n_bytes / 1e6:.1f} MB."))
